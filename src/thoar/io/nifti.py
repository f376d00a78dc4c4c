"""NIfTI-1 and -2, in one file, plain or gzipped.

Which place in the patient a file means (nifti1.h, "3D image orientation and location in space"):

- sform and qform both coded: they must agree, corner by corner, within a quarter of the shortest voxel
  edge; then the sform counts, which alone can hold a matrix exactly. Otherwise the file is refused.
- one of them coded: that one counts.
- both codes 0: refused, since orientation would be a guess.
- spatial units metre and micrometre are converted; unknown is taken as millimetre.

The array leaves as (z, y, x) = nibabel's (i, j, k) transposed, RAS+ turned into LPS.
"""

import gzip
from functools import partial
from io import BufferedIOBase
from pathlib import Path
from typing import cast

import nibabel as nib
import numpy as np
from jaxtyping import Float
from nibabel.spatialimages import HeaderDataError

from thoar.core.box import Index3
from thoar.core.errors import GeometryError, InputError, UnsupportedFormatError
from thoar.core.geometry import Geometry
from thoar.core.volume import LabelVolume, Volume
from thoar.io.atomic import atomic_file
from thoar.io.grids import geometry_of, shape_zyx_of, swap_ras_lps
from thoar.io.reread import check_written
from thoar.io.streams import finish, opened, take, unzipped
from thoar.io.voxels import checked_dtype, narrowed, storable

Header = nib.Nifti1Header  # Nifti2Header derives from it

AGREEMENT_VOXELS = 0.25
"""sform and qform may place a corner so far apart, in shortest voxel edges."""
COMPRESSION_LEVEL = 4
_KINDS = {348: (nib.Nifti1Header, (b"n+1\0",)), 540: (nib.Nifti2Header, (b"n+2\0",))}
_MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
_UNIT_BITS = 0x07


def read(path: Path) -> Volume:
    """Read a volume; int16 where every value is whole and fits, else float32.

    A gzip stream is read to its end, so that its CRC is checked. ``scl_slope`` of 0 or NaN means 1.

    Raises:
        InputError: if the file is damaged, cut short, holds NaN, or is no single 3-D volume.
        GeometryError: if it does not say one right-angled place in the patient.
        UnsupportedFormatError: if it is no one-file NIfTI, or its voxels are no real numbers.
    """
    with opened(path) as file:
        stream = unzipped(file)
        header = _read_header(stream, path)
        shape_zyx = _shape_zyx(header, path)
        geometry = _geometry(header, shape_zyx, path=path)
        stored = _read_stored(stream, header, shape_zyx=shape_zyx, path=path)
        finish(stream, path)
    slope, intercept = _scaling(header, path)
    return Volume(voxels=narrowed(stored, path, slope=slope, intercept=intercept), geometry=geometry)


def write(path: Path, volume: Volume | LabelVolume) -> None:
    """Write a volume as ``.nii`` or ``.nii.gz``, read it back, and only then give it its name.

    sform and qform are both written, code 1 (scanner), units mm, slope 1, no extensions. NIfTI-1's
    sform is float32: a matrix that came from a sform returns to the bit, one from DICOM or NRRD is
    rounded (6e-5 mm at a metre). A matrix that came from a qform alone usually is no float32 matrix:
    where the qform written gives it back to the bit, the sform is left out, as in the source; where it
    does not (some oblique grids), it is rounded too. The same volume gives the same bytes (gzip without
    time or name; one zlib version).

    Raises:
        InputError: if a voxel is NaN or beyond int32.
        ResourceError: if the disk is full or the file read back differs.
    """
    voxels = storable(volume.voxels, path)
    header = _new_header(voxels, volume.geometry, path=path)
    atomic_file(
        path,
        partial(_write_bytes, header=header, voxels=voxels),
        verify=lambda temporary: check_written(
            read, temporary, path=path, voxels=voxels, geometry=volume.geometry
        ),
    )


def _read_header(stream: BufferedIOBase, path: Path) -> Header:
    block = bytes(take(stream, 4, path=path))
    size = min(int.from_bytes(block, "little"), int.from_bytes(block, "big"))
    if size not in _KINDS:
        raise UnsupportedFormatError(f"{path}: is not a NIfTI file (it begins with {block.hex()})")
    kind, magics = _KINDS[size]
    header = kind(block + bytes(take(stream, size - 4, path=path)), check=False)
    magic = bytes(header["magic"])[:3]
    if not any(known.startswith(magic) and magic for known in magics):
        raise UnsupportedFormatError(
            f"{path}: is an Analyze or two-file NIfTI header (magic {magic!r}); convert it to .nii.gz"
        )
    return header


def _shape_zyx(header: Header, path: Path) -> Index3:
    dim = [int(n) for n in header["dim"]]
    return shape_zyx_of(dim[1 : dim[0] + 1] if 1 <= dim[0] <= 7 else [], path)  # noqa: PLR2004 (nifti1.h: dim[0] is 1..7)


