"""NRRD, attached or detached, raw or gzipped (https://teem.sourceforge.net/nrrd/format.html).

The header must name one of the anatomical spaces; without one its orientation would be a guess.
"""

import gzip
from collections.abc import Mapping
from functools import partial
from io import BufferedIOBase
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import numpy as np

from thoar.core.errors import GeometryError, InputError, UnsupportedFormatError
from thoar.core.geometry import Geometry
from thoar.core.volume import LabelVolume, Volume
from thoar.io.atomic import atomic_file
from thoar.io.grids import shape_zyx_of
from thoar.io.reread import check_written
from thoar.io.streams import opened
from thoar.io.text_headers import Layout, beside, header_lines, numbers, read_volume
from thoar.io.voxels import storable

T = TypeVar("T")

COMPRESSION_LEVEL = 4

_TYPES: Mapping[str, str] = MappingProxyType(
    {
        name: code
        for code, names in {
            "i1": "signed char|int8|int8_t",
            "u1": "uchar|unsigned char|uint8|uint8_t",
            "i2": "short|short int|signed short|signed short int|int16|int16_t",
            "u2": "ushort|unsigned short|unsigned short int|uint16|uint16_t",
            "i4": "int|signed int|int32|int32_t",
            "u4": "uint|unsigned int|uint32|uint32_t",
            "i8": "longlong|long long|long long int|signed long long|signed long long int|int64|int64_t",
            "u8": "ulonglong|unsigned long long|unsigned long long int|uint64|uint64_t",
            "f4": "float",
            "f8": "double",
        }.items()
        for name in names.split("|")
    }
)
_SPACES = (
    "right-anterior-superior",
    "ras",
    "left-anterior-superior",
    "las",
    "left-posterior-superior",
    "lps",
)
_COMPRESSED: Mapping[str, bool] = MappingProxyType({"raw": False, "gzip": True, "gz": True})
_ENDIANS: Mapping[str, str] = MappingProxyType({"little": "<", "big": ">"})
_ALIASES: Mapping[str, str] = MappingProxyType(
    {"datafile": "data file", "lineskip": "line skip", "byteskip": "byte skip"}
)


def read(path: Path) -> Volume:
    """Read a volume; int16 where every value is whole and fits, else float32.

    Raises:
        InputError: if the file is damaged, cut short, holds NaN, or is no single 3-D volume.
        GeometryError: if it does not say one right-angled place in the patient.
        UnsupportedFormatError: for encodings other than raw and gzip, several data files, a data file
            outside the header's folder, and voxels that are no real numbers.
    """
    with opened(path) as file:
        fields = _fields(file, path)
        layout = _layout(fields, path)
        _check_place(fields, path)
        return read_volume(file, layout, path=path, image_io="NrrdImageIO")


def data_file(path: Path) -> Path | None:
    """Return the file beside a header that holds its voxels; None where they follow the header.

    Raises:
        InputError: or one of its kinds, if the header cannot be read or names no file beside it.
    """
    with opened(path) as file:
        name = _data_file(_fields(file, path), path)
    return None if name is None else beside(path, name)


def write(path: Path, volume: Volume | LabelVolume) -> None:
    """Write an attached, gzipped NRRD in LPS, read it back, and only then give it its name.

    The same volume gives the same bytes (with one zlib version).

    Raises:
        InputError: if a voxel is NaN or beyond int32.
        ResourceError: if the disk is full or the file read back differs.
    """
    voxels = storable(volume.voxels, path)
    header = _header_text(voxels, volume.geometry)
    atomic_file(
        path,
        partial(_write_bytes, header=header, voxels=voxels),
        verify=lambda temporary: check_written(
            read, temporary, path=path, voxels=voxels, geometry=volume.geometry
        ),
    )


