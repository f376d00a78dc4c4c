"""A fixed small run gives the numbers it always gave, on any machine, within rounding."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from thoar.core.configuration import Configuration
from thoar.datasets.manifest import Dataset
from thoar.training.run import Setting, train
from thoar.training.split import held_out

GOLDEN = {
    (0, "train/coarse"): 0.939837,
    (0, "train/head1_dice_heart"): 0.123492,
    (1, "train/coarse"): 0.884661,
    (1, "train/head1_dice_heart"): 0.209801,
    (2, "train/coarse"): 0.832342,
    (2, "train/head1_dice_heart"): 0.263675,
    (2, "train/fine_heart"): 0.505371,
    (2, "train/fine_trachea"): 0.717282,
    (3, "train/coarse"): 0.690408,
    (3, "train/head1_dice_heart"): 0.301546,
    (3, "train/fine_heart"): 0.378775,
    (3, "train/fine_trachea"): 0.466169,
}
"""Per epoch and loss, as this project has computed it since its first version."""


def test_loss_curve_is_the_golden_one(
    tmp_path: Path, small_dataset: Dataset, small_configuration: Callable[..., Configuration]
) -> None:
    split = held_out(small_dataset.cases, validation_cases=1, seed=3)
    train(
        small_configuration(),
        split,
        tmp_path,
        label_set=small_dataset.label_set,
        setting=Setting(device="cpu"),
    )
    with (tmp_path / "metrics.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    losses = {(int(row["epoch"]), row["name"]): float(row["value"]) for row in rows}
    assert {key: losses[key] for key in GOLDEN} == pytest.approx(GOLDEN, rel=1e-3)
