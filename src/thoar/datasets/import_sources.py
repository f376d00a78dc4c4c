"""Files of a folder that is imported, read under names that tell nobody's, and what readers say of them."""

import logging
import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from thoar.core.errors import InputError
from thoar.datasets.dicom_inventory import Inventory, ScanFiles, StructureFile, alias_name, alias_of, code_of
from thoar.datasets.scans import Scan, read_scan
from thoar.datasets.structure_names import Names
from thoar.io.dicom.records import ReadOptions

_UID = re.compile(r"\b[0-2](?:\.\d+){4,}\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where cases come from, and how they are read.

    Attributes:
        inventory: of the folder.
        stage: a folder of ours, where files stand under other names while they are read.
        names: what names of structures mean.
        options: of the readers.
    """

    inventory: Inventory
    stage: Path
    names: Names
    options: ReadOptions

    def told(self, text: str) -> str:
        """Return a message without our own folders, and with codes for UIDs."""
        stage, slash = re.escape(str(self.stage)), re.escape(os.sep)
        text = re.sub(rf"{stage}{slash}(?:scan_\w+{slash})?(?=file_)", "", text)
        text = re.sub(rf"{stage}{slash}scan_\w+", "the series", text)
        return _UID.sub(lambda uid: f"UID {code_of(uid[0])}", text)


def series_of(found: StructureFile, source: Source) -> ScanFiles:
    """Return the series that a structure file was drawn on: the one it names, else the one in its frame.

    Raises:
        InputError: if none of the folder's fits, or several do.
    """
    scans = [s for s in source.inventory.scans if s.modality == "CT" or source.options.any_modality]
    named = [s for s in scans if s.uid in found.series_uids]
    fitting = named or [s for s in scans if s.frame_uid and s.frame_uid in found.frame_uids]
    if len(fitting) == 1:
        return fitting[0]
    what = "none is" if not fitting else f"{len(fitting)} are"
    raise InputError(
        f"{alias_name(found.number)}: of the folder's {len(scans)} CT series {what} named by it (by its "
        "SeriesInstanceUID, else its FrameOfReferenceUID); put the one it was drawn on, and no other of that "
        "frame, into the folder"
    )


@contextmanager
def staged(number: int, source: Source) -> Iterator[Path]:
    """Give a file of the folder the name that messages know it by."""
    with alias_of(source.inventory.paths[number], source.stage / alias_name(number)) as alias:
        yield alias


def read_staged(files: ScanFiles, source: Source) -> Scan:
    """Read one series, its files under names that tell nobody's, apart from all others.

    Raises:
        InputError: or one of its kinds, as ``read_scan`` does; or where a DICOM file beside the series' own
            cannot be read, and may have been one of its slices.
    """
    _refuse_bad_neighbours(files, source.inventory)
    with TemporaryDirectory(dir=source.stage, prefix="scan_") as folder:
        for number in files.numbers:
            _link(source.inventory.paths[number].resolve(), Path(folder, alias_name(number)))
        return read_scan(Path(folder), source.options)


def _refuse_bad_neighbours(files: ScanFiles, inventory: Inventory) -> None:
    folders = {inventory.paths[number].parent for number in files.numbers}
    bad = [number for number in inventory.unreadable if inventory.paths[number].parent in folders]
    if bad:
        raise InputError(
            f"{alias_name(bad[0])}: lies beside files of the series and cannot be read; it may be one of its "
            "slices: fetch it again, or take it out of the folder"
        )


def _link(path: Path, alias: Path) -> None:
    """Give a file a second name, or a copy one: readers follow no symbolic link out of a folder."""
    try:
        os.link(path, alias)
    except OSError:
        shutil.copyfile(path, alias)


@contextmanager
def warnings_heard() -> Iterator[list[str]]:
    """Collect the warnings that thoar logs in this thread."""
    ear, ours = _Ear(logging.WARNING), logging.getLogger("thoar")
    ours.addHandler(ear)
    try:
        yield ear.lines
    finally:
        ours.removeHandler(ear)


class _Ear(logging.Handler):
    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.lines: list[str] = []
        self.thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        if threading.get_ident() == self.thread:
            self.lines.append(record.getMessage())
