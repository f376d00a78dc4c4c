from pathlib import Path

import pytest

from thoar.core.errors import InputError
from thoar.datasets.structure_table import read_structure_table, write_structure_table


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    rows = [("heart", 2), ('Lung, "left"', 7), ("Œsophage", 65535)]
    write_structure_table(tmp_path / "table.csv", rows)
    assert list(read_structure_table(tmp_path / "table.csv").items()) == rows


def test_other_columns_and_their_order_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("\ufeffid,group,structure\n4,x,aorta\n", encoding="utf-8")
    assert read_structure_table(tmp_path / "table.csv") == {"aorta": 4}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "absent"),
        ("structure,id\n", "names no structure"),
        ("name,number\nheart,1\n", "columns structure and id"),
        ("structure,id\nheart,two\n", "columns structure and id"),
        ("structure,id\nheart,70000\n", "70000"),
    ],
)
def test_an_unusable_table_is_named(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "table.csv").write_text(text)
    with pytest.raises(InputError, match=f"table.csv.*{said}"):
        read_structure_table(tmp_path / "table.csv")