def _read_stored(stream: BufferedIOBase, header: Header, *, shape_zyx: Index3, path: Path) -> np.ndarray:
    try:
        dtype = checked_dtype(header.get_data_dtype(), path)
    except (HeaderDataError, KeyError) as error:
        raise UnsupportedFormatError(f"{path}: its voxels are of an unknown type ({error})") from error
    start, first = int(header["sizeof_hdr"]), float(header["vox_offset"])
    if not start <= first <= start + 2**30:
        raise InputError(f"{path}: its voxels are said to begin at byte {first}, which cannot be")
    take(stream, int(first) - start, path=path)
    count = int(np.prod(shape_zyx, dtype=np.int64)) * dtype.itemsize
    stored = np.frombuffer(take(stream, count, path=path), dtype=dtype).reshape(shape_zyx)
    return stored.astype(dtype.newbyteorder("="), copy=False)


def _scaling(header: Header, path: Path) -> tuple[float, float]:
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0.0 or not np.isfinite(slope):
        return 1.0, 0.0
    if not np.isfinite(intercept):
        raise InputError(f"{path}: scl_inter is {intercept}; correct the header")
    return slope, intercept


def _geometry(header: Header, shape_zyx: Index3, *, path: Path) -> Geometry:
    _check_pixdim(header, path)
    sform, qform = int(header["sform_code"]), int(header["qform_code"])
    if sform <= 0 and qform <= 0:
        raise GeometryError(
            f"{path}: sform_code and qform_code are both 0, so it does not say where it lies in the patient; "
            "convert it again from its source, or set a code if you know its matrix to be right"
        )
    grids = [
        _form(header, name, shape_zyx=shape_zyx, path=path)
        for name, code in (("sform", sform), ("qform", qform))
        if code > 0
    ]
    apart = grids[0].difference_mm(grids[-1])
    if apart > AGREEMENT_VOXELS * min(grids[0].spacing_zyx_mm):
        raise GeometryError(
            f"{path}: its sform and its qform disagree by up to {apart:.2f} mm; find out which is right and "
            "set the other's code to 0"
        )
    return grids[0]


def _form(header: Header, name: str, *, shape_zyx: Index3, path: Path) -> Geometry:
    unit = int(header["xyzt_units"]) & _UNIT_BITS
    if unit not in _MM_PER_UNIT:
        raise GeometryError(f"{path}: its spatial unit has the unknown code {unit}; correct xyzt_units")
    matrix = swap_ras_lps(_sform(header) if name == "sform" else _qform(header, path))
    if _MM_PER_UNIT[unit] != 1.0:
        matrix[:3] *= _MM_PER_UNIT[unit]
    return geometry_of(shape_zyx, matrix, path=path, said_by=name)


def _sform(header: Header) -> Float[np.ndarray, "4 4"]:
    return cast("np.ndarray", header.get_sform())


def _qform(header: Header, path: Path) -> Float[np.ndarray, "4 4"]:
    header = header.copy()
    if header["pixdim"][0] not in (-1.0, 1.0):
        header["pixdim"][0] = 1.0  # nifti1.h: qfac of 0 or anything else means 1
    try:
        return cast("np.ndarray", header.get_qform())
    except (HeaderDataError, ValueError) as error:
        raise GeometryError(f"{path}: its qform is no rotation ({error}); convert it again") from error


def _check_pixdim(header: Header, path: Path) -> None:
    pixdim = np.asarray(header["pixdim"][1:4], dtype=np.float64)
    if not (np.isfinite(pixdim).all() and (pixdim > 0).all()):
        raise GeometryError(
            f"{path}: pixdim {pixdim.tolist()} holds a voxel edge that is no length; correct it"
        )


def _new_header(voxels: np.ndarray, geometry: Geometry, *, path: Path) -> Header:
    header = nib.Nifti1Header()
    try:
        header.set_data_shape(voxels.shape[::-1])
    except HeaderDataError as error:
        raise UnsupportedFormatError(
            f"{path}: NIfTI-1 cannot hold {voxels.shape} voxels ({error})"
        ) from error
    header.set_data_dtype(voxels.dtype)
    header.set_slope_inter(1.0, 0.0)
    header.set_xyzt_units("mm")
    _set_place(header, swap_ras_lps(geometry.lps_from_index), path=path)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    return header


def _set_place(header: Header, ras_from_ijk: Float[np.ndarray, "4 4"], *, path: Path) -> None:
    header.set_qform(ras_from_ijk, code=1)
    header.set_sform(ras_from_ijk, code=1)
    if np.array_equal(_sform(header), ras_from_ijk):
        return
    if np.array_equal(_qform(header, path), ras_from_ijk):
        header.set_sform(None, code=0)


def _write_bytes(path: Path, *, header: Header, voxels: np.ndarray) -> None:
    with path.open("wb") as file:
        if path.name.lower().endswith(".gz"):
            with gzip.GzipFile("", "wb", COMPRESSION_LEVEL, file, mtime=0) as stream:
                _write_to(stream, header, voxels)
        else:
            _write_to(file, header, voxels)


def _write_to(stream: BufferedIOBase, header: Header, voxels: np.ndarray) -> None:
    stream.write(header.binaryblock + bytes(4))
    little = voxels.dtype.newbyteorder("<")
    stream.writelines(plane.astype(little, copy=False).tobytes() for plane in voxels)
