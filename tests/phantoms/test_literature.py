"""Sizes, places and values of synthetic chests against published measurements."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from thoar.core.labels import SEGTHOR
from thoar.core.random import rng_for
from thoar.io.formats import read_integers
from thoar.phantoms.body_map import BodyMap
from thoar.phantoms.label_map.body import draw_label_map, label_map_body
from thoar.phantoms.label_map.ready import ready_label_map
from thoar.phantoms.paint import Appearance, draw_appearance, painted
from thoar.phantoms.parametric.thorax import draw_thorax, thorax_map
from thoar.phantoms.structures import LOBES, LUNGS, chosen, organ_labels

SPACING_MM = 3.0
CASES = 3
CPU = torch.device("cpu")
Range = tuple[float, float]

HEART_ML: Range = (355, 1074)
"""352 ± 58 mL/m² (Foldyna et al. 2021, doi 10.1007/s00330-021-07695-2), two deviations, for 1.5 to 2.3 m²."""
LUNGS_ML: Range = (1290, 7650)
"""4468 ± 1271 mL (Cheng et al. 2019, doi 10.2147/COPD.S187596), two and a half deviations."""
TRACHEA_ML: dict[str, Range] = {"male": (18.6, 52.6), "female": (9.4, 40.0)}
"""35.6 ± 6.8 and 24.7 ± 6.1 mL (Kamel et al. 2009, Clin Anat, PMID 19544298), two and a half deviations."""
TRACHEA_LENGTH_MM: dict[str, Range] = {"male": (76, 135), "female": (72, 125)}
"""Cricoid to carina, 105 ± 9.8 and 98 ± 8.7 mm (Kamel et al. 2009), three deviations."""
TRACHEA_MM: dict[str, Range] = {"male": (13, 27), "female": (10, 23)}
"""Coronal 13 to 25 (10 to 21), sagittal 13 to 27 (10 to 23) (Breatnach 1984, doi 10.2214/ajr.142.5.903)."""
ASCENDING_MM: Range = (20.6, 41.2)
"""30.9 ± 4.1 mm (Hager et al. 2002, doi 10.1067/mtc.2002.122310), two and a half deviations."""
DESCENDING_MM: Range = (14.7, 34.7)
"""24.7 ± 4.0 mm at the isthmus (Hager et al. 2002), likewise."""
HIATUS_MM: Range = (15.5, 33.1)
"""24.3 ± 3.5 mm at the diaphragm (Hager et al. 2002), likewise."""
ESOPHAGUS_LENGTH_MM: Range = (190, 310)
"""About 250 mm (Oezcelik and DeMeester 2011, Thorac Surg Clin 21:289), and a quarter."""
ESOPHAGUS_MM: Range = (6, 22)
"""Twice a wall of 3 mm (Reinig et al. 1983, doi 10.2214/ajr.140.5.931) to 5 mm, to twice as wide as thick."""
LOBE_PERCENT: dict[str, Range] = {
    "lung_upper_lobe_left": (18.1, 26.6),
    "lung_lower_lobe_left": (19.4, 28.7),
    "lung_upper_lobe_right": (11.8, 22.7),
    "lung_middle_lobe_right": (6.6, 13.8),
    "lung_lower_lobe_right": (22.3, 34.0),
}
"""Range of 32 volunteers lying on their backs (Yamada et al. 2020, PMC7490509, table 3)."""
NATIVE_HU: dict[str, Range] = {
    "aorta": (28, 50),  # 28-43 in all, 40-47.5 without anaemia: doi 10.1038/s41598-022-24265-8
    "left_ventricle": (28, 50),
    "liver": (40, 76),  # 58 ± 9: doi 10.1007/s00414-019-02016-1
    "muscle": (30, 55),  # obese 34 ± 4 to lean 49 ± 3: Goodpaster et al. 2000, J Appl Physiol 89:104
    "subcutaneous_fat": (-190, -30),  # the accepted window: Aubrey et al. 2014, PMID 24393306
    "mediastinal_fat": (-190, -30),
    "trachea": (-1024, -900),
    "lung_lower_lobe_left": (-920, -650),  # Prokop 2003: -850 to -910 in full inspiration
}
"""Means without contrast agent, of the middle patient."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chest:
    """A body, its patient's sex where known, and its organs."""

    body: BodyMap
    sex: str

    def mask(self, organ: str) -> np.ndarray:
        return (organ_labels(self.body.structure) == SEGTHOR.organ(organ).id).numpy()

    def ml(self, *names: str) -> float:
        return int(chosen(self.body.structure, *names).sum()) * float(np.prod(self.body.spacing_zyx_mm)) / 1e3

    @property
    def step_mm(self) -> float:
        return self.body.spacing_zyx_mm[0]


