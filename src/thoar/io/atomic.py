"""Writing so that a full disk or a kill leaves the old file or the new one, never a part of one."""

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from thoar.core.errors import DISK_FULL, ResourceError

_TAIL = 40
"""So many last characters of a name go into its temporary name: its suffixes, within 255 bytes."""


def atomic_file(
    path: Path, write: Callable[[Path], None], *, verify: Callable[[Path], None] | None = None
) -> None:
    """Write a file under a temporary name, force it to disk, check it, and rename it into place.

    The temporary name lies in the same folder, begins with a dot and ends like ``path``, so that a
    writer or reader that goes by suffixes treats it alike. It is removed on any error; only a kill
    can leave it behind, and then ``path`` itself is as it was before.

    Args:
        path: the file to make or replace.
        write: makes the file under the name it is given.
        verify: reads the file back and raises if it is not what was meant.

    Raises:
        ResourceError: if the disk is full.
    """
    temporary = path.with_name(f".thoar-{secrets.token_hex(8)}-{path.name[-_TAIL:]}")
    try:
        with _naming_full_disk(path):
            write(temporary)
            _sync(temporary)
            if verify is not None:
                verify(temporary)
            temporary.replace(path)
            _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def atomic_bytes(path: Path, content: bytes, *, verify: Callable[[Path], None] | None = None) -> None:
    """Write a file of the given bytes as :func:`atomic_file` does."""

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)

    atomic_file(path, write, verify=verify)


def clear_remains(folder: Path) -> None:
    """Remove what killed writers of files left in a folder that nobody else writes into now."""
    for remains in folder.glob(".thoar-*"):
        remains.unlink()


def replace_folder(target: Path, fill: Callable[[Path], None], *, keep_old_as: Path | None = None) -> None:
    """Make or replace a whole folder: fill a new one, force it to disk, then swap by renames.

    A kill at any instant leaves the old folder or the whole new one, either in place or where
    :func:`recover_folder` finds it. One writer at a time.

    Args:
        target: the folder to make or replace.
        fill: puts the files into the empty folder it is given.
        keep_old_as: a folder beside the target that the old one becomes; it is removed where None.

    Raises:
        ResourceError: if the disk is full.
    """
    recover_folder(target, keep_old_as=keep_old_as)
    new, old = _sibling(target, "new"), _sibling(target, "old")
    try:
        with _naming_full_disk(target):
            new.mkdir(parents=True)
            fill(new)
            _sync_tree(new)
            if target.exists():
                target.rename(old)
            new.rename(target)
            _sync(target.parent)
    finally:
        recover_folder(target, keep_old_as=keep_old_as)


def recover_folder(target: Path, *, keep_old_as: Path | None = None) -> None:
    """Mend what an interrupted :func:`replace_folder` left, and clear its remains away.

    The old folder is renamed only after the new one is whole. So where the target is missing and the
    old one is there, the new one is put in place; a new one beside a target, or without an old one, is
    unfinished and is removed.
    """
    new, old, waste = (_sibling(target, kind) for kind in ("new", "old", "waste"))
    if not target.exists() and old.exists():
        (new if new.exists() else old).rename(target)
    if old.exists():
        _remove(waste)
        if keep_old_as is None:
            old.rename(waste)  # a half-deleted folder must never be taken for the old one
        else:
            if keep_old_as.exists():
                keep_old_as.rename(waste)
            old.rename(keep_old_as)
    for remains in (waste, new):
        _remove(remains)


def _sibling(target: Path, kind: str) -> Path:
    return target.with_name(f".{target.name}.thoar-{kind}")


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _sync_tree(folder: Path) -> None:
    for root, _, files in os.walk(folder):
        for name in files:
            _sync(Path(root, name))
        _sync(Path(root))


def _sync(path: Path) -> None:
    """Force a file's bytes, or a folder's names, to the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows does not open folders
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _naming_full_disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise ResourceError(
            f"{path}: the disk is full ({_free_mib(path.parent)} MiB free); nothing was left behind: "
            "make room, or write elsewhere"
        ) from error


def _free_mib(folder: Path) -> int:
    return shutil.disk_usage(folder if folder.is_dir() else folder.anchor or ".").free >> 20
