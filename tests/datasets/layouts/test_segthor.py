from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from thoar.core.errors import LabelError
from thoar.core.labels import SEGTHOR, LabelSet, Organ
from thoar.datasets.layouts import segthor as layout
from thoar.datasets.layouts.segthor_export import export_segthor
from thoar.datasets.layouts.take_over import Wish, take_over
from thoar.datasets.manifest import Case, Dataset, read_dataset
from thoar.io.formats import read_integers

PutScan = Callable[..., Path]


def test_export_is_read_as_the_layout_it_is(segthor: Path, tmp_path: Path) -> None:
    take_over(layout.find(segthor), tmp_path / "ours", wish=Wish(empty="absent"))
    export_segthor(read_dataset(tmp_path / "ours"), tmp_path / "out")
    names = [str(p.relative_to(tmp_path / "out")) for p in sorted((tmp_path / "out").rglob("*.nii.gz"))]
    assert names == [str(p.relative_to(segthor)) for p in sorted(segthor.rglob("*.nii.gz"))]
    for case in read_dataset(segthor).cases:
        assert case.label is not None
        again = tmp_path / "out" / case.label.relative_to(segthor)
        assert np.array_equal(read_integers(case.label).voxels, read_integers(again).voxels)


def test_organs_that_are_not_labelled_need_a_decision(segthor: Path, tmp_path: Path) -> None:
    take_over(layout.find(segthor), tmp_path / "ours")
    dataset = read_dataset(tmp_path / "ours")
    with pytest.raises(LabelError, match="Patient_02 lacks aorta"):
        export_segthor(dataset, tmp_path / "out")
    export_segthor(dataset, tmp_path / "out", partial="background")
    assert read_integers(tmp_path / "out" / "train" / "Patient_02" / "GT.nii.gz").voxels.max() == 3
    plan = export_segthor(dataset, tmp_path / "out", partial="drop", overwrite=True)
    assert plan.dropped == ("Patient_02",)


def test_export_gives_the_layouts_own_ids_and_refuses_organs_it_has_not(
    tmp_path: Path, put_scan: PutScan, put_label: PutScan
) -> None:
    label_set = LabelSet(organs=(Organ(name="heart", id=9), Organ(name="liver", id=1)))
    case = Case(
        id="a",
        image=put_scan(tmp_path / "a.nii.gz"),
        label=put_label(tmp_path / "gt.nii.gz", {9: 4, 1: 3}),
        organs=label_set.names,
        group="a",
    )
    dataset = Dataset(root=tmp_path, label_set=label_set, cases=(case,))
    with pytest.raises(LabelError, match="has no liver"):
        export_segthor(dataset, tmp_path / "out")
    export_segthor(dataset, tmp_path / "out", organs=("heart",))
    label = read_integers(tmp_path / "out" / "train" / "a" / "GT.nii.gz").voxels
    assert np.bincount(label.ravel())[1:].tolist() == [0, 4]


def test_a_data_set_of_ours_keeps_its_label_set_and_lists(segthor: Path, tmp_path: Path) -> None:
    take_over(layout.find(segthor), tmp_path / "ours")
    take_over(layout.find(tmp_path / "ours"), tmp_path / "again")
    assert (tmp_path / "again" / "dataset.toml").read_bytes() == (
        tmp_path / "ours" / "dataset.toml"
    ).read_bytes()
    assert read_dataset(tmp_path / "again").label_set == SEGTHOR
