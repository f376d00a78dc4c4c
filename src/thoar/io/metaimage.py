"""MetaImage: ``.mha``, or ``.mhd`` with its data file (https://itk.org/Wiki/ITK/MetaIO/Documentation).

ITK's conventions hold: positions in LPS millimetres, ``TransformMatrix`` lists each axis' direction in
turn and is the identity where it is left out, ``Offset`` is the first voxel's centre.
"""

import zlib
from collections.abc import Mapping
from functools import partial
from io import BufferedIOBase
from pathlib import Path
from types import MappingProxyType

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

COMPRESSION_LEVEL = 4

_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "MET_CHAR": "i1",
        "MET_UCHAR": "u1",
        "MET_SHORT": "i2",
        "MET_USHORT": "u2",
        "MET_INT": "i4",
        "MET_UINT": "u4",
        "MET_LONG_LONG": "i8",
        "MET_ULONG_LONG": "u8",
        "MET_FLOAT": "f4",
        "MET_DOUBLE": "f8",
    }
)
_NAMES: Mapping[str, str] = MappingProxyType({code: name for name, code in _TYPES.items()})
_PLAIN: Mapping[str, str] = MappingProxyType(
    {
        "ObjectType": "Image",
        "BinaryData": "True",
        "ElementNumberOfChannels": "1",
        "HeaderSize": "0",
        "ElementToIntensityFunctionSlope": "1",
        "ElementToIntensityFunctionOffset": "0",
    }
)
"""Fields that change a file's meaning, and the one value we read."""


def read(path: Path) -> Volume:
    """Read a volume; int16 where every value is whole and fits, else float32.

    Raises:
        InputError: if the file is damaged, cut short, holds NaN, or is no single 3-D volume.
        GeometryError: if it does not say one right-angled place in the patient.
        UnsupportedFormatError: for text data, several data files, a data file outside the header's
            folder, and voxels that are no real numbers.
    """
    with opened(path) as file:
        fields = _fields(file, path)
        return read_volume(file, _layout(fields, path), path=path, image_io="MetaImageIO")


def data_file(path: Path) -> Path | None:
    """Return the file beside a header that holds its voxels; None where they follow the header.

    Raises:
        InputError: or one of its kinds, if the header cannot be read or names no file beside it.
    """
    with opened(path) as file:
        name = _data_file(_fields(file, path)["ElementDataFile"], path)
    return None if name is None else beside(path, name)


def write(path: Path, volume: Volume | LabelVolume) -> None:
    """Write a compressed ``.mha``, read it back, and only then give it its name.

    The same volume gives the same bytes (with one zlib version).

    Raises:
        InputError: if a voxel is NaN or beyond int32.
        ResourceError: if the disk is full or the file read back differs.
    """
    voxels = storable(volume.voxels, path)
    packed = _compressed(voxels)
    header = _header_text(voxels, volume.geometry, packed_bytes=sum(map(len, packed)))
    atomic_file(
        path,
        partial(_write_bytes, parts=[header, *packed]),
        verify=lambda temporary: check_written(
            read, temporary, path=path, voxels=voxels, geometry=volume.geometry
        ),
    )


def _fields(file: BufferedIOBase, path: Path) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in header_lines(file, path):
        name, equals, value = (part.strip() for part in line.partition("="))
        if not equals:
            raise UnsupportedFormatError(f"{path}: is not a MetaImage file (a line reads {line[:40]!r})")
        fields[name] = value
        if name == "ElementDataFile":
            break
    return fields


def _layout(fields: Mapping[str, str], path: Path) -> Layout:
    for field, plain in _PLAIN.items():
        if fields.get(field, plain).lower() != plain.lower():
            raise UnsupportedFormatError(
                f"{path}: {field} is {fields[field]!r}; thoar reads {plain}: save it again"
            )
    sizes = numbers(fields.get("DimSize", ""), path, field="DimSize")
    if [len(sizes)] != numbers(fields.get("NDims", ""), path, field="NDims"):
        raise InputError(f"{path}: its NDims and its DimSize contradict each other; save it again")
    if "ElementSpacing" not in fields:
        raise GeometryError(f"{path}: its header has no ElementSpacing; save it again from its source")
    return Layout(
        shape_zyx=shape_zyx_of(sizes, path),
        dtype=_dtype(fields, path),
        compressed=_flag(fields, "CompressedData"),
        data_file=_data_file(fields["ElementDataFile"], path),
    )


def _dtype(fields: Mapping[str, str], path: Path) -> np.dtype:
    name = fields.get("ElementType", "not given")
    if name not in _TYPES:
        raise UnsupportedFormatError(f"{path}: its ElementType is {name}; thoar reads {', '.join(_TYPES)}")
    big = _flag(fields, "BinaryDataByteOrderMSB") or _flag(fields, "ElementByteOrderMSB")
    return np.dtype((">" if big else "<") + _TYPES[name])


def _flag(fields: Mapping[str, str], name: str) -> bool:
    return fields.get(name, "False").lower() in ("true", "1")


def _data_file(name: str, path: Path) -> str | None:
    if name.upper() == "LOCAL":
        return None
    if name.startswith("LIST") or "%" in name:
        raise UnsupportedFormatError(f"{path}: its voxels are spread over several files; save it as one .mha")
    return name


def _header_text(voxels: np.ndarray, geometry: Geometry, *, packed_bytes: int) -> bytes:
    spacing_xyz_mm = np.array(geometry.spacing_zyx_mm[::-1])
    axes = (geometry.lps_from_index[:3, 2::-1] / spacing_xyz_mm).T
    lines = [
        "ObjectType = Image",
        "NDims = 3",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        "CompressedData = True",
        f"CompressedDataSize = {packed_bytes}",
        f"TransformMatrix = {_row(axes)}",
        f"Offset = {_row(geometry.lps_from_index[:3, 3])}",
        "CenterOfRotation = 0 0 0",
        f"ElementSpacing = {_row(spacing_xyz_mm)}",
        f"DimSize = {' '.join(str(n) for n in voxels.shape[::-1])}",
        f"ElementType = {_NAMES[voxels.dtype.str[1:]]}",
        "ElementDataFile = LOCAL",
    ]
    return ("\n".join(lines) + "\n").encode("ascii")


def _row(values: np.ndarray) -> str:
    return " ".join(repr(v) for v in values.ravel().tolist())


def _compressed(voxels: np.ndarray) -> list[bytes]:
    packer = zlib.compressobj(COMPRESSION_LEVEL)
    parts = [
        packer.compress(plane.astype(plane.dtype.newbyteorder("<"), copy=False).tobytes()) for plane in voxels
    ]
    return [*parts, packer.flush()]


def _write_bytes(path: Path, *, parts: list[bytes]) -> None:
    with path.open("wb") as file:
        file.writelines(parts)
