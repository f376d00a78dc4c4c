"""One DICOM series, assembled or refused by name."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from thoar.core.errors import IncompleteSeriesError, InputError, UnsupportedFormatError
from thoar.core.slices import SlicePlanes, SliceStack
from thoar.io.dicom.agreement import check_agreement, check_modality, references_of, warn_of_posture
from thoar.io.dicom.archive import extracted
from thoar.io.dicom.attributes import Slice, naming_faults, numbers
from thoar.io.dicom.choice import one_series, selected
from thoar.io.dicom.doubles import Decode, HuSlice, without_copies, without_doubles
from thoar.io.dicom.files import dicom_files, is_dicom_file, is_zip
from thoar.io.dicom.identity import identity_of
from thoar.io.dicom.kinds import check_kinds, images, without_localizers
from thoar.io.dicom.parse import read_header, slices_of
from thoar.io.dicom.pixels import hu_of
from thoar.io.dicom.planes import Plane, plane_of, slice_planes, stacked, without_outliers
from thoar.io.dicom.records import PLAIN, ReadOptions, Series, SliceReference
from thoar.io.dicom.several import LEAST_SLICES, check_one_volume
from thoar.io.dicom.steps import check_steps
from thoar.io.grids import shape_zyx_of


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OpenSeries:
    """A series found and put in order, its pixels still to be decoded.

    Attributes:
        planes: where the slices lie, sorted along their normal.
        references: how other DICOM objects name them, in the same order.
        identity: see ``io/dicom/identity.py``.
        voxels: HU of slice after slice, in the same order; it can be gone through once.
    """

    planes: SlicePlanes
    references: tuple[SliceReference, ...]
    identity: bytes
    voxels: Iterator[HuSlice]


@contextmanager
def open_series(path: Path, options: ReadOptions = PLAIN) -> Iterator[OpenSeries]:
    """Find the one CT series that a path stands for and put its slices in order.

    Files are known by content; what is no DICOM, no image, or a localizer is logged and left out. The
    slices are sorted by position along their normal; InstanceNumber, SliceLocation and SliceThickness
    are not trusted. Each slice has its own rescale. A slice stored twice counts once.

    Args:
        path: a folder (with those below it), a zip archive, or one multi-frame file.
        options: which series and volume, and what may be made of irregular slices.

    Raises:
        InputError: if there is no series, more than one, a damaged file, or HU cannot be told.
        IncompleteSeriesError: if slices are missing, irregular, doubled, too few, or of several volumes.
        GeometryError: if position, orientation or spacing is missing or differs, or slices are tilted.
        UnsupportedFormatError: for other modalities, projections, and undecodable pixels.
    """
    with _all_slices(path) as slices:
        decode = partial(hu_of, assume_intercept=options.assume_intercept)
        planes, shape_yx = _volume(slices, path, options=options, decode=decode)
        items = [plane.item for plane in planes]
        placed = slice_planes(planes, shape_yx=shape_yx)
        check_steps(planes, placed, path=path, options=options)
        warn_of_posture(items[0], placed)
        yield OpenSeries(
            planes=placed,
            references=references_of(items),
            identity=_identity(items[0]),
            voxels=map(decode, items),
        )


def read_series(path: Path, options: ReadOptions = PLAIN) -> Series:
    """Read a series whole, in this process.

    Raises:
        InputError: or one of its kinds, as :func:`open_series` does.
    """
    with open_series(path, options) as opened:
        voxels = collected(opened.voxels, (len(opened.planes), *opened.planes.shape_yx))
        return Series(
            stack=SliceStack(voxels=voxels, planes=opened.planes),
            references=opened.references,
            identity=opened.identity,
        )


def collected(slices: Iterable[HuSlice], shape_zyx: tuple[int, int, int]) -> np.ndarray:
    """Return slices as one array: int16 where all of them are, else float32."""
    voxels = np.empty(shape_zyx, dtype=np.int16)
    for z, hu in enumerate(slices):
        voxels = voxels.astype(np.promote_types(voxels.dtype, hu.dtype), copy=False)
        voxels[z] = hu
    return voxels


@contextmanager
def _all_slices(path: Path) -> Iterator[list[Slice]]:
    """Find every slice that a path stands for; an archive's files exist as long as they are used."""
    if path.is_dir():
        yield [item for file in dicom_files(path) for item in slices_of(file)]
    elif is_zip(path):
        with extracted(path) as folder, _all_slices(folder) as slices:
            yield slices
    else:
        yield _frames(path)


def _frames(path: Path) -> list[Slice]:
    if not path.is_file():
        raise InputError(f"{path}: no such file or folder")
    if not is_dicom_file(path):
        raise UnsupportedFormatError(
            f"{path}: is neither DICOM nor a zip archive; give the folder of a DICOM series, or a volume "
            "such as .nii.gz"
        )
    slices = slices_of(path)
    if slices[0].frame is None:
        raise InputError(f"{path}: is one slice or no image; give the folder that holds the whole series")
    return list(slices)


def _identity(item: Slice) -> bytes:
    """Return whose series it is, from a header that nobody has asked for anything."""
    with naming_faults(item.path):
        return identity_of(read_header(item.path))


def _volume(
    slices: Sequence[Slice], path: Path, *, options: ReadOptions, decode: Decode
) -> tuple[list[Plane], tuple[int, int]]:
    """Return the slices of the one volume that is meant, sorted and alike, and their rows and columns."""
    chosen = one_series(without_localizers(images(slices, path)), path, wanted=options.series)
    chosen = without_copies(selected(chosen, path, select=options.select), decode)
    check_modality(chosen, options)
    planes = without_outliers([plane_of(item) for item in chosen])
    chosen = [plane.item for plane in planes]
    check_agreement(chosen)
    check_kinds(chosen)
    planes = without_doubles(stacked(planes), decode)
    if len(planes) < LEAST_SLICES:
        raise IncompleteSeriesError(
            f"{path}: {len(planes)} {'slice makes' if len(planes) == 1 else 'slices make'} no volume, "
            f"at least {LEAST_SLICES} are needed; give the whole series"
        )
    check_one_volume(planes, path)
    rows, columns = (int(numbers(chosen[0], keyword, 1)[0]) for keyword in ("Rows", "Columns"))
    shape_zyx_of((columns, rows, len(planes)), path)
    return planes, (rows, columns)
