"""What one parametric chest is made from: records, and how they are drawn."""

import msgspec
import numpy as np

from thoar.core.geometry import Vector3
from thoar.phantoms.contrast import Contrast, draw_contrast
from thoar.phantoms.esophagus import Esophagus, draw_esophagus
from thoar.phantoms.lungs import Lungs, draw_lungs
from thoar.phantoms.scanner import Scanner, draw_scanner


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Build and pose.

    Attributes:
        scale_xyz: size relative to the average adult.
        rotation_xyz_deg: turn on the table.
        shift_xyz_mm: of the patient in the field.
        fat_mm: thickness of the layer under the skin.
        muscle_mm: thickness of the muscle round the cage.
        muscle_hu: its value.
        mediastinum_shift_mm: of what lies in front of the spine, to the left; fading towards the spine.
        mediastinum_mm: thickness of fat round the organs between the lungs.
        nodes: share of that fat that is soft tissue: thymus, lymph nodes.
        dome_mm: height of the right diaphragm's dome.
        unevenness_mm: root mean square of the smooth deformation of everything.
    """

    scale_xyz: Vector3
    rotation_xyz_deg: Vector3
    shift_xyz_mm: Vector3
    fat_mm: float
    muscle_mm: float
    muscle_hu: float
    mediastinum_shift_mm: float
    mediastinum_mm: float
    nodes: float
    dome_mm: float
    unevenness_mm: float


class Organs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sizes and places of the organs at risk.

    Attributes:
        heart_scale: of the heart.
        heart_shift_xyz_mm: of the heart.
        heart_rotation_xyz_deg: of the heart about its middle.
        aorta_scale: of the aorta's radius.
        arch_shift_mm: of the arch, upwards.
        trachea_scale: of the trachea's radius.
        esophagus_scale: of the esophagus's radius.
        esophagus_flat: height of its section relative to its width.
        wander_mm: how far centre lines stray from the average.
    """

    heart_scale: float
    heart_shift_xyz_mm: Vector3
    heart_rotation_xyz_deg: Vector3
    aorta_scale: float
    arch_shift_mm: float
    trachea_scale: float
    esophagus_scale: float
    esophagus_flat: float
    wander_mm: float


class ThoraxParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that makes one parametric chest; the same parameters give the same case."""

    body: Body
    organs: Organs
    esophagus: Esophagus
    contrast: Contrast
    lungs: Lungs
    scanner: Scanner
    field_zyx_mm: Vector3
    seed: int


def draw_thorax(rng: np.random.Generator) -> ThoraxParameters:
    """Draw the parameters of one chest."""
    return ThoraxParameters(
        body=_draw_body(rng),
        organs=_draw_organs(rng),
        esophagus=draw_esophagus(rng),
        contrast=draw_contrast(rng),
        lungs=draw_lungs(rng),
        scanner=draw_scanner(rng),
        field_zyx_mm=_vector(rng.uniform((260, 290, 390), (310, 320, 430))),
        seed=int(rng.integers(2**31)),
    )


def _vector(values: np.ndarray) -> Vector3:
    x, y, z = (float(v) for v in values)
    return (x, y, z)


def _draw_body(rng: np.random.Generator) -> Body:
    return Body(
        scale_xyz=_vector(np.clip(rng.uniform(0.92, 1.08) * rng.uniform(0.9, 1.1, 3), 0.88, 1.12)),
        rotation_xyz_deg=_vector(np.clip(rng.normal(0, (4, 4, 5.5)), -11, 11)),
        shift_xyz_mm=_vector(rng.uniform((-15, -12, -42), (15, 12, 24))),
        fat_mm=float(rng.uniform(5, 28)),
        muscle_mm=float(rng.uniform(9, 18)),
        muscle_hu=float(rng.uniform(44, 60)),
        mediastinum_shift_mm=float(np.clip(rng.normal(1, 9), -12, 16)),
        mediastinum_mm=float(rng.uniform(2.5, 12)),
        nodes=float(rng.uniform(0, 0.25)),
        dome_mm=float(rng.uniform(62, 98)),
        unevenness_mm=float(rng.uniform(2.0, 5.0)),
    )


def _draw_organs(rng: np.random.Generator) -> Organs:
    return Organs(
        heart_scale=float(rng.uniform(0.98, 1.24)),
        heart_shift_xyz_mm=_vector(np.clip(rng.normal(0, (7, 5, 9)), (-7, -10, -18), (14, 8, 18))),
        heart_rotation_xyz_deg=_vector(rng.normal(0, 10, 3)),
        aorta_scale=float(rng.uniform(0.82, 1.3)),
        arch_shift_mm=float(rng.normal(0, 8)),
        trachea_scale=float(rng.uniform(0.85, 1.2)),
        esophagus_scale=float(rng.uniform(0.8, 1.15)),
        esophagus_flat=float(rng.uniform(0.5, 0.9)),
        wander_mm=float(rng.uniform(1.0, 4.5)),
    )
