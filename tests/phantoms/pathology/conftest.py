"""A plain chest of ellipses and tubes, 3 mm voxels, on which every illness has its place."""

from collections.abc import Callable

import pytest
import torch

from thoar.phantoms.body_map import BodyMap
from thoar.phantoms.structures import IDS, chosen, organ_labels

SPACING_MM = 3.0
SHAPE_ZYX = (90, 76, 110)


def plain_chest() -> BodyMap:
    z, y, x = torch.meshgrid(*(torch.arange(n) * SPACING_MM for n in SHAPE_ZYX), indexing="ij")
    x, y = x - 165.0, y - 114.0
    structure = torch.zeros(SHAPE_ZYX, dtype=torch.uint8)

    def put(name: str, inside: torch.Tensor) -> None:
        structure[inside] = IDS[name]

    def tube(name: str, dy: float, dx: float, radius: float, low: float, high: float) -> None:
        put(name, ((y - dy) ** 2 + (x - dx) ** 2 < radius**2) & (z >= low) & (z < high))

    hull = (x / 150) ** 2 + (y / 102) ** 2
    put("skin", hull < 1)
    put("subcutaneous_fat", hull < 0.97)
    put("muscle", hull < 0.75)
    put("cortical_bone", (hull < 0.66) & (z % 24 < 9))
    put("mediastinal_fat", hull < 0.58)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        lung = (((x - sign * 62) / 48) ** 2 + (y / 68) ** 2 < 1) & (z > 66) & (z < 252)
        put(f"lung_lower_lobe_{side}", lung)
        put(f"lung_upper_lobe_{side}", lung & (z + 0.8 * y < 0) | lung & (z - 0.8 * y > 165))
    put("liver", (hull < 0.56) & (z <= 66))
    tube("marrow", 78, 0, 18, 0, 270)
    tube("spinal_canal", 92, 0, 8, 0, 270)
    put("marrow", (y > -84) & (y < -74) & (x.abs() < 14) & (z > 90) & (z < 240))
    heart = (x - 20) ** 2 / 50**2 + (y + 22) ** 2 / 34**2 + (z - 105) ** 2 / 42**2
    put("heart_fat", heart < 1)
    put("left_myocardium", (heart < 0.85) & (x > 20))
    put("left_ventricle", (heart < 0.6) & (x > 28))
    put("right_atrium", (heart < 0.8) & (x < 5))
    put("right_ventricle", (heart < 0.8) & (x >= 5) & (x < 20))
    put("left_atrium", (heart < 0.9) & (y > -10) & (z > 110))
    tube("aorta", 48, 16, 13, 0, 210)
    tube("aorta", -30, 8, 15, 125, 210)
    put("aorta", ((z - 205) ** 2 + (x - 12) ** 2 < 13**2) & (y > -30) & (y < 48))
    tube("trachea", 8, -8, 9, 165, 270)
    tube("main_bronchus", 12, -24, 6, 150, 165)
    tube("esophagus_wall", 34, -8, 9, 60, 270)
    tube("superior_vena_cava", -20, -34, 8, 130, 216)
    put("brachiocephalic_vein", ((z - 222) ** 2 + (y + 30) ** 2 < 7**2) & (x > -40) & (x < 60))
    return BodyMap(structure=structure, spacing_zyx_mm=(SPACING_MM,) * 3)


@pytest.fixture(scope="session")
def chest() -> BodyMap:
    return plain_chest()


@pytest.fixture(scope="session")
def abdomen() -> BodyMap:
    """Nothing of the chest: muscles round a liver."""
    structure = torch.full((20, 30, 30), IDS["muscle"], dtype=torch.uint8)
    structure[4:16, 6:20, 6:20] = IDS["liver"]
    return BodyMap(structure=structure, spacing_zyx_mm=(SPACING_MM,) * 3)


@pytest.fixture(scope="session")
def count() -> Callable[..., int]:
    def counted(body: BodyMap, *names: str) -> int:
        return int(chosen(body.structure, *names).sum())

    return counted


@pytest.fixture(scope="session")
def same_organs() -> Callable[[BodyMap, BodyMap], bool]:
    def compared(a: BodyMap, b: BodyMap) -> bool:
        return bool(torch.equal(organ_labels(a.structure), organ_labels(b.structure)))

    return compared
