import itertools

import numpy as np
import pytest

from thoar.phantoms.contrast import draw_contrast
from thoar.phantoms.structures import LOBES, STRUCTURES
from thoar.phantoms.tissues import CONTENTS, MIXED, TISSUES


def test_every_structure_has_a_tissue_and_no_other_name_has() -> None:
    assert set(TISSUES) == set(STRUCTURES)
    assert set(CONTENTS) <= set(STRUCTURES)
    assert set(MIXED) <= set(STRUCTURES)


@pytest.mark.parametrize("name", STRUCTURES)
def test_ranges_run_upwards(name: str) -> None:
    tissue = TISSUES[name]
    for least, most in (tissue.native, *tissue.enhanced):
        assert least <= most
    assert min(tissue.spread) >= 0


def test_pools_are_groups_of_the_contrast_phase() -> None:
    groups = set(draw_contrast(np.random.default_rng(0)).target_hu)
    assert {t.pool for t in TISSUES.values() if t.pool is not None} <= groups


def test_the_chances_of_contents_add_up() -> None:
    for choices in CONTENTS.values():
        assert sum(chance for chance, _ in choices) == pytest.approx(1)


def test_air_lung_fat_soft_tissue_and_bone_are_in_order_and_apart() -> None:
    order = ("trachea", *LOBES[:1], "subcutaneous_fat", "muscle", "cortical_bone", "metal")
    ranges = [TISSUES[name].native for name in order]
    for (_, below), (above, _) in itertools.pairwise(ranges):
        assert below < above
