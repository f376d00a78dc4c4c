import errno
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from thoar.core.errors import ResourceError
from thoar.io.atomic import atomic_file, recover_folder, replace_folder


class Killed(BaseException):
    """Stands for the process dying: nothing after it runs."""


def fill_new(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "a").write_text("new")
    (folder / "sub" / "b").write_text("new")


def contents(folder: Path) -> list[str]:
    return [p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()]


def test_file_is_written_and_nothing_else_is_left(tmp_path: Path) -> None:
    atomic_file(tmp_path / "a.nii.gz", lambda path: path.write_text(path.name) and None)
    assert [p.name for p in tmp_path.iterdir()] == ["a.nii.gz"]
    written_as = (tmp_path / "a.nii.gz").read_text()
    assert written_as.startswith(".thoar-")
    assert written_as.endswith("-a.nii.gz")


def test_longest_names_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("ü" * 124 + ".nii.gz")
    atomic_file(path, lambda temporary: temporary.write_text("x") and None)
    assert path.read_text() == "x"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_half_way_keeps_the_old_file(number: int, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")

    def write(temporary: Path) -> None:
        temporary.write_text("ne")
        raise OSError(number, "full")

    with pytest.raises(ResourceError, match=r"a: the disk is full \(\d+ MiB free\)"):
        atomic_file(path, write)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert path.read_text() == "old"


def test_other_errors_pass_and_keep_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(FileNotFoundError):
        atomic_file(path, lambda temporary: (temporary / "x").write_text("") and None)
    assert contents(tmp_path) == ["old"]


def test_file_that_fails_its_check_never_gets_its_name(tmp_path: Path) -> None:
    def verify(temporary: Path) -> None:
        assert temporary.read_text() == "new"
        raise ResourceError("differs")

    with pytest.raises(ResourceError, match=r"differs"):
        atomic_file(tmp_path / "a", lambda path: path.write_text("new") and None, verify=verify)
    assert not list(tmp_path.iterdir())


def test_real_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(mount)], check=False, capture_output=True
    )
    if made.returncode:
        pytest.skip("needs the right to mount a small tmpfs")
    try:
        atomic_file(mount / "a", lambda path: path.write_text("old") and None)
        with pytest.raises(ResourceError, match=r"the disk is full"):
            atomic_file(mount / "a", lambda path: path.write_bytes(bytes(1 << 20)) and None)
        assert contents(mount) == ["old"]
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_folder_is_made_and_replaced(tmp_path: Path) -> None:
    target = tmp_path / "run"
    replace_folder(target, lambda folder: (folder / "gone").write_text("old") and None)
    replace_folder(target, fill_new)
    assert contents(target) == ["new", "new"]
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_folder_that_cannot_be_filled_keeps_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "run"
    replace_folder(target, lambda folder: (folder / "a").write_text("old") and None)

    def fill(folder: Path) -> None:
        (folder / "a").write_text("new")
        raise OSError(errno.ENOSPC, "full")

    with pytest.raises(ResourceError, match=r"run: the disk is full"):
        replace_folder(target, fill)
    assert contents(tmp_path) == ["old"]


def killing_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Make the n-th change of the file system kill the process; return what restores it."""
    done = 0

    def wrapped(call: Callable[..., object]) -> Callable[..., object]:
        def change(*args: object, **kwargs: object) -> object:
            nonlocal done
            done += 1
            if done >= step:
                raise Killed
            return call(*args, **kwargs)

        return change

    for owner, name in ((Path, "rename"), (Path, "mkdir"), (Path, "write_text"), (shutil, "rmtree")):
        monkeypatch.setattr(owner, name, wrapped(getattr(owner, name)))
    return monkeypatch.undo


@pytest.mark.parametrize("existed", [True, False])
def test_kill_at_every_step_of_a_swap_leaves_old_or_new_whole(
    existed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = []
    for step in range(1, 30):
        target = tmp_path / str(step) / "run"
        target.parent.mkdir()
        if existed:
            replace_folder(target, lambda folder: (folder / "x").write_text("old") and None)
        restore = killing_at(step, monkeypatch)
        try:
            replace_folder(target, fill_new)
            finished = True
        except Killed:
            finished = False
        restore()
        recover_folder(target)
        outcomes.append(contents(target) if target.exists() else [])
        assert [p for p in target.parent.iterdir() if p != target] == []
        if finished:
            break
    else:
        pytest.fail("the swap never finished")
    before = ["old"] if existed else []
    turn = outcomes.index(["new", "new"])
    assert outcomes == [before] * turn + [["new", "new"]] * (len(outcomes) - turn)
    assert turn >= 4


def test_half_deleted_old_folder_is_never_brought_back(tmp_path: Path) -> None:
    target = tmp_path / "run"
    (tmp_path / ".run.thoar-waste").mkdir()
    recover_folder(target)
    assert not list(tmp_path.iterdir())