@pytest.fixture(scope="module")
def chests() -> Sequence[Chest]:
    made = []
    for number in range(CASES):
        parameters = draw_thorax(rng_for(number, "literature"))
        body = thorax_map(parameters, device=CPU, spacing_mm=SPACING_MM)
        made.append(Chest(body=body, sex=parameters.build.sex))
    return made


@pytest.fixture(scope="module")
def mapped(shared_data: Path) -> Chest:
    """A body of a real label map; the sex is not known."""
    with (shared_data / "structures.csv").open(newline="") as lines:
        ids = {row["structure"]: int(row["id"]) for row in csv.DictReader(lines)}
    path = shared_data / "totalseg_s0327" / "labelmap_ids_as_structures_csv.nii.gz"
    ready = ready_label_map(read_integers(path), ids=ids)
    body = label_map_body(ready, draw_label_map(rng_for(0, "literature")), device=CPU)
    return Chest(body=body, sex="male")


def within(value: float, bounds: Range) -> bool:
    return bounds[0] <= value <= bounds[1]


def diameter_mm(pixels: float, step_mm: float) -> float:
    """Of the circle of the same area."""
    return 2 * float(np.sqrt(pixels / np.pi)) * step_mm


def carina(trachea: np.ndarray) -> int:
    """The lowest slice above which the trachea is one piece."""
    slices = np.flatnonzero(trachea.any(axis=(1, 2)))
    for z in slices[::-1]:
        sizes = np.bincount(ndimage.label(trachea[z])[0].ravel())[1:]
        if (sizes > 3).sum() > 1:
            return int(z) + 1
    return int(slices[0])


def limbs_mm(chest: Chest) -> tuple[float, float]:
    """Median diameters of the ascending and the descending aorta where a slice holds both apart."""
    aorta, found = chest.mask("aorta"), []
    for plane in aorta:
        pieces, count = ndimage.label(plane)
        if count == 2:
            sizes = np.bincount(pieces.ravel())[1:]
            depths = [c[0] for c in ndimage.center_of_mass(plane, pieces, [1, 2])]
            if sizes.min() > 20:
                found.append(sizes[np.argsort(depths)])
    front, back = np.median(np.array(found), axis=0)
    return diameter_mm(front, chest.step_mm), diameter_mm(back, chest.step_mm)


def middle(mask: np.ndarray) -> np.ndarray:
    return np.argwhere(mask).mean(axis=0)


def test_hearts_and_lungs_have_human_volumes(chests: Sequence[Chest]) -> None:
    for chest in chests:
        assert within(chest.mask("heart").sum() * SPACING_MM**3 / 1e3, HEART_ML)
        assert within(chest.ml(*LUNGS), LUNGS_ML)


@pytest.mark.parametrize("lobe", LOBES)
def test_lobes_share_the_lungs_as_published(chests: Sequence[Chest], lobe: str) -> None:
    shares = [100 * chest.ml(lobe) / chest.ml(*LOBES) for chest in chests]
    assert within(float(np.mean(shares)), LOBE_PERCENT[lobe])


