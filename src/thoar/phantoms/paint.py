"""From a map of structures to Hounsfield units: means, textures and soft edges.

How bright each structure is gets drawn anew for every case; in a share of the cases far beyond what is real
(Billot et al., SynthSeg, Medical Image Analysis 86, 2023), so that no network can rely on exact values.
"""

from collections.abc import Mapping

import msgspec
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from thoar.core.geometry import Vector3
from thoar.phantoms.body_map import BodyMap
from thoar.phantoms.contrast import Contrast, Phase, draw_contrast
from thoar.phantoms.posture import Posture, gravity_zyx
from thoar.phantoms.smooth import blurred
from thoar.phantoms.structures import IDS, LOBES, LOOK_ALIKES, STRUCTURES
from thoar.phantoms.tissues import CONTENTS, GRAIN_MM, MIXED, TISSUES

PHASE_PLACE: Mapping[Phase, int | None] = {"native": None, "arterial": 0, "venous": 1, "pulmonary": 2}
"""Where a phase stands in ``Tissue.enhanced``."""
SHIFTED_SHARE = 0.15
WILD_SHARE = 0.08
GAS_HU = -500.0
HARD_HU = 250.0
FAT_HU = -40.0


class Appearance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How bright and how even every structure of one case is.

    Attributes:
        contrast: the phase, and what it makes of blood and of the large organs.
        mean_hu: of each structure.
        texture_gain: factor on every structure's unevenness.
        mixing_hu: unevenness of blood in which the agent is not yet mixed.
        gravity_hu: how much denser the lungs' lowest parts are than their highest.
        edge_mm: sigma of the blur that stands for the share of two structures in one voxel.
        seed: of the textures.
    """

    contrast: Contrast
    mean_hu: dict[str, float]
    texture_gain: float
    mixing_hu: float
    gravity_hu: float
    edge_mm: float
    seed: int


def draw_appearance(rng: np.random.Generator) -> Appearance:
    """Draw how a case looks: contrast phase, every structure's mean, textures."""
    contrast = draw_contrast(rng)
    means = {name: _drawn_mean(rng, name, contrast) for name in STRUCTURES}
    _tie_kindred(rng, means, contrast)
    _randomise(rng, means)
    mixing = {"native": 1.0, "venous": 4.0, "arterial": 50.0, "pulmonary": 70.0}[contrast.phase]
    return Appearance(
        contrast=contrast,
        mean_hu=means,
        texture_gain=float(rng.uniform(0.5, 1.6)),
        mixing_hu=float(rng.uniform(0, mixing)),
        gravity_hu=float(rng.uniform(10, 140)),
        edge_mm=float(rng.uniform(0.5, 0.9)),
        seed=int(rng.integers(2**31)),
    )


def painted(body: BodyMap, appearance: Appearance, *, posture: Posture) -> Float[Tensor, "z y x"]:
    """Return Hounsfield units on a body's own grid.

    The means are blurred a little, as voxels hold shares of several structures; textures are added after it.

    Args:
        body: the structures.
        appearance: how they look.
        posture: where the lungs are dense.
    """
    index = body.structure.int()
    hu = _looked_up(index, _means(appearance))
    sigma = tuple(appearance.edge_mm / s for s in body.spacing_zyx_mm)
    hu = blurred(hu, (sigma[0], sigma[1], sigma[2]))
    generator = torch.Generator(device=body.device).manual_seed(appearance.seed)
    for grain in range(len(GRAIN_MM)):
        noise = _noise(body, GRAIN_MM[grain], generator)
        hu.addcmul_(_looked_up(index, _spreads(appearance, grain)), noise)
        if grain == 1:
            hu.addcmul_(_looked_up(index, _skews(appearance)), noise.square_().sub_(1).mul_(0.7))
    lung = torch.zeros(256)
    lung[[IDS[name] for name in LOBES]] = appearance.gravity_hu
    hu.addcmul_(_looked_up(index, lung), _downwards(body, posture))
    return hu.clamp_(min=-1024.0)


def _drawn_mean(rng: np.random.Generator, name: str, contrast: Contrast) -> float:
    tissue = TISSUES[name]
    mean = float(rng.uniform(*tissue.native))
    added = float(rng.random())
    if name in CONTENTS:
        chances, ranges = zip(*CONTENTS[name], strict=True)
        return float(rng.uniform(*ranges[int(rng.choice(len(ranges), p=chances))]))
    if tissue.pool is not None:
        level = contrast.target_hu[tissue.pool]
        return level + float(rng.normal(0, 1.5 + 0.03 * abs(level - 45)))
    place = PHASE_PLACE[contrast.phase]
    if place is not None:
        least, most = tissue.enhanced[place]
        mean += least + added * (most - least)
    return mean * contrast.bone_gain if name in ("cortical_bone", "marrow") else mean


