"""Scans whose organs are blocks of one value each, and a network made by hand that knows those values."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from thoar.core.box import Box
from thoar.core.configuration import Configuration, Preparation
from thoar.core.geometry import Geometry
from thoar.core.labels import SEGTHOR, LabelSet
from thoar.core.volume import Volume
from thoar.inference.localisation import uncalibrated
from thoar.inference.predictor import Predictor
from thoar.network.coarse import CoarseMaps
from thoar.network.network import CoarseToFineNetwork

STRIDE_ZYX = (2, 8, 8)
VALUE_HU = {"esophagus": 200, "heart": 400, "trachea": 600, "aorta": 800}
PARTS = {
    "heart": Box(start_zyx=(10, 30, 50), stop_zyx=(24, 60, 90)),
    "aorta": Box(start_zyx=(0, 62, 60), stop_zyx=(40, 74, 72)),
    "trachea": Box(start_zyx=(28, 30, 56), stop_zyx=(40, 40, 66)),
    "esophagus": Box(start_zyx=(8, 76, 44), stop_zyx=(30, 82, 50)),
}


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@dataclass(frozen=True)
class Phantom:
    """A scan with its organs' true masks."""

    volume: Volume
    masks: Mapping[str, np.ndarray]

    def reordered(self, axes: tuple[int, int, int], flipped: tuple[bool, bool, bool]) -> "Phantom":
        backwards = tuple(axis for axis in range(3) if flipped[axis])

        def turned(array: np.ndarray) -> np.ndarray:
            return np.ascontiguousarray(np.flip(array.transpose(axes), backwards))

        geometry = self.volume.geometry.reordered(axes, flipped=flipped)
        return Phantom(
            volume=Volume(voxels=turned(self.volume.voxels), geometry=geometry),
            masks={name: turned(mask) for name, mask in self.masks.items()},
        )


def body_of_water(shape_zyx: tuple[int, int, int]) -> np.ndarray:
    """Return an elliptic cylinder of water, well inside a field of air."""
    _, y, x = np.indices(shape_zyx)
    middle_y, middle_x = (shape_zyx[1] - 1) / 2, (shape_zyx[2] - 1) / 2
    away = ((y - middle_y) / (0.45 * shape_zyx[1])) ** 2 + ((x - middle_x) / (0.45 * shape_zyx[2])) ** 2
    return np.where(away <= 1, 0, -1000).astype(np.int16)


def block_phantom(
    shape_zyx: tuple[int, int, int] = (40, 96, 120), parts: Mapping[str, Box] = PARTS
) -> Phantom:
    voxels = body_of_water(shape_zyx)
    for name, box in parts.items():
        voxels[box.slices] = VALUE_HU[name]
    grid = Geometry.axial(shape_zyx, (3.0, 2.0, 2.0), origin_xyz_mm=(-118.5, -77.25, 1033.0))
    return Phantom(
        volume=Volume(voxels=voxels, geometry=grid),
        masks={name: voxels == VALUE_HU[name] for name in parts},
    )


class Levels(nn.Module):
    """An encoder that hands out the image, and the image on the coarse grid."""

    def forward(self, image: Tensor) -> list[Tensor]:
        return [image, functional.avg_pool3d(image, STRIDE_ZYX)]


class Near(nn.Module):
    """Probability 1 at an organ's value, one half at ``width_hu`` from it."""

    def __init__(self, value_hu: float, width_hu: float = 50.0) -> None:
        super().__init__()
        self.value = (value_hu + 1000) / 2000
        self.slope = 1000 / width_hu

    def forward(self, levels: list[Tensor]) -> Tensor:
        return (1 - (levels[0] - self.value).abs() * self.slope).clamp(0, 1)


class Above(nn.Module):
    """A straight line through one half at a value, so that interpolated images have interpolated masks."""

    def __init__(self, middle_hu: float) -> None:
        super().__init__()
        self.middle = (middle_hu + 1000) / 2000

    def forward(self, levels: list[Tensor]) -> Tensor:
        return (0.5 + (levels[0] - self.middle) * 5).clamp(0, 1)


class Seen(nn.Module):
    """A coarse decoder: each organ's largest probability in a cell, where ``seen`` lets it look."""

    def __init__(self, organs: Mapping[str, nn.Module], seen: Mapping[str, Box]) -> None:
        super().__init__()
        self.organs = nn.ModuleDict(organs)
        self.seen = dict(seen)

    def forward(self, levels: list[Tensor]) -> CoarseMaps:
        maps = [torch.full_like(levels[-1], 0.77)]  # the background, which nobody may read
        for name, organ in self.organs.items():
            cells = functional.max_pool3d(organ(levels), STRIDE_ZYX)
            hidden = torch.ones_like(cells)
            hidden[(..., *self.seen.get(name, Box.of_shape(cells.shape[2:])).slices)] = 0
            maps.append(cells * (1 - hidden))
        probability = torch.cat(maps, 1)
        return CoarseMaps(probability, (probability,))


@dataclass
class HandMade:
    """Makes predictors; counts the fine decoders' passes."""

    drawn: list[str] = field(default_factory=list)

    def network(
        self, organs: Mapping[str, nn.Module], seen: Mapping[str, Box] | None = None
    ) -> CoarseToFineNetwork:
        for name, organ in organs.items():
            organ.register_forward_hook(lambda *_, name=name: self.drawn.append(name))
        coarse = Seen({name: _twin(organ) for name, organ in organs.items()}, seen or {})
        strides = ((1, 1, 1), STRIDE_ZYX)
        return CoarseToFineNetwork(encoder=Levels(), coarse=coarse, fine=organs, strides_zyx=strides)

    def predictor(
        self,
        organs: Mapping[str, nn.Module] | None = None,
        *,
        label_set: LabelSet = SEGTHOR,
        seen: Mapping[str, Box] | None = None,
        configuration: Configuration | None = None,
    ) -> Predictor:
        organs = {name: Near(VALUE_HU[name]) for name in label_set.names} if organs is None else organs
        settings = configuration or Configuration(preparation=Preparation(spacing_zyx_mm=(3.0, 2.0, 2.0)))
        return Predictor(
            network=self.network(organs, seen),
            configuration=settings,
            label_set=label_set,
            localisation={name: uncalibrated(settings.localisation, name) for name in label_set.names},
            device="cpu",
        )


def _twin(organ: nn.Module) -> nn.Module:
    """Return a decoder of the same kind without its hooks: coarse looks are not counted."""
    twin = type(organ)(0.0)
    twin.__dict__.update({k: v for k, v in organ.__dict__.items() if not k.startswith("_")})
    return twin


@pytest.fixture
def hand_made() -> HandMade:
    return HandMade()


@pytest.fixture
def phantom() -> Phantom:
    return block_phantom()


@pytest.fixture
def make_phantom() -> Callable[..., Phantom]:
    return block_phantom


@pytest.fixture
def near() -> type[Near]:
    return Near


@pytest.fixture
def above() -> type[Above]:
    return Above
