"""A volume as ``.safetensors``: one tensor ``voxels`` (z, y, x), its place in the patient in the metadata.

    __metadata__  {"lps_from_index": "[[…], […], […], [0, 0, 0, 1]]"}   4×4, JSON; see core's Geometry
    voxels        U8, I8, I16, U16, I32, U32, I64, U64, F16, F32 or F64

(https://github.com/huggingface/safetensors, "Format": eight bytes of length, a header in JSON, the bytes.) It
needs no imaging library, so label maps and synthetic cases can be used on a machine that has none.
"""

from collections.abc import Mapping
from io import BufferedIOBase
from pathlib import Path
from types import MappingProxyType

import msgspec
import numpy as np
from safetensors.numpy import save

from thoar.core.errors import GeometryError, InputError, UnsupportedFormatError
from thoar.core.volume import LabelVolume, Volume
from thoar.io.atomic import atomic_bytes
from thoar.io.grids import geometry_of, shape_zyx_of
from thoar.io.reread import check_written
from thoar.io.streams import finish, opened, take
from thoar.io.voxels import narrowed, storable

PLACE = "lps_from_index"
MAXIMUM_HEADER_BYTES = 1 << 20
_TYPES: Mapping[str, str] = MappingProxyType(
    {"U8": "u1", "I8": "i1"}
    | {f"{kind.upper()}{8 * size}": f"<{kind}{size}" for kind in "iu" for size in (2, 4, 8)}
    | {f"F{8 * size}": f"<f{size}" for size in (2, 4, 8)}
)


class _Tensor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One tensor as the header spells it; the offsets count from the header's end."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


class _Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The header of a volume."""

    metadata: dict[str, str] = msgspec.field(name="__metadata__", default_factory=dict)
    voxels: _Tensor


def read(path: Path) -> Volume:
    """Read a volume; int16 where every value is whole and fits, else float32.

    Raises:
        InputError: if the file is damaged, cut short, holds NaN, or is no single 3-D volume.
        GeometryError: if it does not say one right-angled place in the patient.
        UnsupportedFormatError: if it is no safetensors file of one tensor ``voxels`` of real numbers.
    """
    with opened(path) as file:
        header = _read_header(file, path)
        dtype = _dtype(header.voxels, path)
        shape_zyx = shape_zyx_of(header.voxels.shape[::-1], path)
        geometry = geometry_of(shape_zyx, _matrix(header, path), path=path, said_by="metadata")
        count = int(np.prod(shape_zyx, dtype=np.int64)) * dtype.itemsize
        if header.voxels.data_offsets != (0, count):
            raise InputError(
                f"{path}: {shape_zyx} voxels of {header.voxels.dtype} take {count} bytes, the header "
                f"gives them bytes {header.voxels.data_offsets}; write it again"
            )
        stored = np.frombuffer(take(file, count, path=path), dtype=dtype).reshape(shape_zyx)
        finish(file, path)
    return Volume(
        voxels=narrowed(stored.astype(dtype.newbyteorder("="), copy=False), path), geometry=geometry
    )


def write(path: Path, volume: Volume | LabelVolume) -> None:
    """Write a volume, read it back, and only then give it its name; the same volume gives the same bytes.

    Raises:
        InputError: if a voxel is NaN or beyond int32.
        ResourceError: if the disk is full or the file read back differs.
    """
    voxels = storable(volume.voxels, path)
    place = msgspec.json.encode(volume.geometry.lps_from_index.tolist()).decode()
    atomic_bytes(
        path,
        save({"voxels": np.ascontiguousarray(voxels)}, metadata={PLACE: place}),
        verify=lambda temporary: check_written(
            read, temporary, path=path, voxels=voxels, geometry=volume.geometry
        ),
    )


def _read_header(file: BufferedIOBase, path: Path) -> _Header:
    size = int.from_bytes(take(file, 8, path=path), "little")
    if not 2 <= size <= MAXIMUM_HEADER_BYTES:  # noqa: PLR2004 (an empty JSON object)
        raise UnsupportedFormatError(
            f"{path}: is no safetensors volume (its header is said to be {size} bytes)"
        )
    try:
        return msgspec.json.decode(bytes(take(file, size, path=path)), type=_Header)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnsupportedFormatError(
            f"{path}: is no safetensors file of one tensor named voxels ({error}); weights are no volume"
        ) from error


def _dtype(voxels: _Tensor, path: Path) -> np.dtype:
    if voxels.dtype not in _TYPES:
        raise UnsupportedFormatError(
            f"{path}: its voxels are of type {voxels.dtype}; thoar reads {', '.join(_TYPES)}: convert them"
        )
    if any(n < 0 for n in voxels.shape):
        raise InputError(f"{path}: its shape is {voxels.shape}; write it again")
    return np.dtype(_TYPES[voxels.dtype])


def _matrix(header: _Header, path: Path) -> np.ndarray:
    text = header.metadata.get(PLACE)
    if text is None:
        raise GeometryError(
            f"{path}: its metadata have no {PLACE!r}, so its place in the patient is not given; "
            "write it with thoar.io.formats.write_volume"
        )
    try:
        rows = msgspec.json.decode(text, type=list[list[float]])
        matrix = np.array(rows, dtype=np.float64)
    except (msgspec.DecodeError, ValueError) as error:
        raise GeometryError(f"{path}: its {PLACE!r} is {text[:80]!r}, which is no 4×4 matrix") from error
    if matrix.shape != (4, 4):
        raise GeometryError(f"{path}: its {PLACE!r} is {text[:80]!r}, which is no 4×4 matrix")
    return matrix
