from collections.abc import Callable
from pathlib import Path

import pytest

from thoar.core.errors import InputError
from thoar.datasets.layouts import table
from thoar.datasets.layouts.take_over import take_over
from thoar.datasets.manifest import read_dataset

PutScan = Callable[..., Path]


@pytest.fixture
def files(tmp_path: Path, put_scan: PutScan, put_label: PutScan) -> Path:
    put_scan(tmp_path / "scans" / "one.nrrd")
    put_scan(tmp_path / "elsewhere" / "two.nii.gz")
    put_label(tmp_path / "labels" / "one.nii.gz", {2: 3, 4: 1})
    return tmp_path


@pytest.mark.parametrize("between", [",", ";", "\t"])
def test_a_csv_names_files_anywhere_and_what_is_labelled(files: Path, between: str) -> None:
    lines = [
        ["\ufeffID", "Image", "Label", "organs", "absent", "group", "source"],
        ["a", "scans/one.nrrd", "labels/one.nii.gz", "heart|trachea", "trachea", "p 1", "our clinic"],
        ["b", str(files / "elsewhere" / "two.nii.gz"), "", "", "", "", ""],
    ]
    path = files / "table.csv"
    path.write_text("\n".join(between.join(line) for line in lines), encoding="utf-8")
    take_over(table.find(path), files / "out")
    one, two = read_dataset(files / "out").cases
    assert (one.organs, one.absent, one.group, one.source) == (
        ("heart", "trachea"),
        ("trachea",),
        "p 1",
        "our clinic",
    )
    assert one.image.name == "a.nrrd"
    assert (two.id, two.label, two.group) == ("b", None, "b")


def test_a_toml_table_may_bring_its_own_label_set(files: Path) -> None:
    path = files / "table.toml"
    path.write_text(
        '[[label_set.organs]]\nname = "liver"\nid = 4\n[[label_set.organs]]\nname = "heart"\nid = 2\n'
        '[[cases]]\nid = "a"\nimage = "scans/one.nrrd"\nlabel = "labels/one.nii.gz"\n'
    )
    take_over(table.find(path), files / "out")
    dataset = read_dataset(files / "out")
    assert [(o.name, o.id) for o in dataset.label_set.organs] == [("liver", 4), ("heart", 2)]
    assert dataset.cases[0].organs == ("liver", "heart")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("id,image,lable\na,b,c\n", "its columns are id, image, lable"),
        ("id\na\n", "it needs id and image"),
        ("id,image,label,label\na,b,c,\n", "it needs id and image once each"),
        ("", "its columns are none"),
        ("id,image\na,b,heart,aorta\n", "several organs of a case go with"),
        ("id,image\na,\n", "line 2 lacks its id or its image"),
        ("id,image\n", "without cases"),
        ("id,image\n../a,x.nii.gz\n", "cannot be a case's id"),
        ("id,image\na,x.nii.gz\nA,y.nii.gz\n", "two cases are called"),
    ],
)
def test_a_faulty_table_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=says):
        table.find(tmp_path / "t.csv")


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        table.find(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00id")
    with pytest.raises(InputError, match="no CSV file"):
        table.find(tmp_path / "t.csv")
    (tmp_path / "t.toml").write_text("[[cases]]\nid = 3")
    with pytest.raises(InputError, match=r"t\.toml"):
        table.find(tmp_path / "t.toml")
