import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from thoar.core.errors import InputError, LabelError, UsageError
from thoar.core.geometry import Geometry
from thoar.core.volume import Volume
from thoar.datasets.layouts import segthor as layout
from thoar.datasets.layouts.layout_report import REPORT
from thoar.datasets.layouts.source import LabelFile, Source, SourceCase
from thoar.datasets.layouts.take_over import Wish, take_over
from thoar.datasets.manifest import read_dataset
from thoar.io.formats import read_integers, read_volume, write_volume

PutScan = Callable[..., Path]
ABSENT = Wish(empty="absent")


def one(image: Path, *labels: LabelFile, **said: object) -> Source:
    case = SourceCase(id="a", image=image, labels=labels, **said)  # type: ignore[arg-type]
    return Source(layout="test", place=image.parent, cases=(case,))


@pytest.fixture
def scan(tmp_path: Path, put_scan: PutScan) -> Path:
    return put_scan(tmp_path / "in" / "scan.nii.gz")


def test_images_are_copied_to_the_byte_and_labels_keep_every_voxel(segthor: Path, tmp_path: Path) -> None:
    report = take_over(layout.find(segthor), tmp_path / "out")
    first, second, bare = read_dataset(tmp_path / "out").cases
    source = segthor / "train" / "Patient_01"
    assert first.image.read_bytes() == (source / "Patient_01.nii.gz").read_bytes()
    assert first.label is not None
    given, found = read_integers(source / "GT.nii.gz"), read_integers(first.label)
    assert np.array_equal(given.voxels, found.voxels)
    assert given.geometry.same_grid(found.geometry)
    assert (bare.id, bare.label, bare.organs) == ("Patient_41", None, ())
    assert (report.labelled, report.cases_with["aorta"], report.refused) == (2, 1, ())
    assert report.cases[0].volumes_ml == pytest.approx(
        {"esophagus": 0.045, "heart": 0.081, "trachea": 0.036, "aorta": 0.063}
    )
    assert (second.organs, second.absent) == (("esophagus", "heart", "trachea"), ())


def test_an_organ_without_a_voxel_is_unlabelled_unless_it_is_said_to_be_absent(
    segthor: Path, tmp_path: Path
) -> None:
    report = take_over(layout.find(segthor), tmp_path / "out", wish=ABSENT)
    second = read_dataset(tmp_path / "out").cases[1]
    assert (second.organs[-1], second.absent) == ("aorta", ("aorta",))
    assert report.cases[1].notes == ("aorta: no voxel, absent",)


def test_a_label_on_another_grid_is_refused_by_name_and_the_others_are_taken(
    segthor: Path, tmp_path: Path, put_label: PutScan
) -> None:
    moved = Geometry.axial((6, 10, 12), (3.0, 2.0, 1.5), origin_xyz_mm=(-9.0, 4.0, 103.0))
    put_label(segthor / "train" / "Patient_02" / "GT.nii.gz", {2: 5}, geometry=moved)
    report = take_over(layout.find(segthor), tmp_path / "out")
    assert [case.id for case in report.cases] == ["Patient_01", "Patient_41"]
    (refusal,) = report.refused
    assert refusal.id == "Patient_02"
    assert refusal.reason.startswith("train/Patient_02/GT.nii.gz: does not lie on its image's grid")
    assert "3 mm apart" in refusal.reason
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "Patient_01",
        "Patient_41",
        "dataset.toml",
        REPORT,
    ]


def test_a_label_whose_axes_run_another_way_is_brought_to_the_image(scan: Path, tmp_path: Path) -> None:
    grid = read_volume(scan).geometry
    voxels = np.zeros(grid.shape_zyx, np.uint8)
    voxels[1, 2, 3] = 2
    turned = grid.reordered((0, 2, 1), flipped=(True, False, True))
    written = np.flip(voxels.transpose(0, 2, 1), (0, 2))
    write_volume(tmp_path / "gt.nii.gz", Volume(voxels=written, geometry=turned))
    take_over(one(scan, LabelFile(path=tmp_path / "gt.nii.gz")), tmp_path / "out")
    found = read_integers(tmp_path / "out" / "a" / "GT.nii.gz")
    assert np.argwhere(found.voxels).tolist() == [[1, 2, 3]]
    assert found.geometry.same_grid(grid)


