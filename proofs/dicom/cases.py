"""What the catalogues are made of: how to make a series, what must come of it, and whether it does."""

import re
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Num
from proofs.dicom.phantom import AXIAL, Sampling, hounsfield, sampled
from proofs.dicom.written import Files, decimals, save, slice_files
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset

from thoar.core.errors import InputError, ThoarError
from thoar.imaging.body import find_body
from thoar.io.dicom.records import PLAIN, ReadOptions, Series

Make = Callable[[Path], Path]
"""Makes a series below an empty folder and returns what to read."""
Edit = Callable[[Files], object]
Reader = Callable[[Path, ReadOptions], Series]

SMALL: Sampling = sampled(AXIAL, (5.0, 9.1, 8.3)).taking(list(range(4, 17)))
"""Thirteen slices through heart, lungs and air: enough to go wrong."""
FIX = r"export|fetch|leave|remove|take|give|store|convert|install|select|pack|unpack it|crop|--[a-z]"
ANY_FILE = r"slice_\d\d\.dcm"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Refused:
    """A series that must be refused by name.

    Attributes:
        id: its case in the catalogue of faults, with a letter where the case has variants.
        what: for tables.
        make: makes it.
        file: regular expression of the file (or folder) that the message must name.
        finding: of the attribute or value at fault.
        fix: of what to do about it.
        options: what the reader is allowed.
        error: class that must be raised.
        hostile: only a reader in a process of its own is asked.
        by_body: the reader may take it; the search for the body, the next step of ``thoar segment``, refuses.
    """

    id: str
    what: str
    make: Make
    file: str
    finding: str
    fix: str = FIX
    options: ReadOptions = PLAIN
    error: type[ThoarError] | tuple[type[ThoarError], ...] = InputError
    hostile: bool = False
    by_body: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Taken:
    """What a readable series holds: HU and places by formula, in any order of slices.

    Attributes:
        path: what to read.
        sampling: where its voxels lie.
        hu: their values.
        padding: voxels outside the reconstructed field, which need only be no more than air; None for none.
        instances: SOPInstanceUID of every slice; empty where not compared.
    """

    path: Path
    sampling: Sampling
    hu: Num[np.ndarray, "slice row column"]
    padding: Bool[np.ndarray, "slice row column"] | None = None
    instances: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Readable:
    """A series that must be read, HU exact and in its place.

    Attributes:
        id: its case in the catalogue of faults.
        what: for tables.
        make: makes it, and says what it holds.
        options: what the reader is allowed.
        warns: regular expression that some warning must match; empty where none is due.
        tolerance_hu: how far HU may be off; above 0 only where the slope is a fraction.
    """

    id: str
    what: str
    make: Callable[[Path], Taken]
    options: ReadOptions = PLAIN
    warns: str = ""
    tolerance_hu: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one case.

    Attributes:
        id: the case.
        what: likewise.
        fault: why it failed; empty where it passed.
        silent: something came out, without an error, that is wrong.
        message: the reader's own words.
        seconds: how long it took.
    """

    id: str
    what: str
    fault: str = ""
    silent: bool = False
    message: str = ""
    seconds: float = 0.0


def series(
    edit: Edit | None = None, *, sampling: Sampling = SMALL, after: Callable[[Path], object] | None = None
) -> Make:
    """Return a maker of a folder of slices, whose data sets are edited and whose files are spoilt."""

    def make(folder: Path) -> Path:
        files = slice_files(sampling, hounsfield(sampling.points_xyz_mm))
        if edit is not None:
            edited(files, edit)
        path = save(files, folder / "series")
        path.mkdir(exist_ok=True)
        if after is not None:
            after(path)
        return path

    return make


def edited(files: Files, edit: Edit) -> None:
    """Change data sets, to values that the standard forbids too."""
    with disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        edit(files)


def changed(on: Iterable[int] | None = None, **values: object) -> Edit:
    """Return an edit that sets attributes of some slices, of all by default; None deletes one."""
    chosen = None if on is None else set(on)

    def edit(files: Files) -> None:
        for k, ds in enumerate(files.values()):
            if chosen is None or k in chosen:
                _set(ds, values)

    return edit


def without(*indices: int) -> Edit:
    """Return an edit that leaves slices out."""
    return lambda files: [files.pop(f"slice_{k:02d}.dcm") for k in indices]


def at(sampling: Sampling, shifts_xyz_mm: Num[np.ndarray, "slice 3"]) -> Sampling:
    """Return the slices moved, each by its own shift; the phantom is scanned there."""
    return Sampling(
        origins_xyz_mm=sampling.origins_xyz_mm + shifts_xyz_mm,
        along_row_xyz=sampling.along_row_xyz,
        along_column_xyz=sampling.along_column_xyz,
        spacing_yx_mm=sampling.spacing_yx_mm,
        shape_yx=sampling.shape_yx,
    )


def deeper(depths_mm: Iterable[float]) -> Sampling:
    """Return ``SMALL`` with slices at these depths instead, along their normal from the first one."""
    depths = np.array(list(depths_mm))
    first = SMALL.taking([0] * len(depths))
    return at(first, depths[:, None] * SMALL.normal_xyz)


def _set(ds: Dataset, values: dict[str, object]) -> None:
    for keyword, value in values.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, decimals(value) if isinstance(value, np.ndarray) else value)


def refusal(case: Refused, folder: Path, reader: Reader) -> Outcome:
    """Make a series that must be refused, and say whether it is, by name."""
    path = case.make(folder)
    begin = time.monotonic()
    try:
        found = reader(path, case.options)
        if case.by_body and found.volume is not None:
            find_body(found.volume, clip_hu=(-1000.0, 1000.0))
    except ThoarError as error:
        fault, message, silent = _unsaid(case, error), str(error), False
    except Exception as error:  # noqa: BLE001 (any untyped error is a finding)
        fault, message, silent = f"untyped {type(error).__name__}", str(error), False
    else:
        fault, message, silent = "was read", "", True
    message = message.replace(str(folder), "")
    return Outcome(
        id=case.id,
        what=case.what,
        fault=fault,
        silent=silent,
        message=message,
        seconds=time.monotonic() - begin,
    )


def _unsaid(case: Refused, error: ThoarError) -> str:
    """Return what a refusal does not say; empty where it says all."""
    if not isinstance(error, case.error):
        return f"is a {type(error).__name__}"
    parts = {"file": case.file, "finding": case.finding, "fix": case.fix}
    unsaid = [name for name, pattern in parts.items() if not re.search(pattern, str(error), re.DOTALL)]
    return f"does not say the {', '.join(unsaid)}" if unsaid else ""
