"""Bodies from a label map: what is labelled stays voxel for voxel, what is not is made up plausibly.

The organs' outlines are a real patient's; walls, chambers, contents, vessels, fat, muscles, skin are drawn.
"""

from dataclasses import replace

import msgspec
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from thoar.phantoms.body_map import BodyMap
from thoar.phantoms.esophagus import Esophagus, draw_esophagus, openness
from thoar.phantoms.label_map.heart import Chambers, divide_heart, draw_chambers
from thoar.phantoms.label_map.ready import STEP_MM, ReadyLabelMap, Space, ready_label_map
from thoar.phantoms.label_map.trees import SOFT, Vessels, draw_trees, write_line
from thoar.phantoms.label_map.wall import Wall, build_wall, draw_wall, in_space
from thoar.phantoms.posture import Posture, gravity_zyx
from thoar.phantoms.smooth import filtered
from thoar.phantoms.structures import IDS, LOBES, chosen

__all__ = [
    "LabelMapParameters",
    "ReadyLabelMap",
    "draw_label_map",
    "label_map_body",
    "ready_label_map",
]

CHANCE_MM = (7.0, 28.0)
PERICARDIUM_MM = 1.2
CANAL_MM = 3.0
"""The cord lies this deep in its sac."""
AZYGOS_MM = (8.0, -4.0)
"""The azygos vein runs this far to the right of the spine's front and before it (x, y)."""


class LabelMapParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that makes one body of a label map; the same parameters give the same body.

    Attributes:
        wall: muscles, fat, breasts.
        chambers: of the heart.
        esophagus: where it is open and how thick its wall is (its values are the appearance's).
        cortical_mm: thickness of the bones' hard shell.
        aorta_wall_mm: thickness of the aorta's wall.
        hollow_wall_mm: of stomach and bowel.
        gas: share of gas in stomach and bowel, 0 to 1.
        artery_mm, vein_mm, airway_mm, bronchus_mm, airway_wall_mm: radii of a lobe's vessels, of its airway
            and of a main bronchus, and the thickness of the airways' walls.
        nodes: share of the tissue between the lungs that is nodes and small vessels.
        thymus: share of thymus in front of the heart and vessels.
        pericardium_mm: fat between the heart and the pericardium.
        pleura: what fills wide gaps beside the lungs.
        seed: of all chance.
    """

    wall: Wall
    chambers: Chambers
    esophagus: Esophagus
    cortical_mm: float
    aorta_wall_mm: float
    hollow_wall_mm: float
    gas: float
    artery_mm: float
    vein_mm: float
    airway_mm: float
    bronchus_mm: float
    airway_wall_mm: float
    nodes: float
    thymus: float
    pericardium_mm: float
    pleura: str
    seed: int


def draw_label_map(rng: np.random.Generator) -> LabelMapParameters:
    """Draw the parameters of one body."""
    return LabelMapParameters(
        wall=draw_wall(rng),
        chambers=draw_chambers(rng),
        esophagus=draw_esophagus(rng),
        cortical_mm=float(rng.uniform(1.0, 2.4)),
        aorta_wall_mm=float(rng.uniform(0.3, 2.0)),
        hollow_wall_mm=float(rng.uniform(2.5, 6)),
        gas=float(rng.uniform(0, 0.8)),
        artery_mm=float(rng.uniform(4.0, 5.8)),
        vein_mm=float(rng.uniform(3.6, 5.2)),
        airway_mm=float(rng.uniform(2.6, 3.8)),
        bronchus_mm=float(rng.uniform(4.5, 6.5)),
        airway_wall_mm=float(rng.uniform(1.0, 1.7)),
        nodes=float(rng.uniform(0, 0.14)),
        thymus=float(rng.choice((0.0, rng.uniform(0, 1)), p=(0.7, 0.3))),
        pericardium_mm=float(rng.uniform(0, 5)),
        pleura=str(rng.choice(("effusion", "atelectasis"))),
        seed=int(rng.integers(2**31)),
    )


def label_map_body(
    ready: ReadyLabelMap,
    parameters: LabelMapParameters,
    *,
    device: torch.device,
    posture: Posture = "supine",
) -> BodyMap:
    """Return a body whose labelled organs are the label map's, voxel for voxel.

    Args:
        ready: the label map, from ``ready_label_map``.
        parameters: of the case.
        device: where the body shall lie.
        posture: which way gas rises.
    """
    ready = on_device(ready, device)
    structure = ready.structure.clone()
    rng = np.random.default_rng(parameters.seed)
    fine, coarse = (_chance(ready, grain, rng) for grain in CHANCE_MM)
    _inside_labels(structure, ready, parameters, posture=posture)
    if ready.fill is None:
        build_wall(structure, ready, parameters.wall, chance=fine, coarse=coarse)
        _fill_spaces(structure, ready, parameters, chance=fine)
        _draw_unlabelled(structure, ready, parameters, rng=rng)
        _wrap_airways(structure)
    else:
        structure = torch.where(ready.fill > 0, ready.fill, structure)
    return BodyMap(structure=structure, spacing_zyx_mm=ready.spacing_zyx_mm)


def on_device(ready: ReadyLabelMap, device: torch.device) -> ReadyLabelMap:
    """Return a readied label map with its tensors on a device."""
    if ready.structure.device == device:
        return ready
    fields = {name: getattr(ready, name) for name in ReadyLabelMap.__dataclass_fields__}
    return replace(ready, **{k: v.to(device) for k, v in fields.items() if isinstance(v, Tensor)})


def _chance(ready: ReadyLabelMap, grain_mm: float, rng: np.random.Generator) -> Float[Tensor, "z y x"]:
    """Return smooth chance of about unit variance."""
    shape = tuple(ready.structure.shape)
    cells = [max(3, round(n * s / grain_mm)) for n, s in zip(shape, ready.spacing_zyx_mm, strict=True)]
    noise = torch.from_numpy(rng.standard_normal(cells, dtype=np.float32)).to(ready.structure.device)
    for axis in range(3):
        noise = filtered(noise, [0.25, 0.5, 0.25], axis)
    noise = interpolate(noise[None, None], size=shape, mode="trilinear", align_corners=False)[0, 0]
    return noise / noise[::4, ::4, ::4].std().clamp(min=1e-3)


def _inside_labels(
    structure: UInt8[Tensor, "z y x"],
    ready: ReadyLabelMap,
    parameters: LabelMapParameters,
    *,
    posture: Posture,
) -> None:
    """Part labelled organs into wall and content, shell and marrow, chambers."""
    spacing = ready.spacing_zyx_mm[0]
    depth = ready.depth.float().mul_(STEP_MM)
    deep = depth - spacing / 2
    structure.masked_fill_(
        (structure == IDS["cortical_bone"]) & (deep > parameters.cortical_mm), IDS["marrow"]
    )
    structure.masked_fill_((structure == IDS["dural_sac"]) & (deep > CANAL_MM), IDS["spinal_cord"])
    structure.masked_fill_(
        (structure == IDS["aorta"]) & (deep <= parameters.aorta_wall_mm), IDS["aorta_wall"]
    )
    _open_esophagus(structure, deep, parameters.esophagus, spacing)
    _fill_hollow(structure, deep, parameters, posture=posture)
    divide_heart(structure, ready.heart, depth, chambers=parameters.chambers, spacing_mm=spacing)


def _open_esophagus(structure: Tensor, deep: Tensor, esophagus: Esophagus, spacing: float) -> None:
    """Give the esophagus a lumen, as wide as it is open at each level."""
    opened = torch.from_numpy(openness(esophagus, structure.shape[0], step_mm=spacing)).to(structure.device)
    least = torch.where(opened > 0, esophagus.wall_mm / opened.clamp(min=0.1), torch.inf)[:, None, None]
    inside = (structure == IDS["esophagus_wall"]) & (deep > least.clamp(max=1e3))
    structure.masked_fill_(inside, IDS["esophagus_lumen"])


def _fill_hollow(
    structure: Tensor, deep: Tensor, parameters: LabelMapParameters, *, posture: Posture
) -> None:
    """Give stomach and bowel a content, gas on top of it."""
    stomach = structure == IDS["stomach_wall"]
    lumen = stomach & (deep > parameters.hollow_wall_mm)
    structure.masked_fill_(lumen, IDS["stomach_content"])
    structure.masked_fill_(lumen & _above(lumen, parameters.gas, posture), IDS["stomach_gas"])
    bowel = (structure == IDS["bowel"]) & (deep > parameters.hollow_wall_mm)
    gas = bowel & _above(bowel, 0.7 * parameters.gas, posture)
    structure.masked_fill_(gas, IDS["bowel_gas"])


def _above(mask: Tensor, share: float, posture: Posture) -> Tensor:
    """Return, shaped to broadcast, which levels against gravity the topmost share of a mask reaches."""
    gravity = gravity_zyx(posture)
    axis = max(range(3), key=lambda a: abs(gravity[a]))
    count = mask.sum(dim=[a for a in range(3) if a != axis]).float()
    from_top = count if gravity[axis] > 0 else count.flip(0)
    reached = from_top.cumsum(0) <= share * count.sum()
    reached = reached if gravity[axis] > 0 else reached.flip(0)
    return reached.reshape([-1 if a == axis else 1 for a in range(3)])


def _fill_spaces(
    structure: UInt8[Tensor, "z y x"],
    ready: ReadyLabelMap,
    parameters: LabelMapParameters,
    *,
    chance: Float[Tensor, "z y x"],
) -> None:
    """Fill the spaces between the organs: fat, nodes, thymus, pericardium; belly; gaps beside the lungs."""
    middle = in_space(ready, Space.MEDIASTINUM)
    structure.masked_fill_(middle, IDS["mediastinal_fat"])
    if parameters.nodes > 0:
        least = float(torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(1 - parameters.nodes)))
        structure.masked_fill_(middle & (chance > least), IDS["lymph_node"])
    near = ready.near_heart.float().mul_(STEP_MM)
    _write_thymus(structure, middle, ready, parameters, chance=chance)
    gap = near - parameters.pericardium_mm * (0.6 + 0.6 * chance)
    structure.masked_fill_(middle & (gap <= 0), IDS["pericardial_fat"])
    structure.masked_fill_(middle & (gap > 0) & (gap <= PERICARDIUM_MM), IDS["pericardium"])
    structure.masked_fill_(in_space(ready, Space.BELLY), IDS["abdominal_fat"])
    structure.masked_fill_(in_space(ready, Space.DIAPHRAGM), IDS["diaphragm"])
    structure.masked_fill_(in_space(ready, Space.DISC), IDS["disc"])
    structure.masked_fill_(in_space(ready, Space.PLEURA), IDS[parameters.pleura])


def _write_thymus(
    structure: Tensor, middle: Tensor, ready: ReadyLabelMap, parameters: LabelMapParameters, *, chance: Tensor
) -> None:
    """Fill part of the space in front of the great vessels with thymus."""
    great = chosen(ready.structure, "aorta", "superior_vena_cava", "brachiocephalic_vein")
    if parameters.thymus == 0 or not bool(great.any()):
        return
    index = great.any(dim=2).any(dim=0).nonzero()[:, 0]
    front = torch.arange(structure.shape[1], device=structure.device)[None, :, None] < index.min() + 8
    upper = ready.heart.any(dim=2).any(dim=1).nonzero()[:, 0]
    low = int(upper.float().mean()) if len(upper) else structure.shape[0]
    above = torch.arange(structure.shape[0], device=structure.device)[:, None, None] > low
    structure.masked_fill_(middle & front & above & (chance > 1 - 2 * parameters.thymus), IDS["thymus"])


def _draw_unlabelled(
    structure: UInt8[Tensor, "z y x"],
    ready: ReadyLabelMap,
    parameters: LabelMapParameters,
    *,
    rng: np.random.Generator,
) -> None:
    """Draw the azygos vein, the lungs' vessels and airways, the main bronchi and pulmonary arteries."""
    spacing = ready.spacing_zyx_mm[0]
    vessels = Vessels(
        artery_mm=parameters.artery_mm,
        vein_mm=parameters.vein_mm,
        airway_mm=parameters.airway_mm,
        bronchus_mm=parameters.bronchus_mm,
        wall_mm=parameters.airway_wall_mm,
    )
    spine = ready.landmarks.spine[::4]
    if len(spine) > 1:
        x, y = (v / spacing for v in AZYGOS_MM)
        over = tuple(name for name in SOFT if name not in LOBES)
        knots = spine + np.array([0.0, y, -x])
        write_line(structure, knots, 3.2, "azygos_vein", spacing_mm=spacing, over=over)
    draw_trees(structure, ready.landmarks, vessels, spacing_mm=spacing, rng=rng)


def _wrap_airways(structure: UInt8[Tensor, "z y x"]) -> None:
    """Give the trachea a wall one voxel thick out of whatever soft tissue or lung touches it."""
    lumen = structure == IDS["trachea"]
    near = lumen.clone()
    for axis in range(3):
        size = structure.shape[axis]
        near.narrow(axis, 1, size - 1).logical_or_(lumen.narrow(axis, 0, size - 1))
        near.narrow(axis, 0, size - 1).logical_or_(lumen.narrow(axis, 1, size - 1))
    soft = chosen(structure, *SOFT, "muscle", "intermuscular_fat", "pericardium")
    structure.masked_fill_(near & soft, IDS["trachea_wall"])