def _fields(file: BufferedIOBase, path: Path) -> dict[str, str]:
    fields: dict[str, str] = {}
    lines = header_lines(file, path, is_whole=lambda: "data file" in fields)
    magic = next(lines)
    if not magic.startswith("NRRD000"):
        raise UnsupportedFormatError(f"{path}: is not a NRRD file (it begins with {magic[:8]!r})")
    for line in lines:
        if not line:
            break
        name, colon, value = line.partition(":")
        if colon and not line.startswith("#") and not value.startswith("="):
            name = name.strip().lower()
            fields[_ALIASES.get(name, name)] = value.strip()
        if "data file" in fields and fields["data file"].startswith("LIST"):
            break
    return fields


def _check_place(fields: Mapping[str, str], path: Path) -> None:
    space = fields.get("space", "").lower()
    if space not in _SPACES:
        raise GeometryError(
            f"{path}: its space is {space or 'not given'!r}, so its place in the patient is not given; "
            "save it with space left-posterior-superior or right-anterior-superior"
        )
    for field in ("space directions", "space origin"):
        if "(" not in fields.get(field, "") or "none" in fields[field]:
            found = fields.get(field, "not given")
            raise GeometryError(f"{path}: its {field!r} is {found!r}; save it again from its source")


def _layout(fields: Mapping[str, str], path: Path) -> Layout:
    encoding = _known(fields, "encoding", _COMPRESSED, path=path)
    code = _known(fields, "type", _TYPES, path=path)
    endian = "|" if code.endswith("1") else _known(fields, "endian", _ENDIANS, path=path)
    sizes = numbers(fields.get("sizes", ""), path, field="sizes")
    if [len(sizes)] != numbers(fields.get("dimension", ""), path, field="dimension"):
        raise InputError(f"{path}: its dimension and its sizes contradict each other; save it again")
    for field in ("line skip", "byte skip"):
        if fields.get(field, "0") != "0":
            raise UnsupportedFormatError(f"{path}: uses {field!r}; save it as one attached .nrrd")
    return Layout(
        shape_zyx=shape_zyx_of(sizes, path),
        dtype=np.dtype(endian + code),
        compressed=encoding,
        data_file=_data_file(fields, path),
    )


def _known(fields: Mapping[str, str], field: str, known: Mapping[str, T], *, path: Path) -> T:
    value = fields.get(field, "").lower()
    if value not in known:
        raise UnsupportedFormatError(
            f"{path}: its {field} is {value or 'not given'!r}; thoar reads {', '.join(known)}: save it again"
        )
    return known[value]


def _data_file(fields: Mapping[str, str], path: Path) -> str | None:
    name = fields.get("data file")
    if name is not None and (name.startswith("LIST") or "%" in name):
        raise UnsupportedFormatError(
            f"{path}: its voxels are spread over several files; save it as one .nrrd"
        )
    return name


def _header_text(voxels: np.ndarray, geometry: Geometry) -> bytes:
    columns = geometry.lps_from_index[:3, 2::-1].T.tolist()
    kinds = {"u1": "uint8", "i2": "int16", "u2": "uint16", "i4": "int32", "f4": "float"}
    lines = [
        "NRRD0004",
        f"type: {kinds[voxels.dtype.str[1:]]}",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {' '.join(str(n) for n in voxels.shape[::-1])}",
        f"space directions: {' '.join(_vector(column) for column in columns)}",
        "kinds: domain domain domain",
        "endian: little",
        "encoding: gzip",
        f"space origin: {_vector(list(geometry.lps_from_index[:3, 3].tolist()))}",
    ]
    return ("\n".join(lines) + "\n\n").encode("ascii")


def _vector(values: list[float]) -> str:
    return "(" + ",".join(repr(v) for v in values) + ")"


def _write_bytes(path: Path, *, header: bytes, voxels: np.ndarray) -> None:
    with path.open("wb") as file:
        file.write(header)
        with gzip.GzipFile("", "wb", COMPRESSION_LEVEL, file, mtime=0) as stream:
            for plane in voxels:
                stream.write(plane.astype(plane.dtype.newbyteorder("<"), copy=False).tobytes())
