"""What `thoar dataset check` finds in small chests, each with one fault made into it."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from thoar.core.geometry import Geometry
from thoar.core.labels import SEGTHOR, LabelSet, Organ
from thoar.core.volume import LabelVolume, Volume
from thoar.datasets.check import check_dataset
from thoar.datasets.findings import KINDS, CheckReport, Finding, read_findings, write_findings
from thoar.datasets.manifest import Case, Dataset, read_dataset
from thoar.imaging.components import pieces_of
from thoar.io.formats import write_labels, write_volume

SHAPE, SPACING = (60, 60, 80), (4.0, 4.0, 4.0)
GEOMETRY = Geometry.axial(SHAPE, SPACING)
ESOPHAGUS, HEART, TRACHEA, AORTA = 1, 2, 3, 4

Spoil = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def chest(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return HU and labels of a chest like any other, a few millimetres off."""
    hu, labels = made_chest(seed)
    return hu.copy(), labels.copy()


@cache
def made_chest(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    z, y, x = (a * 4.0 for a in np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"))
    dz, dy, dx = rng.uniform(-5, 5, 3)
    size = rng.uniform(0.95, 1.05)

    def ball(centre: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
        places = ((z, centre[0] + dz), (y, centre[1] + dy), (x, centre[2] + dx))
        return sum(((a - c) / (r * size)) ** 2 for (a, c), r in zip(places, radii, strict=True)) < 1

    lean = (90 - z) * 0.3
    labels = np.zeros(SHAPE, np.uint8)
    labels[ball((90, 90, 178 + lean), (45, 40, 50))] = HEART
    labels[ball((0, 148, 163), (1e9, 8, 8)) & (z > 20 + dz) & (z < 232)] = ESOPHAGUS
    labels[ball((0, 125, 150), (1e9, 9, 9)) & (z > 110 + dz) & (z < 232)] = TRACHEA
    along = np.clip((y - 105 - dy) / 60, 0, 1)
    labels[ball((0, 165, 192), (1e9, 12, 12)) & (z > 8) & (z < 180 + dz)] = AORTA
    labels[ball((0, 105, 170), (1e9, 13, 13)) & (z > 120 + dz) & (z < 180 + dz)] = AORTA
    labels[ball((178, 105 + 60 * along, 170 + 22 * along), (12, 12, 12))] = AORTA
    body = ((y - 120) / 100) ** 2 + ((x - 160) / 145) ** 2 < 1
    hu = np.where(body, 30.0, -1000.0)
    hu[ball((120, 120, 90), (100, 70, 52)) | ball((120, 120, 230), (100, 70, 52))] = -850
    hu[(labels > 0) & (labels != TRACHEA)] = 45
    hu[labels == TRACHEA] = -980
    return (hu + rng.normal(0, 10, SHAPE)).astype(np.int16), labels


def same(hu: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return hu, labels


def write_case(level: Path, number: int, spoil: Spoil = same) -> Path:
    """Write a case of SegTHOR's layout."""
    folder = level / f"Patient_{number:02d}"
    folder.mkdir(parents=True)
    hu, labels = spoil(*chest(number))
    write_volume(folder / f"{folder.name}.nii.gz", Volume(voxels=hu, geometry=GEOMETRY))
    volume = LabelVolume(voxels=labels.astype(np.uint8), geometry=GEOMETRY, label_set=SEGTHOR)
    write_labels(folder / "GT.nii.gz", volume)
    return folder


def checked(folder: Path, spoil: Spoil = same, *, cases: int = 1, spoiled: int | None = None) -> CheckReport:
    """Write so many cases, the last ones of them spoiled (all by default), and check them."""
    first = cases - (cases if spoiled is None else spoiled)
    for number in range(cases):
        write_case(folder / "train", number, spoil if number >= first else same)
    return check_dataset(read_dataset(folder))


def found(report: CheckReport, kind: str) -> list[Finding]:
    return [line for line in report.findings if line.kind == kind]


def moved(label: int, vector_zyx_mm: tuple[int, int, int]) -> Spoil:
    def spoil(hu: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mask = np.roll(labels == label, [round(v / 4) for v in vector_zyx_mm], (0, 1, 2))
        out = np.where(labels == label, 0, labels)
        out[mask] = label
        return hu, out

    return spoil


def without(label: int) -> Spoil:
    return lambda hu, labels: (hu, np.where(labels == label, 0, labels))


def test_good_cases_raise_no_alarm(tmp_path: Path) -> None:
    report = checked(tmp_path, cases=6)
    assert report.findings == ()
    assert [count.drawn for count in report.organs.values()] == [6, 6, 6, 6]


def test_an_organ_without_a_voxel_in_half_the_cases_is_an_error_in_each_and_told_of_the_set(
    tmp_path: Path,
) -> None:
    report = checked(tmp_path, without(AORTA), cases=4, spoiled=2)
    assert [(f.case_id, f.organ) for f in found(report, "empty_organ")] == [
        ("Patient_02", "aorta"),
        ("Patient_03", "aorta"),
    ]
    (often,) = found(report, "absent_often")
    assert (often.case_id, often.organ) == ("", "aorta")
    assert often.found.startswith("2 of 4 cases")
    assert report.errors == 2


def test_an_organ_declared_absent_is_no_error_but_one_that_is_there_after_all_is(tmp_path: Path) -> None:
    write_case(tmp_path, 0, without(AORTA))
    write_case(tmp_path, 1)
    dataset = read_dataset(tmp_path)
    cases = tuple(replace(case, absent=("aorta",)) for case in dataset.cases)
    report = check_dataset(replace(dataset, cases=cases))
    assert [f.case_id for f in found(report, "declared_absent")] == ["Patient_01"]
    assert not found(report, "empty_organ")
    assert report.organs["aorta"].absent == 1


def test_an_organ_that_no_case_shows_is_told_of_the_set(tmp_path: Path) -> None:
    assert [f.organ for f in found(checked(tmp_path, without(TRACHEA)), "absent_everywhere")] == ["trachea"]


def test_cases_without_a_label_map_do_not_make_organs_rare(tmp_path: Path) -> None:
    write_case(tmp_path, 0)
    (write_case(tmp_path, 1) / "GT.nii.gz").unlink()
    report = check_dataset(read_dataset(tmp_path))
    assert [line.kind for line in report.findings] == ["no_label"]
    assert report.organs["heart"].unlabelled == 1


@pytest.mark.parametrize(
    "vector", [(0, 0, 48), (0, 0, -48), (0, 40, 0), (0, -40, 0), (48, 0, 0), (-72, 0, 0)]
)
def test_a_heart_displaced_in_every_case_is_found(tmp_path: Path, vector: tuple[int, int, int]) -> None:
    report = checked(tmp_path, moved(HEART, vector), cases=2)
    for case_id in report.cases:
        assert any(f.case_id == case_id and f.organ == "heart" for f in report.findings)


def test_a_heart_displaced_in_some_cases_is_found_in_these_alone(tmp_path: Path) -> None:
    report = checked(tmp_path, moved(HEART, (-48, 0, 0)), cases=7, spoiled=2)
    assert {f.case_id for f in report.findings} == {"Patient_05", "Patient_06"}
    assert {f.organ for f in found(report, "place")} == {"heart"}


def test_labels_on_another_grid_are_refused(tmp_path: Path) -> None:
    folder = write_case(tmp_path, 0)
    labels = nib.load(folder / "GT.nii.gz")
    affine = labels.affine.copy()
    affine[0, 3] += 3.0
    nib.Nifti1Image(np.asarray(labels.dataobj), affine).to_filename(folder / "GT.nii.gz")
    (line,) = check_dataset(read_dataset(tmp_path)).findings
    assert (line.kind, line.severity) == ("other_grid", "error")
    assert "3 mm" in line.found


def test_labels_of_another_shape_are_refused(tmp_path: Path) -> None:
    folder = write_case(tmp_path, 0)
    labels = nib.load(folder / "GT.nii.gz")
    nib.Nifti1Image(np.asarray(labels.dataobj)[..., :-1], labels.affine).to_filename(folder / "GT.nii.gz")
    assert [f.kind for f in check_dataset(read_dataset(tmp_path)).findings] == ["other_grid"]


def test_an_image_in_another_axis_order_than_its_labels_is_fine(tmp_path: Path) -> None:
    folder = write_case(tmp_path, 0)
    image = nib.load(folder / "Patient_00.nii.gz")
    turned = image.as_reoriented(nib.orientations.axcodes2ornt("SPL", ("L", "P", "S")))
    turned.to_filename(folder / "Patient_00.nii.gz")
    assert check_dataset(read_dataset(tmp_path)).findings == ()


def test_ids_that_the_label_set_lacks_are_listed_with_their_voxels(tmp_path: Path) -> None:
    folder = write_case(tmp_path, 0)
    labels = nib.load(folder / "GT.nii.gz")
    voxels = np.asarray(labels.dataobj).copy()
    voxels[:2, 0, 0] = 7
    nib.Nifti1Image(voxels, labels.affine).to_filename(folder / "GT.nii.gz")
    (line,) = found(check_dataset(read_dataset(tmp_path)), "unknown_ids")
    assert "7 (2 voxels)" in line.found


def test_ids_that_training_refuses_are_an_error(tmp_path: Path) -> None:
    write_case(tmp_path, 0)
    dataset = read_dataset(tmp_path)
    more = LabelSet(organs=(*SEGTHOR.organs, Organ(name="liver", id=256)))
    (line,) = found(check_dataset(replace(dataset, label_set=more)), "high_ids")
    assert (line.severity, "256 liver" in line.found) == ("error", True)


def test_labels_that_are_no_whole_numbers_are_an_error(tmp_path: Path) -> None:
    folder = write_case(tmp_path, 0)
    labels = nib.load(folder / "GT.nii.gz")
    nib.Nifti1Image(np.asarray(labels.dataobj) * np.float32(0.5), labels.affine).to_filename(
        folder / "GT.nii.gz"
    )
    (line,) = check_dataset(read_dataset(tmp_path)).findings
    assert line.kind == "label_values"
    assert line.remedy == "write whole label ids, without interpolation"


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda hu: (hu + 1000.0) / 2000.0, "no_body"),
        (lambda hu: hu + 1024, "no_body"),
        (lambda hu: hu * 0 + 40, "no_body"),
        (lambda hu: np.where(np.arange(80) < 2, -1000, hu + 1024), "no_hu"),
    ],
    ids=["normalised", "shifted", "constant", "shifted but padded"],
)
def test_values_that_are_no_hounsfield_units_are_an_error(
    tmp_path: Path, change: Callable[[np.ndarray], np.ndarray], kind: str
) -> None:
    report = checked(tmp_path, lambda hu, labels: (change(hu).astype(np.float32), labels))
    assert kind in {f.kind for f in report.findings if f.severity == "error"}


def test_voxels_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    folder = write_case(tmp_path, 0)
    image = nib.load(folder / "Patient_00.nii.gz")
    voxels = np.asarray(image.dataobj).astype(np.float32)
    voxels[1, 2, 3] = np.nan
    nib.Nifti1Image(voxels, image.affine).to_filename(folder / "Patient_00.nii.gz")
    (line,) = found(check_dataset(read_dataset(tmp_path)), "unreadable_image")
    assert "(z, y, x) = (3, 2, 1)" in line.found
    assert line.remedy.startswith("replace them")
    assert str(tmp_path) not in line.found


def test_a_truncated_file_is_an_error_of_its_case_alone(tmp_path: Path) -> None:
    folder = write_case(tmp_path, 0)
    write_case(tmp_path, 1)
    whole = (folder / "Patient_00.nii.gz").read_bytes()
    (folder / "Patient_00.nii.gz").write_bytes(whole[: len(whole) // 2])
    (line,) = check_dataset(read_dataset(tmp_path)).findings
    assert (line.case_id, line.kind) == ("Patient_00", "unreadable_image")


def test_labels_outside_the_body_are_told_of_and_lost_by_the_crop(tmp_path: Path) -> None:
    def spoil(hu: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        labels[20:30, :3, :3] = HEART
        return hu, labels

    kinds = {f.kind for f in checked(tmp_path, spoil).findings}
    assert {"lost_by_crop", "outside_body", "pieces"} <= kinds


def test_stray_voxels_are_told_of_and_crumbs_at_the_organ_are_not(tmp_path: Path) -> None:
    def stray(hu: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        labels[45, 30, 60] = HEART
        return hu, labels

    assert [f.organ for f in found(checked(tmp_path / "stray", stray), "pieces")] == ["heart"]
    mask = np.zeros((5, 5, 9), np.bool_)
    mask[1:4, 1:4, 1:4] = True
    mask[2, 2, 5] = True
    largest, crumb = pieces_of(mask, (3.0, 1.0, 1.0))
    assert (largest.voxels, crumb.voxels, crumb.apart_mm) == (27, 1, 2.0)


def test_slices_left_out_inside_an_organ_are_counted(tmp_path: Path) -> None:
    def spoil(hu: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        labels[40:43][labels[40:43] == ESOPHAGUS] = 0
        return hu, labels

    (line,) = found(checked(tmp_path, spoil), "gaps")
    assert line.organ == "esophagus"
    assert line.found.startswith("3 slices")


def test_an_organ_on_two_slices_is_told_of(tmp_path: Path) -> None:
    def spoil(hu: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        labels[(labels == TRACHEA) & ~np.isin(np.arange(60), (40, 41))[:, None, None]] = 0
        return hu, labels

    assert [f.organ for f in found(checked(tmp_path, spoil), "few_slices")] == ["trachea"]


def test_one_image_under_two_ids_is_an_error_unless_they_are_of_one_group(tmp_path: Path) -> None:
    write_case(tmp_path, 0)
    write_case(tmp_path, 1, lambda _, labels: (chest(0)[0], labels))
    dataset = read_dataset(tmp_path)
    (line,) = found(check_dataset(dataset), "doubled_image")
    assert (line.case_id, "Patient_00" in line.found) == ("Patient_01", True)
    grouped = tuple(replace(case, group="one") for case in dataset.cases)
    report = check_dataset(replace(dataset, cases=grouped))
    assert [f.severity for f in found(report, "doubled_image_in_group")] == ["warning"]


def test_labels_of_one_case_beside_anothers_image_are_an_error(tmp_path: Path) -> None:
    write_case(tmp_path, 0)
    write_case(tmp_path, 1, lambda hu, _: (hu, chest(0)[1]))
    assert [f.case_id for f in found(check_dataset(read_dataset(tmp_path)), "doubled_labels")] == [
        "Patient_01"
    ]


def test_flipped_labels_are_told_which_way(tmp_path: Path) -> None:
    report = checked(tmp_path, lambda hu, labels: (hu, labels[:, :, ::-1]))
    assert any("left and right" in f.found for f in found(report, "mirrored"))


def test_a_case_that_is_mirrored_as_a_whole_is_told_from_the_others_and_from_anatomy(tmp_path: Path) -> None:
    def mirror(hu: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return hu[:, :, ::-1], labels[:, :, ::-1]

    alone = found(checked(tmp_path / "alone", mirror), "mirrored")
    among = found(checked(tmp_path / "among", mirror, cases=6, spoiled=1), "mirrored")
    assert "most people" in alone[0].found
    assert [(f.case_id, "other cases" in f.found) for f in among] == [("Patient_05", True)]


@pytest.mark.parametrize("pair", [("lung_left", "lung_right"), ("lung_l", "lung_r")])
def test_symmetric_organs_under_each_others_id_are_told_of(tmp_path: Path, pair: tuple[str, str]) -> None:
    organs = (Organ(name=pair[0], id=1), Organ(name=pair[1], id=2))
    label_set = LabelSet(organs=organs, symmetric_pairs=(pair,))
    hu, _ = chest(0)
    right = np.broadcast_to(np.arange(80) < 40, SHAPE)
    lung = (hu < -500) & (hu > -920)
    labels = np.where(lung, np.where(right, 1, 2), 0).astype(np.uint8)
    write_volume(tmp_path / "a.nii.gz", Volume(voxels=hu, geometry=GEOMETRY))
    write_labels(tmp_path / "b.nii.gz", LabelVolume(voxels=labels, geometry=GEOMETRY, label_set=label_set))
    case = Case(
        id="a", image=tmp_path / "a.nii.gz", label=tmp_path / "b.nii.gz", organs=label_set.names, group="a"
    )
    report = check_dataset(Dataset(root=tmp_path, label_set=label_set, cases=(case,)))
    (line,) = found(report, "swapped_pair")
    assert f"to the right of the {pair[1]}" in line.found


def test_an_unusual_volume_is_told_of(tmp_path: Path) -> None:
    def spoil(hu: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        labels[:, :, :40][labels[:, :, :40] == HEART] = 0
        labels[16:][labels[16:] == HEART] = 0
        return hu, labels

    assert [f.organ for f in found(checked(tmp_path, spoil), "volume")] == ["heart"]


def test_another_spacing_than_the_others_is_told_of(tmp_path: Path) -> None:
    for number in range(5):
        write_case(tmp_path, number)
    folder = tmp_path / "Patient_04"
    for path in folder.iterdir():
        image = nib.load(path)
        affine = image.affine @ np.diag([1, 1, 2.5, 1])
        nib.Nifti1Image(np.asarray(image.dataobj), affine).to_filename(path)
    report = check_dataset(read_dataset(tmp_path))
    assert [f.case_id for f in found(report, "spacing")] == ["Patient_04"]
    assert [f.case_id for f in found(report, "field_of_view")] == ["Patient_04"]


def test_a_picture_is_drawn_of_every_case_that_can_be_read(tmp_path: Path) -> None:
    write_case(tmp_path / "set", 0)
    write_case(tmp_path / "set", 1, lambda hu, labels: (hu, labels * 0))
    (tmp_path / "out").mkdir()
    check_dataset(read_dataset(tmp_path / "set"), pictures=tmp_path / "out", workers=2)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["Patient_00.png", "Patient_01.png"]


def test_findings_are_written_and_read_back_with_a_remedy_in_every_line(tmp_path: Path) -> None:
    report = checked(tmp_path / "set", without(AORTA))
    write_findings(tmp_path, report)
    assert read_findings(tmp_path / "findings.json") == report
    lines = (tmp_path / "findings.csv").read_text().splitlines()
    assert len(lines) == 1 + len(report.findings)
    assert all(line.remedy for line in report.findings)


def test_every_kind_says_what_to_do() -> None:
    assert all(severity in {"error", "warning"} and remedy for severity, remedy in KINDS.values())
