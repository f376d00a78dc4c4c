import re
from pathlib import Path

import pytest

from thoar.core.errors import UsageError
from thoar.datasets.target import check_target

OURS = re.compile(r"case_[0-9]")


def test_a_new_or_empty_folder_will_do(tmp_path: Path) -> None:
    check_target(tmp_path, OURS, overwrite=False)
    check_target(tmp_path / "new", OURS, overwrite=False)


def test_what_is_ours_is_replaced_only_when_asked(tmp_path: Path) -> None:
    (tmp_path / "case_1").mkdir()
    with pytest.raises(UsageError, match="--overwrite"):
        check_target(tmp_path, OURS, overwrite=False)
    check_target(tmp_path, OURS, overwrite=True)


@pytest.mark.parametrize("name", ["thesis.txt", "case_10", "my_case_1"])
def test_what_is_not_ours_is_never_replaced(tmp_path: Path, name: str) -> None:
    for present in ("case_1", name):
        (tmp_path / present).mkdir()
    with pytest.raises(UsageError, match=name):
        check_target(tmp_path, OURS, overwrite=True)


def test_a_file_is_no_folder_to_make(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "new"):
        with pytest.raises(UsageError, match="file: is a file"):
            check_target(out, OURS, overwrite=True)
