"""How a series that must be read is made and compared: HU voxel by voxel, places slice by slice."""

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Num
from proofs.dicom.cases import SMALL, Edit, Outcome, Readable, Reader, Taken, edited
from proofs.dicom.phantom import Sampling, hounsfield
from proofs.dicom.written import save, slice_files

from thoar.core.errors import ThoarError
from thoar.io.dicom.records import Series

FARTHEST_MM = 0.1
AIR_HU = -900
"""Padding may keep its value or be clipped to air; it may not become tissue."""

Hu = Num[np.ndarray, "slice row column"]


def holding(
    edit: Edit | None = None,
    *,
    sampling: Sampling = SMALL,
    expected: Callable[[Hu], Hu] | None = None,
    after: Callable[[Path], Path | None] | None = None,
    kept: list[int] | None = None,
    padding: Callable[[Hu], Bool[np.ndarray, "slice row column"]] | None = None,
    named: bool = True,
) -> Callable[[Path], Taken]:
    """Return a maker of a folder of slices that can be read.

    Args:
        edit: of the data sets.
        sampling: where the slices lie.
        expected: the HU that must be found, of those that the phantom has; the same by default.
        after: done to the folder; may return something else to read.
        kept: the slices that must be found; all by default.
        padding: which of the expected voxels are padding.
        named: every slice must be referenced by its own SOPInstanceUID.
    """

    def make(folder: Path) -> Taken:
        hu = hounsfield(sampling.points_xyz_mm)
        files = slice_files(sampling, hu)
        instances = [str(ds.SOPInstanceUID) for ds in files.values()]
        if edit is not None:
            edited(files, edit)
        path = save(files, folder / "series")
        moved = None if after is None else after(path)
        chosen = list(range(len(hu))) if kept is None else kept
        found = hu if expected is None else expected(hu)
        return Taken(
            path=moved or path,
            sampling=sampling.taking(chosen),
            hu=found[chosen],
            padding=None if padding is None else padding(found)[chosen],
            instances=tuple(instances[k] for k in chosen if named),
        )

    return make


def reading(case: Readable, folder: Path, reader: Reader) -> Outcome:
    """Make a series that must be read, and say whether HU, places and references are those of the formula."""
    taken = case.make(folder)
    begin, fault, silent, message = time.monotonic(), "", False, ""
    with _warnings_of_thoar() as said:
        try:
            found = reader(taken.path, case.options)
        except ThoarError as error:
            fault, message = f"refused ({type(error).__name__})", str(error)
        except Exception as error:  # noqa: BLE001 (any untyped error is a finding)
            fault, message = f"untyped {type(error).__name__}", str(error)
        else:
            fault = difference(found, taken, tolerance_hu=case.tolerance_hu)
            silent = bool(fault)
    if not fault and case.warns and not re.search(case.warns, "\n".join(said), re.DOTALL):
        fault, message = "no warning", "; ".join(said)
    message = message.replace(str(folder), "")
    seconds = time.monotonic() - begin
    return Outcome(id=case.id, what=case.what, fault=fault, silent=silent, message=message, seconds=seconds)


def difference(found: Series, taken: Taken, *, tolerance_hu: float = 0.0) -> str:
    """Return how a series differs from what it was made of; empty where it does not."""
    planes, voxels = found.stack.planes, found.stack.voxels
    order = np.argsort(taken.sampling.origins_xyz_mm @ taken.sampling.normal_xyz)
    if voxels.shape != taken.hu.shape:
        return f"is of shape {voxels.shape}, not {taken.hu.shape}"
    off_mm = _farthest_mm(found, taken.sampling.taking(list(order)))
    if not off_mm <= FARTHEST_MM:
        return f"lies {off_mm:.2f} mm off"
    expected, padding = taken.hu[order], None if taken.padding is None else taken.padding[order]
    wrong = np.abs(voxels.astype(np.float64) - expected) > tolerance_hu
    if padding is not None:
        wrong = np.where(padding, voxels > AIR_HU, wrong)
    if wrong.any():
        return f"{int(wrong.sum())} of {wrong.size} voxels are of other HU"
    if taken.instances and [r.sop_instance_uid for r in found.references] != [
        taken.instances[k] for k in order
    ]:
        return "references other images than the slices come from"
    return "" if len(planes) == len(found.references) else "has not one reference a slice"


def _farthest_mm(found: Series, sampling: Sampling) -> float:
    """Return how far a corner of a slice, or of the volume that the slices make, lies from its place."""
    points = sampling.points_xyz_mm[
        :, :: max(sampling.shape_yx[0] - 1, 1), :: max(sampling.shape_yx[1] - 1, 1)
    ]
    rows, columns = sampling.shape_yx
    corners_yx = np.array([(y, x) for y in (0, rows - 1) for x in (0, columns - 1)], dtype=np.float64)
    volume, off = found.volume, [0.0]
    for k, expected in enumerate(points.reshape(len(points), -1, 3)):
        off.append(float(np.abs(found.stack.planes.position_xyz_mm(k, corners_yx) - expected).max()))
        for (y, x), place in zip(corners_yx, expected, strict=True):
            if volume is not None:
                off.append(
                    float(np.abs(np.subtract(volume.geometry.position_xyz_mm((k, y, x)), place).max()))
                )
    return max(off)


@contextmanager
def _warnings_of_thoar() -> Iterator[list[str]]:
    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("thoar")
    logger.addHandler(handler)
    try:
        yield said
    finally:
        logger.removeHandler(handler)