def test_the_trachea_is_as_long_and_wide_as_published_for_the_sex(chests: Sequence[Chest]) -> None:
    for chest in chests:
        trachea = chest.mask("trachea")
        low = carina(trachea)
        high = int(np.flatnonzero(trachea.any(axis=(1, 2)))[-1])
        assert within(trachea.sum() * SPACING_MM**3 / 1e3, TRACHEA_ML[chest.sex])
        assert within((high - low) * SPACING_MM, TRACHEA_LENGTH_MM[chest.sex])
        assert within(diameter_mm(trachea[(low + high) // 2].sum(), SPACING_MM), TRACHEA_MM[chest.sex])


def test_the_aorta_is_as_wide_as_published_at_three_levels(chests: Sequence[Chest]) -> None:
    for chest in chests:
        ascending, descending = limbs_mm(chest)
        aorta = chest.mask("aorta")
        low = int(np.flatnonzero(aorta.any(axis=(1, 2)))[0]) + int(30 / SPACING_MM)
        assert within(ascending, ASCENDING_MM)
        assert within(descending, DESCENDING_MM)
        assert within(diameter_mm(aorta[low].sum(), SPACING_MM), HIATUS_MM)
        assert descending < ascending


def test_the_esophagus_is_as_long_and_thick_as_published(chests: Sequence[Chest]) -> None:
    for chest in chests:
        esophagus = chest.mask("esophagus")
        slices = np.flatnonzero(esophagus.any(axis=(1, 2)))
        assert within((slices[-1] - slices[0]) * SPACING_MM, ESOPHAGUS_LENGTH_MM)
        assert within(diameter_mm(esophagus[slices].sum(axis=(1, 2)).mean(), SPACING_MM), ESOPHAGUS_MM)


def check_order(chest: Chest) -> None:
    """Where the organs lie to each other: Gray's Anatomy, the thorax."""
    trachea, aorta, heart, esophagus = (chest.mask(n) for n in ("trachea", "aorta", "heart", "esophagus"))
    fork = carina(trachea)
    arch = int(np.flatnonzero(aorta.any(axis=(1, 2)))[-1])
    assert 5 < (arch - fork) * chest.step_mm < 70  # the arch rises over the carina
    assert np.flatnonzero(heart.any(axis=(1, 2)))[0] < fork - 50 / chest.step_mm
    above = fork + int(20 / chest.step_mm)
    assert middle(esophagus[above])[0] > middle(trachea[above])[0]  # behind the trachea
    level = int(middle(heart)[0])
    canal = chosen(chest.body.structure, "spinal_canal", "dural_sac", "spinal_cord").numpy()
    midline = middle(canal[level])[1]
    assert middle(heart[level])[1] > midline  # most of the heart lies to the left
    pieces, count = ndimage.label(aorta[level])
    backmost = max(ndimage.center_of_mass(aorta[level], pieces, range(1, count + 1)))
    assert backmost[0] > middle(heart[level])[0]  # the descending aorta lies behind the heart,
    assert backmost[1] > midline  # to the left of the spine's middle,
    assert middle(esophagus[level])[0] < backmost[0] + 5 / chest.step_mm  # not before the esophagus


def test_the_organs_lie_as_in_every_human(chests: Sequence[Chest]) -> None:
    for chest in chests:
        check_order(chest)
        pulmonary = chosen(chest.body.structure, "pulmonary_trunk").numpy()
        assert middle(pulmonary)[2] > middle(chosen(chest.body.structure, "superior_vena_cava").numpy())[2]


@pytest.mark.slow
def test_a_body_of_a_label_map_is_human_too(mapped: Chest) -> None:
    step = mapped.step_mm
    assert within(mapped.mask("heart").sum() * step**3 / 1e3, HEART_ML)
    assert within(mapped.ml(*LUNGS), LUNGS_ML)
    ascending, descending = limbs_mm(mapped)
    assert within(ascending, ASCENDING_MM)
    assert within(descending, DESCENDING_MM)
    check_order(mapped)


def natives(count: int) -> list[Appearance]:
    """The first so many patients without contrast agent."""
    drawn = (draw_appearance(rng_for(number, "literature")) for number in range(100 * count))
    found: list[Appearance] = []
    for appearance in drawn:
        if appearance.contrast.phase == "native":
            found.append(appearance)
        if len(found) == count:
            break
    return found


@pytest.mark.parametrize("name", NATIVE_HU)
def test_the_middle_patient_without_contrast_has_published_values(name: str) -> None:
    values = [appearance.mean_hu[name] for appearance in natives(40)]
    assert within(float(np.median(values)), NATIVE_HU[name])


def test_painted_tissue_has_the_value_drawn_for_it(chests: Sequence[Chest]) -> None:
    appearance = natives(1)[0]
    hu = painted(chests[0].body, appearance, posture="supine").numpy()
    for name in ("aorta", "liver", "muscle"):
        mask = ndimage.binary_erosion(chosen(chests[0].body.structure, name).numpy(), iterations=2)
        assert abs(float(np.median(hu[mask])) - appearance.mean_hu[name]) < 12, name