def test_ids_that_nobody_declared_are_refused_with_their_number(
    scan: Path, tmp_path: Path, put_label: PutScan
) -> None:
    label = put_label(tmp_path / "in" / "gt.nii.gz", {2: 4, 7: 3, 255: 1})
    with pytest.raises(InputError, match=r"gt\.nii\.gz: holds ids .* 7 \(3 voxels\), 255 \(1 voxels\)"):
        take_over(one(scan, LabelFile(path=label)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("what", ["image", "label"])
def test_nan_is_refused_with_its_voxel(scan: Path, tmp_path: Path, put_label: PutScan, what: str) -> None:
    label = put_label(tmp_path / "in" / "gt.nii.gz", {2: 4})
    spoilt = scan if what == "image" else label
    file = nib.nifti1.load(spoilt)
    values = np.asarray(file.dataobj, dtype=np.float32)
    values[5, 2, 1] = np.nan
    nib.nifti1.save(nib.nifti1.Nifti1Image(values, file.affine), spoilt)
    with pytest.raises(InputError, match=r"NaN or infinite, the first at index \(z, y, x\) = \(1, 2, 5\)"):
        take_over(one(scan, LabelFile(path=label)), tmp_path / "out")


def test_links_lead_to_the_images_and_survive_being_read(segthor: Path, tmp_path: Path) -> None:
    take_over(layout.find(segthor), tmp_path / "out", wish=Wish(link=True))
    first = read_dataset(tmp_path / "out").cases[0]
    assert first.image.is_symlink()
    assert first.image.resolve() == segthor / "train" / "Patient_01" / "Patient_01.nii.gz"
    assert first.label is not None
    assert not first.label.is_symlink()
    assert read_volume(first.image).voxels.shape == (6, 10, 12)


def test_only_an_earlier_import_is_overwritten(segthor: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    take_over(layout.find(segthor), out)
    with pytest.raises(UsageError, match="not empty"):
        take_over(layout.find(segthor), out)
    take_over(layout.find(segthor), out, wish=Wish(organs=("heart",)), overwrite=True)
    assert read_dataset(out).label_set.names == ("heart",)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds other files"):
        take_over(layout.find(segthor), out, overwrite=True)


def test_a_data_set_is_not_read_from_the_folder_that_is_replaced(segthor: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    take_over(layout.find(segthor), out)
    with pytest.raises(UsageError, match="holds files that are to be read"):
        take_over(layout.find(out), out, overwrite=True)


def test_a_fault_in_every_case_leaves_nothing_behind(tmp_path: Path, scan: Path) -> None:
    scan.write_bytes(b"no image")
    with pytest.raises(InputError, match="none of its 1 cases can be used"):
        take_over(one(scan), tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_what_the_source_says_of_organs_must_fit_the_voxels(
    scan: Path, tmp_path: Path, put_label: PutScan
) -> None:
    label = LabelFile(path=put_label(tmp_path / "in" / "gt.nii.gz", {2: 4, 4: 3}))
    for said, message in (
        ({"absent": ("heart",)}, "heart is said to be absent, but its label has voxels"),
        ({"organs": ("heart", "trachea")}, "trachea is said to be labelled, but has no voxel"),
        ({"organs": ("hart",)}, "no label is called hart"),
    ):
        with pytest.raises(InputError, match=message):
            take_over(one(scan, label, **said), tmp_path / "out")
    take_over(one(scan, label, organs=("heart", "trachea"), absent=("trachea",)), tmp_path / "out")
    (case,) = read_dataset(tmp_path / "out").cases
    assert (case.organs, case.absent) == (("heart", "trachea"), ("trachea",))
    assert np.unique(read_integers(tmp_path / "out" / "a" / "GT.nii.gz").voxels).tolist() == [0, 2]


def test_a_case_without_any_organ_is_refused_unless_all_are_said_to_be_absent(
    scan: Path, tmp_path: Path, put_label: PutScan
) -> None:
    source = one(scan, LabelFile(path=put_label(tmp_path / "in" / "gt.nii.gz", {})))
    with pytest.raises(InputError, match="none of the organs"):
        take_over(source, tmp_path / "out")
    take_over(source, tmp_path / "out", wish=ABSENT)
    (case,) = read_dataset(tmp_path / "out").cases
    assert case.absent == case.organs == ("esophagus", "heart", "trachea", "aorta")


def test_masks_that_overlap_go_by_priority_and_the_report_says_how_much(
    scan: Path, tmp_path: Path, put_label: PutScan
) -> None:
    masks = [
        LabelFile(path=put_label(tmp_path / "in" / f"{name}.nii.gz", counts), names={1: name})
        for name, counts in (("aorta", {0: 4, 1: 12}), ("heart", {1: 10}))
    ]
    names = tmp_path / "names.toml"
    names.write_text('priority = ["heart", "aorta"]')
    for wish, aorta in ((Wish(), 0.054), (Wish(names_file=names), 0.108)):
        report = take_over(one(scan, *masks), tmp_path / "out", wish=wish, overwrite=True)
        assert report.cases[0].volumes_ml["aorta"] == pytest.approx(aorta)
    assert report.cases[0].notes == ("aorta over heart: 0.1 mL",)


def test_the_report_is_kept_beside_the_data_set(segthor: Path, tmp_path: Path) -> None:
    take_over(layout.find(segthor), tmp_path / "out")
    said = json.loads((tmp_path / "out" / REPORT).read_text())
    assert (said["layout"], said["meanings"]["aorta"]) == ("segthor", "aorta")


@pytest.mark.parametrize("ids", [("a", "A"), ("../a",), ()])
def test_ids_that_cannot_be_folders_are_refused_before_anything_is_read(
    tmp_path: Path, ids: tuple[str, ...]
) -> None:
    cases = tuple(SourceCase(id=name, image=tmp_path / "gone.nii.gz") for name in ids)
    with pytest.raises(InputError):
        Source(layout="test", place=tmp_path, cases=cases)


def test_an_id_that_is_the_name_of_a_file_of_ours_is_refused(segthor: Path, tmp_path: Path) -> None:
    source = layout.find(segthor)
    cases = (replace(source.cases[0], id="Dataset.toml"), *source.cases[1:])
    with pytest.raises(InputError, match=r"cannot be called Dataset\.toml"):
        take_over(replace(source, cases=cases), tmp_path / "out")


def test_a_refusal_names_the_file_but_no_folder_outside_the_source(scan: Path, tmp_path: Path) -> None:
    gone = tmp_path / "clinic" / "Doe_John" / "ct.nii.gz"
    cases = (*one(scan).cases, SourceCase(id="b", image=gone))
    take_over(Source(layout="test", place=scan.parent, cases=cases), tmp_path / "out")
    said = (tmp_path / "out" / REPORT).read_text()
    assert "ct.nii.gz: no such file" in said
    assert "Doe_John" not in said


def test_a_refused_case_leaves_no_folder(segthor: Path, tmp_path: Path) -> None:
    source = layout.find(segthor)
    cases = (replace(source.cases[0], organs=("heart",), absent=("aorta",)), *source.cases[1:])
    report = take_over(replace(source, cases=cases), tmp_path / "out")
    assert [line.id for line in report.refused] == ["Patient_01"]
    assert not (tmp_path / "out" / "Patient_01").exists()


def test_a_file_of_names_gives_ids_their_meaning(scan: Path, tmp_path: Path, put_label: PutScan) -> None:
    label = LabelFile(path=put_label(tmp_path / "in" / "gt.nii.gz", {7: 4, 8: 2, 9: 5}))
    names = tmp_path / "names.toml"
    names.write_text(
        'ignore = ["9"]\n[[organs]]\norgan = "heart"\nnames = ["7", "8"]\nwhen_several = "join"\n'
    )
    take_over(one(scan, label), tmp_path / "out", wish=Wish(names_file=names))
    found = read_integers(tmp_path / "out" / "a" / "GT.nii.gz").voxels
    assert np.bincount(found.ravel()).tolist() == [found.size - 6, 0, 6]


def test_an_organ_asked_for_that_is_nowhere_is_refused(segthor: Path, tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="liver"):
        take_over(layout.find(segthor), tmp_path / "out", wish=Wish(organs=("liver",)))
