"""What NRRD and MetaImage share: a header in text, and voxels behind it or in a file beside it.

Our own reading of the header says how many bytes must be there, and those bytes are counted and
checked: SimpleITK fills a file that was cut short with zeros and says nothing. SimpleITK's reading of
the same header says where the grid lies.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813 (its usual name)

from thoar.core.box import Index3
from thoar.core.errors import InputError, UnsupportedFormatError
from thoar.core.geometry import Geometry
from thoar.core.volume import Volume
from thoar.io.grids import geometry_of
from thoar.io.streams import finish, inflated, opened, take, unzipped
from thoar.io.voxels import checked_dtype, narrowed

MAXIMUM_HEADER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How a file's voxels are stored.

    Attributes:
        shape_zyx: their number along each axis.
        dtype: their type, with byte order.
        compressed: whether they are one gzip or zlib stream.
        data_file: a file beside the header that holds them; None where they follow the header.
    """

    shape_zyx: Index3
    dtype: np.dtype
    compressed: bool
    data_file: str | None


def header_lines(
    file: BufferedIOBase, path: Path, *, is_whole: Callable[[], bool] = lambda: False
) -> Iterator[str]:
    """Yield a header's lines, stripped, up to a cap of bytes; the caller stops at the header's end.

    Args:
        file: at its first byte.
        path: names it.
        is_whole: asked where the file ends: whether the header may end there too.

    Raises:
        InputError: if the file ends within the header or the header does not end.
    """
    while file.tell() < MAXIMUM_HEADER_BYTES:
        line = file.readline(MAXIMUM_HEADER_BYTES)
        if not line:
            if is_whole():
                return
            raise InputError(f"{path}: the file ends within its header; fetch it again")
        yield line.decode("utf-8", errors="replace").strip()
    raise InputError(f"{path}: its header does not end within {MAXIMUM_HEADER_BYTES} bytes")


def read_volume(file: BufferedIOBase, layout: Layout, *, path: Path, image_io: str) -> Volume:
    """Read the voxels that a header speaks of, from just behind it or from its data file.

    Args:
        file: the header's file, at the first byte behind the header.
        layout: what the header says of the voxels.
        path: the header's file.
        image_io: SimpleITK's reader for this kind of header.

    Raises:
        InputError: or one of its kinds, if voxels or grid are not what they should be.
    """
    with _data(file, layout, path=path) as stream:
        # only now: SimpleITK opens whatever data file a header names
        geometry = _geometry(path, layout.shape_zyx, image_io=image_io)
        count = int(np.prod(layout.shape_zyx, dtype=np.int64)) * layout.dtype.itemsize
        data = take(stream, count, path=path)
        finish(stream, path)
    stored = np.frombuffer(data, dtype=checked_dtype(layout.dtype, path)).reshape(layout.shape_zyx)
    native = stored.astype(layout.dtype.newbyteorder("="), copy=False)
    return Volume(voxels=narrowed(native, path), geometry=geometry)


def numbers(text: str, path: Path, *, field: str) -> list[int]:
    """Return the whole numbers in a header's field.

    Raises:
        InputError: if it holds anything else.
    """
    try:
        return [int(word) for word in text.split()]
    except ValueError as error:
        raise InputError(f"{path}: its field {field!r} is {text!r}, which is not whole numbers") from error


def beside(path: Path, name: str) -> Path:
    """Return the data file that a header names.

    Raises:
        UnsupportedFormatError: if that is no plain name in the header's own folder.
    """
    data_file = path.parent / name
    plain = Path(name).name == name and "\\" not in name and name.isprintable()
    if not plain or data_file.resolve().parent != path.parent.resolve():
        raise UnsupportedFormatError(
            f"{path}: its voxels are said to lie in {name!r}, outside its own folder; put both into one "
            "folder and name the data file without a path"
        )
    return data_file


@contextmanager
def _data(file: BufferedIOBase, layout: Layout, *, path: Path) -> Iterator[BufferedIOBase]:
    if layout.data_file is None:
        yield _decoded(file, layout)
    else:
        with opened(beside(path, layout.data_file)) as other:
            yield _decoded(other, layout)


def _decoded(file: BufferedIOBase, layout: Layout) -> BufferedIOBase:
    if not layout.compressed:
        return file
    stream = unzipped(file)
    return stream if stream is not file else inflated(file)


def _geometry(path: Path, shape_zyx: Index3, *, image_io: str) -> Geometry:
    reader = sitk.ImageFileReader()
    reader.SetImageIO(image_io)
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise InputError(f"{path}: its header is broken ({_first_line(error)})") from error
    dimension = reader.GetDimension()
    sizes = tuple(reader.GetSize())
    if dimension < 3 or sizes[2::-1] != shape_zyx or reader.GetNumberOfComponents() != 1:  # noqa: PLR2004 (x, y, z)
        raise InputError(f"{path}: its axes {sizes} are not the three of a volume")
    direction = np.array(reader.GetDirection()).reshape(dimension, dimension)[:3, :3]
    lps_from_xyz = direction * np.array(reader.GetSpacing()[:3])
    matrix = np.eye(4)
    matrix[:3, :3] = lps_from_xyz[:, ::-1]
    matrix[:3, 3] = reader.GetOrigin()[:3]
    return geometry_of(shape_zyx, matrix, path=path)


def _first_line(error: RuntimeError) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else "SimpleITK does not say why"
