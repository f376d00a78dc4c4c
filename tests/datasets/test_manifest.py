from pathlib import Path

import pytest

from thoar.core.errors import InputError, LabelError
from thoar.core.labels import SEGTHOR, LabelSet, Organ
from thoar.datasets.manifest import MANIFEST, Case, Dataset, is_dataset, labelled, read_dataset, write_dataset


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"never opened")
    return path


def manifest(folder: Path, text: str) -> Path:
    touch(folder / "a" / "a.nii.gz")
    touch(folder / "a" / "GT.nii.gz")
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    return folder


def case(folder: Path, name: str, **changes: object) -> Case:
    known = {"id": name, "image": folder / f"{name}.nii.gz", "label": None, "organs": (), "group": name}
    return Case(**(known | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("level", ["", "train"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_segthor_layout_is_read_with_and_without_its_train_level(
    tmp_path: Path, level: str, suffix: str
) -> None:
    for name in ("Patient_02", "Patient_01"):
        touch(tmp_path / level / name / f"{name}{suffix}")
        touch(tmp_path / level / name / f"GT{suffix}")
    found = read_dataset(tmp_path)
    assert [c.id for c in found.cases] == ["Patient_01", "Patient_02"]
    assert found.cases[0].image == tmp_path / level / "Patient_01" / f"Patient_01{suffix}"
    assert found.cases[0].label == tmp_path / level / "Patient_01" / f"GT{suffix}"
    assert found.cases[0].organs == ("esophagus", "heart", "trachea", "aorta")
    assert found.label_set == SEGTHOR


def test_segthor_cases_without_ground_truth_have_no_label_and_no_organs(tmp_path: Path) -> None:
    touch(tmp_path / "Patient_41" / "Patient_41.nii.gz")
    (only,) = read_dataset(tmp_path).cases
    assert (only.label, only.organs) == (None, ())


def test_other_and_hidden_folders_are_no_cases(tmp_path: Path) -> None:
    touch(tmp_path / "Patient_01" / "Patient_01.nii.gz")
    touch(tmp_path / "notes" / "read.me")
    touch(tmp_path / ".cache" / ".cache.nii.gz")
    assert [c.id for c in read_dataset(tmp_path).cases] == ["Patient_01"]


def test_a_folder_whose_image_is_called_otherwise_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("Patient_01/Patient_01", "Patient_02/ct", "test/Patient_41"):
        touch(tmp_path / f"{name}.nii.gz")
    assert [c.id for c in read_dataset(tmp_path).cases] == ["Patient_01"]
    assert caplog.messages == ["Patient_02 is left out: there is no Patient_02.nii.gz in it"]


def test_training_takes_the_cases_that_have_a_label(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a/a", "a/GT", "b/b"):
        touch(tmp_path / f"{name}.nii.gz")
    assert [c.id for c in labelled(read_dataset(tmp_path)).cases] == ["a"]
    assert caplog.messages == ["1 cases without a label map are left out"]
    (tmp_path / "a" / "GT.nii.gz").unlink()
    with pytest.raises(InputError, match="no case has a label map"):
        labelled(read_dataset(tmp_path))


def test_ground_truth_without_its_image_is_refused_by_name(tmp_path: Path) -> None:
    touch(tmp_path / "Patient_01" / "GT.nii.gz")
    with pytest.raises(InputError, match=r"Patient_01: has GT\.nii\.gz but no Patient_01\.nii\.gz"):
        read_dataset(tmp_path)


def test_an_image_present_both_packed_and_unpacked_is_refused(tmp_path: Path) -> None:
    touch(tmp_path / "p" / "p.nii")
    touch(tmp_path / "p" / "p.nii.gz")
    with pytest.raises(InputError, match="keep one"):
        read_dataset(tmp_path)


@pytest.mark.parametrize("make", [True, False])
def test_a_folder_that_is_no_data_set_is_refused_with_both_remedies(tmp_path: Path, make: bool) -> None:
    folder = tmp_path / "scans"
    if make:
        touch(folder / "a.nii.gz")
    assert not is_dataset(folder)
    with pytest.raises(InputError, match=r"dataset\.toml.*Patient_01/Patient_01\.nii\.gz"):
        read_dataset(folder)


def test_what_is_written_is_read_back_equal(tmp_path: Path) -> None:
    label_set = LabelSet(
        organs=(Organ(name="lung_left", id=7), Organ(name="lung_right", id=300)),
        symmetric_pairs=(("lung_left", "lung_right"),),
    )
    written = Dataset(
        root=tmp_path,
        label_set=label_set,
        cases=(
            Case(
                id="Ünï 1",
                image=touch(tmp_path / "x" / "Ünï 1.nrrd"),
                label=touch(tmp_path / "y" / "l.nrrd"),
                organs=("lung_left", "lung_right"),
                group="patient 9",
                absent=("lung_left",),
            ),
            case(tmp_path, "b", image=touch(tmp_path / "b.mha")),
        ),
    )
    write_dataset(tmp_path, written)
    assert is_dataset(tmp_path)
    assert read_dataset(tmp_path) == written
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.mha", MANIFEST, "x", "y"]


def test_organs_group_and_label_set_have_defaults(tmp_path: Path) -> None:
    text = '[[cases]]\nid = "a"\nimage = "a/a.nii.gz"\nlabel = "a/GT.nii.gz"\n'
    found = read_dataset(manifest(tmp_path, text))
    assert found.label_set == SEGTHOR
    assert found.cases[0].organs == SEGTHOR.names
    assert found.cases[0].group == "a"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cases = []", "without cases"),
        ("", "cases"),
        ("cases = [", "is no TOML file"),
        ('[[cases]]\nid = "a"\nimage = "a/a.nii.gz"\nlable = "x"', r"lable.*\$\.cases\[0\]|cases.*lable"),
        ('[[cases]]\nid = "a"', "image"),
        ('[[cases]]\nid = "a"\nimage = "a/gone.nii.gz"', r"gone\.nii\.gz: the image of case 'a'.*absent"),
        ('[[cases]]\nid = "a"\nimage = "a/a.nii.gz"\nlabel = "g.nii"', r"g\.nii: the label of case 'a'"),
        ('[[cases]]\nid = "a"\nimage = "a/a.nii.gz"\norgans = ["heart"]', "no label"),
        (
            '[[cases]]\nid = "a"\nimage = "a/a.nii.gz"\norgans = []\nabsent = ["aorta"]',
            "aorta is said to be absent but not to be labelled",
        ),
        ('[[cases]]\nid = ".."\nimage = "a/a.nii.gz"', "cannot be a case's id"),
        ('[[cases]]\nid = "x/y"\nimage = "a/a.nii.gz"', "cannot be a case's id"),
        (f'[[cases]]\nid = "{"x" * 300}"\nimage = "a/a.nii.gz"', "cannot be a case's id"),
    ],
)
def test_a_faulty_manifest_is_refused_by_name(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        read_dataset(manifest(tmp_path, text))
    if not any(words in says for words in ("case's id", "no label", "absent but")):
        assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    "escape",
    ["../a.nii.gz", "a/../../b", "/etc/hostname", "C:/x.nii", "\\\\\\\\host\\\\x", "a\\\\..\\\\b", ""],
)
def test_a_path_out_of_the_folder_is_refused(tmp_path: Path, escape: str) -> None:
    with pytest.raises(InputError, match="below the data set's own folder"):
        read_dataset(manifest(tmp_path, f'[[cases]]\nid = "a"\nimage = "{escape}"'))


def test_an_organ_that_the_label_set_lacks_is_refused_with_its_case(tmp_path: Path) -> None:
    text = '[[cases]]\nid = "a"\nimage = "a/a.nii.gz"\nlabel = "a/GT.nii.gz"\norgans = ["liver"]'
    with pytest.raises(LabelError, match="case a: no organ is called 'liver'"):
        read_dataset(manifest(tmp_path, text))


def test_a_label_set_that_contradicts_itself_is_refused_with_the_file(tmp_path: Path) -> None:
    organ = '[[label_set.organs]]\nname = "heart"\nid = 2\n'
    text = organ * 2 + '[[cases]]\nid = "a"\nimage = "a/a.nii.gz"'
    with pytest.raises(LabelError, match=r"dataset\.toml: names and ids"):
        read_dataset(manifest(tmp_path, text))


@pytest.mark.parametrize("other", ["case", "CASE", "Case"])
def test_ids_that_differ_only_in_case_are_refused(tmp_path: Path, other: str) -> None:
    with pytest.raises(InputError, match=f"'case' and '{other}'"):
        Dataset(root=tmp_path, label_set=SEGTHOR, cases=(case(tmp_path, "case"), case(tmp_path, other)))


def test_ids_that_differ_only_in_how_an_umlaut_is_composed_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one name"):
        Dataset(root=tmp_path, label_set=SEGTHOR, cases=(case(tmp_path, "\u00fc"), case(tmp_path, "u\u0308")))


def test_a_file_outside_the_folder_is_not_written_into_a_manifest(tmp_path: Path) -> None:
    inside = tmp_path / "set"
    inside.mkdir()
    stranger = Dataset(root=inside, label_set=SEGTHOR, cases=(case(tmp_path, "a"),))
    with pytest.raises(InputError, match="lies outside"):
        write_dataset(inside, stranger)
    assert list(inside.iterdir()) == []