def _tie_kindred(rng: np.random.Generator, means: dict[str, float], contrast: Contrast) -> None:
    """Make structures alike that are one tissue in one patient: lungs, heart muscle, muscles, fat."""
    for name in LOBES:
        means[name] = means["lung_upper_lobe_left"] + float(rng.normal(0, 8))
    for first, others, spread in (
        ("left_myocardium", ("right_myocardium", "atrial_wall"), 4.0),
        ("muscle", ("diaphragm",), 4.0),
        ("mediastinal_fat", ("pericardial_fat", "heart_fat", "abdominal_fat"), 4.0),
        ("pulmonary_trunk", ("pulmonary_artery", "lung_artery"), 4.0),
        ("aorta", ("artery", "left_ventricle", "left_atrium", "pulmonary_vein", "lung_vein"), 4.0),
    ):
        for name in others:
            means[name] = means[first] + float(rng.normal(0, spread))
    means["left_atrial_appendage"] = means["left_atrium"] - float(rng.uniform(0, 8))
    cava = (means["superior_vena_cava"] + means["inferior_vena_cava"]) / 2
    means["right_atrium"] = (means["pulmonary_trunk"] + cava) / 2
    if contrast.phase == "native":
        means["right_atrium"] = means["left_atrium"] + float(rng.normal(0, 2))


def _randomise(rng: np.random.Generator, means: dict[str, float]) -> None:
    """In a share of cases move every mean, or draw it anew within what kind of thing it is."""
    kind = rng.random()
    for name, mean in means.items():
        if name == "outside" or kind > SHIFTED_SHARE + WILD_SHARE:
            continue
        if kind < WILD_SHARE:
            means[name] = float(rng.uniform(*_wild_range(mean)))
        else:
            means[name] = mean + float(rng.normal(0, 22))


def _wild_range(mean: float) -> tuple[float, float]:
    if mean < GAS_HU:
        return (-1000.0, -550.0)
    if mean < FAT_HU:
        return (-200.0, -20.0)
    return (-40.0, 260.0) if mean < HARD_HU else (150.0, 1300.0)


def _table(values: Mapping[str, float]) -> Float[Tensor, "256"]:
    table = torch.zeros(256)
    table[[IDS[name] for name in values]] = torch.tensor(list(values.values()), dtype=torch.float32)
    table[[IDS[name] for name in LOOK_ALIKES]] = table[[IDS[name] for name in LOOK_ALIKES.values()]]
    return table


def _means(appearance: Appearance) -> Float[Tensor, "256"]:
    return _table(appearance.mean_hu)


def _spreads(appearance: Appearance, grain: int) -> Float[Tensor, "256"]:
    spread = {name: tissue.spread[grain] * appearance.texture_gain for name, tissue in TISSUES.items()}
    if grain == len(GRAIN_MM) - 1:
        spread |= dict.fromkeys(MIXED, appearance.mixing_hu)
    return _table(spread)


def _skews(appearance: Appearance) -> Float[Tensor, "256"]:
    return _table({name: tissue.skew * appearance.texture_gain for name, tissue in TISSUES.items()})


def _looked_up(index: Tensor, table: Float[Tensor, "256"]) -> Float[Tensor, "z y x"]:
    return table.to(index.device).index_select(0, index.flatten()).reshape(index.shape)


def _noise(body: BodyMap, grain_mm: float, generator: torch.Generator) -> Float[Tensor, "z y x"]:
    """Return smooth chance of about unit variance, coarse grains interpolated from fewer cells."""
    shape = body.structure.shape
    cells = [
        max(2, round(n * min(1.0, s / grain_mm))) for n, s in zip(shape, body.spacing_zyx_mm, strict=True)
    ]
    noise = torch.randn(cells, generator=generator, device=body.device)
    if tuple(cells) == tuple(shape):
        return noise
    fine = interpolate(noise[None, None], size=tuple(shape), mode="trilinear", align_corners=False)[0, 0]
    return fine.mul_(_INTERPOLATION_GAIN)


_INTERPOLATION_GAIN = 1.8
"""Linear interpolation between cells leaves (2/3)^(3/2) of the variance, which this makes good."""


def _downwards(body: BodyMap, posture: Posture) -> Tensor:
    """Return how far down a voxel lies, -0.5 to 0.5 over the picture, shaped to broadcast."""
    gravity: Vector3 = gravity_zyx(posture)
    axis = max(range(3), key=lambda a: abs(gravity[a]))
    count = body.structure.shape[axis]
    along = (torch.arange(count, device=body.device) / max(1, count - 1) - 0.5) * gravity[axis]
    return along.reshape([-1 if a == axis else 1 for a in range(3)])
