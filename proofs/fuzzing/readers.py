"""What thoar makes of a spoilt file, in one line: refused how, or read as what."""

import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fuzzing.seeds import CANARY, FILE, RTSTRUCT, SEG, SERIES, Seed

from thoar.core.errors import ThoarError
from thoar.core.slices import POSITION_TOLERANCE_MM, SlicePlanes
from thoar.io.dicom.parse import slices_of
from thoar.io.dicom.pixels import hu_of
from thoar.io.dicom.records import Series
from thoar.io.dicom.series import read_series
from thoar.io.structures.rasterise import rtstruct_masks
from thoar.io.structures.rtstruct_reader import read_rtstruct
from thoar.io.structures.seg_reader import read_segmentation, segment_masks

SAME, OWN_PIXELS, NEAR = "as before", "its own pixels differ", "place within tolerance"
MOVED, OTHERS, SHORT = "GEOMETRY CHANGED", "PIXELS OF OTHER SLICES CHANGED", "SLICE LEFT OUT IN SILENCE"
ALONE, SHORT_SAID = "one file alone: geometry differs", "slice left out, with a warning"
NAMELESS, UNTYPED, IDENTITY = "NAMES NO FILE", "UNTYPED", "QUOTES IDENTITY"
HANG, CRASH, MEMORY = "HANG", "CRASH", "MEMORY"
DEFECTS = (MOVED, OTHERS, SHORT, NAMELESS, UNTYPED, IDENTITY, HANG, CRASH, MEMORY)
"""How the outcomes begin that must not be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one file.

    Attributes:
        kind: a short name to count by.
        detail: what to look at: the message, or the innermost line of an untyped exception.
    """

    kind: str
    detail: str = ""


def is_defect(found: Outcome) -> bool:
    """Say whether an outcome must not be."""
    return found.kind.startswith(DEFECTS)


class _Said(logging.Handler):
    """Keeps what the readers say, and apart from it what they warn of."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.all: list[str] = []
        self.warnings: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one message."""
        self.all.append(record.getMessage())
        if record.levelno >= logging.WARNING:
            self.warnings.append(record.getMessage())


@contextmanager
def _listening() -> Iterator[_Said]:
    said, log = _Said(), logging.getLogger("thoar")
    level = log.level
    log.addHandler(said)
    log.setLevel(logging.INFO)
    try:
        yield said
    finally:
        log.removeHandler(said)
        log.setLevel(level)


def truth_of(seed: Seed, folder: Path) -> Series | None:
    """Read a sound seed's series; None where it has none."""
    if seed.kind == FILE:
        return None
    return read_series(folder / "series" if seed.kind in {RTSTRUCT, SEG} else folder)


def outcome(seed: Seed, path: Path, *, truth: Series | None) -> Outcome:
    """Have the readers of its kind read a spoilt file, and judge what comes of it."""
    with _listening() as said:
        try:
            found = _JUDGES[seed.kind](path, truth, said)
        except ThoarError as error:
            found = _refused(error, path)
        except Exception as error:  # noqa: BLE001 (what the fuzzer is there to find)
            found = Outcome(kind=f"{UNTYPED} {type(error).__name__}", detail=_innermost(error))
    if any(CANARY in text for text in said.all):
        return Outcome(kind=f"{IDENTITY} in the log", detail="; ".join(said.all))
    return found


def _refused(error: ThoarError, path: Path) -> Outcome:
    if CANARY in str(error):
        return Outcome(kind=f"{IDENTITY} in {type(error).__name__}", detail=str(error))
    if path.name not in str(error) and str(path.parent) not in str(error):
        return Outcome(kind=f"{NAMELESS}: {type(error).__name__}", detail=str(error))
    return Outcome(kind=f"refused: {type(error).__name__}", detail=str(error))


def _innermost(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = next((f for f in reversed(frames) if "/thoar/" in f.filename), frames[-1])
    return f"{Path(ours.filename).name}:{ours.lineno} {ours.name}: {error}"[:300]


def _series(path: Path, truth: Series | None, said: _Said) -> Outcome:
    if truth is None:
        raise TypeError("a series needs its truth")
    alone = len(list(path.parent.iterdir())) == 1
    series = read_series(path.parent)
    whole, planes = truth.stack, series.stack.planes
    if len(planes) < len(whole.planes):
        return _shortened(series, truth, path.name, said=said)
    off_mm = _off_mm(planes, whole.planes)
    if off_mm > _unnoticed_mm(len(planes)):
        return Outcome(kind=ALONE if alone else MOVED, detail=f"by {off_mm:.3f} mm")
    other = [k for k, ref in enumerate(truth.references) if alone or ref.file != path.name]
    before, now = whole.voxels, series.stack.voxels
    if not alone and not np.array_equal(before[other], now[other]):
        return Outcome(kind=OTHERS)
    if not np.array_equal(before, now):
        return Outcome(kind=OWN_PIXELS)
    return Outcome(kind=SAME if off_mm < 1e-6 else NEAR)  # noqa: PLR2004 (the same number written otherwise)


def _shortened(series: Series, truth: Series, name: str, *, said: _Said) -> Outcome:
    """Judge a series that lost slices: the spoilt one alone may go, and not without a word."""
    kept = [k for k, ref in enumerate(truth.references) if ref.file != name]
    if len(series.references) != len(kept):
        return Outcome(kind=OTHERS, detail=f"{len(series.references)} slices are left")
    planes = truth.stack.planes
    if not np.allclose(planes.origins_xyz_mm[kept], series.stack.planes.origins_xyz_mm, rtol=0, atol=1e-6):
        return Outcome(kind=MOVED)
    return Outcome(kind=SHORT_SAID if said.warnings else SHORT, detail="; ".join(said.all))


def _unnoticed_mm(slices: int) -> float:
    """Return how far one slice's stated place may be moved within the tolerance of a regular grid.

    The first or last slice takes the grid along, and then the slice next to it is off, by a little less.
    """
    return POSITION_TOLERANCE_MM * (slices - 1) / (slices - 2)


def _off_mm(one: SlicePlanes, other: SlicePlanes) -> float:
    """Return how far the slices' corners lie apart; infinite where the slices differ in number or size."""
    if len(one) != len(other) or one.shape_yx != other.shape_yx:
        return float("inf")
    corners = np.array([[0.0, 0.0], [one.shape_yx[0], 0.0], [0.0, one.shape_yx[1]]])
    off = [one.position_xyz_mm(k, corners) - other.position_xyz_mm(k, corners) for k in range(len(one))]
    return float(np.linalg.norm(np.stack(off), axis=-1).max())


def _file(path: Path, _truth: Series | None, _said: _Said) -> Outcome:
    for item in slices_of(path):
        hu_of(item)
    return Outcome(kind="read")


def _rtstruct(path: Path, truth: Series | None, _said: _Said) -> Outcome:
    masks = rtstruct_masks(read_rtstruct(path), truth)
    return Outcome(kind="read, faults said" if any(mask.faults for mask in masks) else "read")


def _seg(path: Path, truth: Series | None, _said: _Said) -> Outcome:
    segmentation = read_segmentation(path)
    masks = (*segment_masks(segmentation, None), *segment_masks(segmentation, truth))
    return Outcome(kind="read, faults said" if any(mask.faults for mask in masks) else "read")


_JUDGES: dict[str, Callable[[Path, Series | None, _Said], Outcome]] = {
    SERIES: _series,
    FILE: _file,
    RTSTRUCT: _rtstruct,
    SEG: _seg,
}
