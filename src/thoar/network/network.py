"""The composition: one encoder, one coarse decoder, a fine decoder per organ (figure 1)."""

from collections.abc import Mapping, Sequence

from jaxtyping import Float
from torch import Tensor, nn

from thoar.core.box import Box, Index3
from thoar.core.configuration import Network
from thoar.network.coarse import CoarseDecoder, CoarseMaps, joined
from thoar.network.encoder import Encoder, KeptLevels
from thoar.network.fine import FineDecoder
from thoar.network.roi import crop_levels


class SeparateEncoders(nn.Module):
    """An encoder of its own for the coarse and for the fine decoders, instead of one for both (S24).

    Args:
        coarse: image to the levels that the coarse decoder sees.
        fine: image to the levels that the fine decoders see.
    """

    def __init__(self, coarse: nn.Module, fine: nn.Module) -> None:
        super().__init__()
        self.coarse = coarse
        self.fine = fine

    def forward(self, image: Float[Tensor, "batch 1 z y x"]) -> KeptLevels:
        """Return the coarse encoder's levels, then the fine one's."""
        return [*self.coarse(image), *self.fine(image)]


class CoarseToFineNetwork(nn.Module):
    """One pass of ``encode`` feeds ``locate`` and any number of calls of ``draw``.

    Args:
        encoder: image to levels; where two encoders' levels follow each other, ``locate`` sees the first
            encoder's and ``draw`` the second's.
        coarse: levels to the coarse maps of all organs but those of ``own_coarse``.
        fine: each organ's decoder, crops to probability.
        strides_zyx: input voxels per feature voxel of each level.
        own_coarse: organs that were added to a trained network, each with a coarse decoder of its own, so
            that nothing of the others changes; they come last in ``fine``.

    Raises:
        ValueError: if they do not.
    """

    def __init__(
        self,
        *,
        encoder: nn.Module,
        coarse: nn.Module,
        fine: Mapping[str, nn.Module],
        strides_zyx: Sequence[Index3],
        own_coarse: Mapping[str, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.coarse = coarse
        self.fine = nn.ModuleDict(fine)
        self.own_coarse = nn.ModuleDict(own_coarse or {})
        self.strides_zyx = tuple(strides_zyx)
        self._share_coarse = tuple(name for name in fine if name not in self.own_coarse)
        if self.located != tuple(fine):
            raise ValueError(f"of {list(fine)}, those with coarse decoders of their own must come last")

    @property
    def located(self) -> tuple[str, ...]:
        """The organs of the coarse maps, in the order of their channels, which follow the background's."""
        return (*self._share_coarse, *self.own_coarse)

    @property
    def drawn(self) -> tuple[str, ...]:
        """The organs that have a fine decoder here."""
        return tuple(self.fine)

    def encode(self, image: Float[Tensor, "batch 1 z y x"]) -> KeptLevels:
        """Return every level's features; the image's axes are multiples of the total stride."""
        return self.encoder(image)

    def locate(self, levels: KeptLevels) -> CoarseMaps:
        """Return the coarse maps of all organs in ``located``."""
        seen = list(levels[: len(self.strides_zyx)])
        return joined([decoder(seen) for decoder in (self.coarse, *self.own_coarse.values())])

    def draw(self, levels: KeptLevels, organ: str, box_zyx: Box) -> Float[Tensor, "batch 1 z y x"]:
        """Return one organ's probability inside a box of input voxels on multiples of the total stride."""
        return self.fine[organ](crop_levels(levels[-len(self.strides_zyx) :], box_zyx, self.strides_zyx))


def build_network(
    configuration: Network, organ_names: Sequence[str], own_coarse: Sequence[str] = ()
) -> CoarseToFineNetwork:
    """Return a freshly initialised network; the weights come from torch's global random stream.

    Args:
        configuration: widths, strides, dilations.
        organ_names: in the order of the coarse channels.
        own_coarse: the last of these that have a coarse decoder of their own.

    Raises:
        ValueError: if these are not the last.
    """
    network = CoarseToFineNetwork(
        encoder=_encoder(configuration),
        coarse=CoarseDecoder(configuration, len(organ_names) - len(own_coarse)),
        fine={name: FineDecoder(configuration) for name in organ_names},
        strides_zyx=configuration.stride_zyx_of_levels,
        own_coarse={name: CoarseDecoder(configuration, 1) for name in own_coarse},
    )
    network.apply(_initialise)
    return network


def _encoder(configuration: Network) -> nn.Module:
    if configuration.encoders == "separate":
        return SeparateEncoders(Encoder(configuration), Encoder(configuration))
    return Encoder(configuration)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv3d) and not module.weight.is_meta:  # there, it would import a compiler
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
