import math
from dataclasses import replace

import numpy as np
import pytest

from thoar.core.errors import GeometryError, LabelError
from thoar.core.geometry import Geometry
from thoar.datasets.manifest import read_dataset, write_dataset
from thoar.evaluation.evaluate import evaluate


def test_a_shift_by_one_voxel_gives_the_known_scores(world):
    world.reference("p1")
    world.predict("p1")
    (case,) = evaluate(world.predictions, world.references).cases
    assert tuple(case.scores) == ("esophagus", "heart", "trachea", "aorta")
    for scores in case.scores.values():
        assert scores.dice == pytest.approx(4 / 5)
        assert scores.hausdorff_mm == scores.centroid_distance_mm == pytest.approx(1.2)
        assert scores.average_hausdorff_mm == pytest.approx(1.2 / 5)
        assert scores.surface_dice == 1.0
        assert scores.reference_volume_ml == pytest.approx(4 * 3 * 5 * 2.7 / 1000)


def test_the_tolerance_reaches_surface_dice_and_the_results(world):
    world.reference("p1")
    world.predict("p1")
    results = evaluate(world.predictions, world.references, tolerance_mm=1.0)
    assert results.tolerance_mm == 1.0
    assert results.cases[0].scores["heart"].surface_dice < 1.0


def test_a_missed_organ_scores_zero_and_counts_in_the_summary(world, ground_truth):
    for case_id in ("p1", "p2"):
        world.reference(case_id)
    world.predict("p1", ground_truth)
    world.predict("p2", np.where(ground_truth == 3, 0, ground_truth).astype(np.uint8))
    trachea = evaluate(world.predictions, world.references).summaries["trachea"]
    assert (trachea["dice"].mean, trachea["dice"].n) == (0.5, 2)
    assert (trachea["hausdorff_mm"].mean, trachea["hausdorff_mm"].n_infinite) == (math.inf, 1)


def test_an_organ_in_neither_mask_is_undefined_and_counted(world, ground_truth):
    without = np.where(ground_truth == 1, 0, ground_truth).astype(np.uint8)
    world.reference("p1", without)
    world.predict("p1", without)
    summary = evaluate(world.predictions, world.references).summaries["esophagus"]["dice"]
    assert (summary.n, summary.n_undefined) == (0, 1)


def test_an_organ_that_the_reference_does_not_label_is_skipped_and_counted(world):
    for case_id in ("p1", "p2"):
        world.reference(case_id)
        world.predict(case_id)
    dataset = read_dataset(world.references)
    cases = (replace(dataset.cases[0], organs=("heart", "trachea")), dataset.cases[1])
    write_dataset(world.references, replace(dataset, cases=cases))
    results = evaluate(world.predictions, world.references)
    assert results.cases[0].skipped == ("esophagus", "aorta")
    assert set(results.cases[0].scores) == {"heart", "trachea"}
    assert results.skipped == {"esophagus": 1, "heart": 0, "trachea": 0, "aorta": 1}
    assert results.summaries["aorta"]["dice"].n == 1


@pytest.mark.parametrize(
    "grid",
    [
        Geometry.axial((8, 16, 18), (2.5, 0.9, 1.2), origin_xyz_mm=(-20.0, 7.0, 302.5)),
        Geometry.axial((8, 16, 18), (2.5, 0.9, 1.25), origin_xyz_mm=(-20.0, 7.0, 300.0)),
        Geometry.axial((8, 18, 16), (2.5, 0.9, 1.2), origin_xyz_mm=(-20.0, 7.0, 300.0)),
    ],
    ids=["moved by a slice", "other spacing", "other shape"],
)
def test_a_prediction_on_another_grid_is_refused(world, grid):
    """faults.md C80."""
    world.reference("p1")
    world.predict("p1", np.ones(grid.shape_zyx, dtype=np.uint8), grid)
    with pytest.raises(GeometryError, match=r"another grid than .*GT\.nii\.gz"):
        evaluate(world.predictions, world.references)


@pytest.mark.parametrize(("apart_mm", "same"), [(0.09, True), (0.11, False)])
def test_grids_are_the_same_where_training_takes_them_as_the_same(world, ground_truth, apart_mm, same):
    world.reference("p1")
    moved = Geometry.axial((8, 16, 18), (2.5, 0.9, 1.2), origin_xyz_mm=(-20.0, 7.0, 300.0 + apart_mm))
    world.predict("p1", ground_truth, moved)
    if same:
        (case,) = evaluate(world.predictions, world.references).cases
        assert case.scores["heart"].dice == 1.0
    else:
        with pytest.raises(GeometryError):
            evaluate(world.predictions, world.references)


def test_the_order_of_axes_in_the_file_does_not_matter(world, ground_truth, grid):
    """The same voxels at the same places, stored feet first and with x and y exchanged."""
    world.reference("p1")
    axes, flipped = (0, 2, 1), (True, False, True)
    voxels = np.flip(ground_truth.transpose(axes), (0, 2))
    world.predict("p1", np.ascontiguousarray(voxels), grid.reordered(axes, flipped=flipped))
    (case,) = evaluate(world.predictions, world.references).cases
    assert all(scores.dice == 1.0 for scores in case.scores.values())


def test_a_label_id_outside_the_label_set_is_refused(world, grid):
    world.reference("p1")
    path = world.predict("p1")
    world.label_any(path, np.full(grid.shape_zyx, 9, dtype=np.uint8))
    with pytest.raises(LabelError, match="9"):
        evaluate(world.predictions, world.references)
