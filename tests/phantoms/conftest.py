"""A few cases that several tests look at."""

from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import pytest

from thoar.core.random import rng_for
from thoar.core.volume import LabelVolume, Volume
from thoar.phantoms.labelled_scan import LabelledScan, ready_scan
from thoar.phantoms.thorax import draw_thorax, make_thorax
from thoar.phantoms.thorax_parameters import ThoraxParameters

COARSE = (6.0, 4.0, 4.0)
STRUCTURE_IDS = {
    "esophagus": 1,
    "heart": 2,
    "trachea": 3,
    "aorta": 4,
    "lung_upper_lobe_left": 5,
    "rib_left_1": 6,
}


def without_contrast(parameters: ThoraxParameters) -> ThoraxParameters:
    """The same patient without contrast, content in the esophagus, tumours, or much noise."""
    blood = dict.fromkeys(("arteries", "heart", "upper_veins", "lower_veins", "pulmonary"), 42.0)
    replace = msgspec.structs.replace
    contrast = parameters.contrast
    return replace(
        parameters,
        contrast=replace(
            contrast, phase="native", target_hu={**contrast.target_hu, **blood}, right_heart_hu=0.0
        ),
        esophagus=replace(parameters.esophagus, open_share=0.0, wall_hu=40.0),
        lungs=replace(parameters.lungs, tumours=(), fluid_share=0.0),
        scanner=replace(
            parameters.scanner,
            noise_hu=3.0,
            blur_mm=0.0,
            sharpen=0.0,
            slice_mm=1.0,
            streak_hu=0.0,
            gain=1.0,
            offset_hu=0.0,
            table=False,
        ),
    )


@pytest.fixture(scope="session")
def native() -> Callable[[ThoraxParameters], ThoraxParameters]:
    return without_contrast


@pytest.fixture(scope="session")
def structure_ids() -> dict[str, int]:
    return STRUCTURE_IDS


@pytest.fixture(scope="session")
def cases() -> Sequence[tuple[ThoraxParameters, Volume, LabelVolume]]:
    """Fourteen coarse chests."""
    drawn = [draw_thorax(rng_for(0, "thorax", number)) for number in range(14)]
    return [(p, *make_thorax(p, spacing_zyx_mm=COARSE)) for p in drawn]


@pytest.fixture(scope="session")
def scan() -> LabelledScan:
    """A parametric chest in arterial contrast in the part of the real scan that copies are made of."""
    parameters = without_contrast(draw_thorax(rng_for(0, "thorax", 3)))
    bright = dict.fromkeys(("arteries", "heart", "upper_veins", "lower_veins", "pulmonary"), 350.0)
    contrast = msgspec.structs.replace(
        parameters.contrast, phase="arterial", target_hu={**parameters.contrast.target_hu, **bright}
    )
    ct, labels = make_thorax(
        msgspec.structs.replace(parameters, contrast=contrast), spacing_zyx_mm=(3.0, 3.0, 3.0)
    )
    structures = labels.voxels.astype(np.int16)
    structures[(structures == 0) & (ct.voxels < -700) & _deep(structures)] = 5
    structures[(structures == 0) & (ct.voxels > 380)] = 6
    return ready_scan(ct, structures, ids=STRUCTURE_IDS)


def _deep(structures: np.ndarray) -> np.ndarray:
    """Where the chest's inside roughly is."""
    y, x = (np.linspace(-1, 1, n) for n in structures.shape[1:])
    return np.broadcast_to((y[:, None] ** 2 / 0.3 + x[None, :] ** 2 / 0.4 < 1), structures.shape)
