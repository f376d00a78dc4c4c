"""Several networks as one: every member's own levels, and the mean of what the members say of them."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from thoar.network.coarse import CoarseMaps
from thoar.network.encoder import KeptLevels, Level, Levels
from thoar.network.network import CoarseToFineNetwork


def ensemble(members: Sequence[CoarseToFineNetwork]) -> CoarseToFineNetwork:
    """Return the network whose coarse maps and fine masks are the means of its members'.

    Its levels are all members' levels, so that one pass of ``encode`` still feeds every box; they take as
    much memory as the members' together. Boxes are found once, in the mean of the coarse maps, and every
    member draws in the same one.

    Args:
        members: of one configuration, with the same decoders; at least one.
    """
    first = members[0]
    network = CoarseToFineNetwork(
        encoder=_Encoders([member.encoder for member in members], levels_each=len(first.strides_zyx)),
        coarse=_MeanMaps([member.coarse for member in members]),
        fine={name: nn.Identity() for name in first.located},
        strides_zyx=[stride_zyx for member in members for stride_zyx in member.strides_zyx],
        own_coarse={
            name: _MeanMaps([member.own_coarse[name] for member in members]) for name in first.own_coarse
        },
    )
    network.fine = nn.ModuleDict(
        {name: _MeanDecoder([member.fine[name] for member in members]) for name in first.drawn}
    )
    return network


class _Encoders(nn.Module):
    """The members' levels, member by member; of two encoders each, all first ones' before the second's."""

    def __init__(self, members: Sequence[nn.Module], *, levels_each: int) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.levels_each = levels_each

    def forward(self, image: Float[Tensor, "batch 1 z y x"]) -> list[Level]:
        each: list[KeptLevels] = [member(image) for member in self.members]
        starts = range(0, len(each[0]), self.levels_each)
        return [level for i in starts for levels in each for level in levels[i : i + self.levels_each]]


class _MeanMaps(nn.Module):
    """The mean of the members' coarse maps, each of its own levels."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, levels: KeptLevels) -> CoarseMaps:
        parts = zip(self.members, _shared_out(levels, len(self.members)), strict=True)
        maps: list[CoarseMaps] = [member(part) for member, part in parts]
        return CoarseMaps(
            torch.stack([each.probability for each in maps]).mean(0),
            tuple(torch.stack(heads).mean(0) for heads in zip(*(each.heads for each in maps), strict=True)),
        )


class _MeanDecoder(nn.Module):
    """The mean of the members' probabilities of one organ, each of its own levels' crops, one by one."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, crops: Levels) -> Float[Tensor, "batch 1 z y x"]:
        parts = _shared_out(crops, len(self.members))
        total: Tensor = self.members[0](parts[0])
        for member, part in zip(self.members[1:], parts[1:], strict=True):
            total = total + member(part)
        return total / len(self.members)


def _shared_out(levels: KeptLevels, members: int) -> list[KeptLevels]:
    each = len(levels) // members
    return [levels[i : i + each] for i in range(0, len(levels), each)]
