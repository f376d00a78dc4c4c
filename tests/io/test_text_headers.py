"""NRRD and MetaImage: what SimpleITK would pass in silence is refused."""

import gzip
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 (its usual name)

from thoar.core.errors import GeometryError, InputError, UnsupportedFormatError
from thoar.core.volume import Volume
from thoar.io.formats import read_volume, write_volume

NRRD = (
    "NRRD0004\n# a comment\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 7 6 5\n"
    "space directions: (1,0,0) (0,1,0) (0,0,2)\nkinds: domain domain domain\nendian: little\n"
    "encoding: raw\nspace origin: (1,2,3)\nname:=space: nowhere\n"
)
MHA = (
    "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
    "CompressedData = False\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 1 2 3\n"
    "ElementSpacing = 1 1 2\nDimSize = 7 6 5\nElementType = MET_SHORT\n"
)
VOXELS = np.arange(210, dtype=np.int16).reshape(5, 6, 7)


def nrrd(path: Path, *changes: tuple[str, str], data: bytes = VOXELS.tobytes()) -> Path:
    header = NRRD
    for old, new in changes:
        assert old in header
        header = header.replace(old, new)
    path.write_bytes(header.encode() + b"\n" + data)
    return path


def mha(path: Path, *changes: tuple[str, str], data: bytes = VOXELS.tobytes(), file: str = "LOCAL") -> Path:
    header = MHA
    for old, new in changes:
        assert old in header
        header = header.replace(old, new)
    path.write_bytes(f"{header}ElementDataFile = {file}\n".encode() + data)
    return path


@pytest.mark.parametrize("make", [nrrd, mha])
def test_plain_files_are_read(make: object, tmp_path: Path) -> None:
    volume = read_volume(make(tmp_path / f"a.{make.__name__}"))
    assert np.array_equal(volume.voxels, VOXELS)
    assert volume.geometry.position_xyz_mm((1, 1, 1)) == (2.0, 3.0, 5.0)


@pytest.mark.parametrize("make", [nrrd, mha])
def test_cut_raw_voxels_are_refused(make: object, tmp_path: Path) -> None:
    path = make(tmp_path / f"a.{make.__name__}", data=VOXELS.tobytes()[:-1])
    with pytest.raises(InputError, match=r"cut short: 419 of 420 bytes"):
        read_volume(path)


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
@pytest.mark.parametrize("compressed", [True, False])
def test_files_of_simpleitk_are_read_and_refused_when_cut(
    name: str, compressed: bool, phantom: Volume, tmp_path: Path
) -> None:
    image = sitk.GetImageFromArray(phantom.voxels)
    image.SetSpacing(phantom.geometry.spacing_zyx_mm[::-1])
    image.SetOrigin(phantom.geometry.origin_xyz_mm)
    sitk.WriteImage(image, str(tmp_path / name), useCompression=compressed)
    found = read_volume(tmp_path / name)
    assert np.array_equal(found.voxels, phantom.voxels)
    assert found.geometry.difference_mm(phantom.geometry) < 1e-9
    data = (tmp_path / name).read_bytes()
    for cut in (1, 5, 100, len(data) - 100, len(data) - 10):
        (tmp_path / name).write_bytes(data[:-cut])
        with pytest.raises(InputError, match=name):
            read_volume(tmp_path / name)


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
def test_any_flipped_byte_of_compressed_voxels_is_refused(name: str, phantom: Volume, tmp_path: Path) -> None:
    write_volume(tmp_path / name, phantom)
    data = (tmp_path / name).read_bytes()
    start = (data.index(b"\n\n") + 12) if name == "a.nrrd" else data.index(b"LOCAL\n") + 6
    for position in range(start, len(data), 11):
        spoiled = bytearray(data)
        spoiled[position] ^= 0x10
        (tmp_path / name).write_bytes(spoiled)
        with pytest.raises(InputError, match=name):
            read_volume(tmp_path / name)


@pytest.mark.parametrize(
    ("change", "found", "kind"),
    [
        (("NRRD0004", "NOT"), "is not a NRRD file", UnsupportedFormatError),
        (("space: left-posterior-superior\n", ""), "space is 'not given'", GeometryError),
        (("left-posterior-superior", "scanner-xyz"), "scanner-xyz", GeometryError),
        (("space origin: (1,2,3)\n", ""), "'space origin' is 'not given'", GeometryError),
        (
            ("space directions: (1,0,0) (0,1,0) (0,0,2)\n", ""),
            "'space directions' is 'not given'",
            GeometryError,
        ),
        (("(0,1,0)", "(0.2,1,0)"), "right angles", GeometryError),
        (("(0,1,0)", "(0,0,0)"), "a.nrrd", InputError),
        (("(0,1,0)", "none"), "none", GeometryError),
        (("sizes: 7 6 5", "sizes: 7 6"), "contradict", InputError),
        (("sizes: 7 6 5", "sizes: 7 6 0"), "7 × 6 × 0 is not a volume", InputError),
        (("sizes: 7 6 5", "sizes: 7 6 x"), "not whole numbers", InputError),
        (("sizes: 7 6 5", "sizes: 99999 99999 99999"), "voxels", InputError),
        (("sizes: 7 6 5", "sizes: 7 6 50"), "cut short", InputError),
        (("dimension: 3", "dimension: 2"), "contradict", InputError),
        (("type: short", "type: block"), "its type is 'block'", UnsupportedFormatError),
        (("endian: little\n", ""), "endian is 'not given'", UnsupportedFormatError),
        (("encoding: raw", "encoding: bzip2"), "encoding is 'bzip2'", UnsupportedFormatError),
        (("encoding: raw", "encoding: gzip"), "damaged", InputError),
        (("encoding: raw", "byte skip: 4\nencoding: raw"), "byte skip", UnsupportedFormatError),
        (("encoding: raw", "encoding: raw\ndata file: LIST"), "several files", UnsupportedFormatError),
        (("encoding: raw", "encoding: raw\ndata file: a%d.raw 1 9 1"), "several", UnsupportedFormatError),
    ],
)
def test_faulty_nrrd_is_refused_by_name(
    change: tuple[str, str], found: str, kind: type[InputError], tmp_path: Path
) -> None:
    path = nrrd(tmp_path / "a.nrrd", change)
    with pytest.raises(kind, match=found) as caught:
        read_volume(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("change", "found", "kind"),
    [
        (("ObjectType = Image", "ObjectType = Mesh"), "ObjectType", UnsupportedFormatError),
        (("ObjectType = Image", "once upon a time"), "is not a MetaImage", UnsupportedFormatError),
        (("NDims = 3", "NDims = 4"), "contradict", InputError),
        (("DimSize = 7 6 5", "DimSize = 7 6 0"), "is not a volume", InputError),
        (("DimSize = 7 6 5", "DimSize = 7 60 1"), "7 × 60 × 1 is not a volume", InputError),
        (("DimSize = 7 6 5", "DimSize = 7 6 99"), "cut short", InputError),
        (("MET_SHORT", "MET_SHORT_ARRAY"), "ElementType", UnsupportedFormatError),
        (("MET_SHORT", "MET_SHORT\nElementNumberOfChannels = 3"), "Channels", UnsupportedFormatError),
        (("MET_SHORT", "MET_SHORT\nHeaderSize = -1"), "HeaderSize", UnsupportedFormatError),
        (("BinaryData = True", "BinaryData = False"), "BinaryData", UnsupportedFormatError),
        (("ElementSpacing = 1 1 2\n", ""), "no ElementSpacing", GeometryError),
        (("0 1 0 0 0 1", "0.3 1 0 0 0 1"), "right angles", GeometryError),
        (("0 1 0 0 0 1", "0 0 0 0 0 1"), "a.mha", InputError),
        (("CompressedData = False", "CompressedData = True"), "damaged", InputError),
    ],
)
def test_faulty_metaimage_is_refused_by_name(
    change: tuple[str, str], found: str, kind: type[InputError], tmp_path: Path
) -> None:
    path = mha(tmp_path / "a.mha", change)
    with pytest.raises(kind, match=found) as caught:
        read_volume(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_detached_voxels_beside_their_header_are_read(tmp_path: Path) -> None:
    (tmp_path / "v.raw").write_bytes(VOXELS.tobytes())
    nrrd(tmp_path / "a.nhdr", ("encoding: raw", "encoding: raw\ndata file: v.raw"), data=b"")
    mha(tmp_path / "a.mhd", data=b"", file="v.raw")
    for name in ("a.nhdr", "a.mhd"):
        assert np.array_equal(read_volume(tmp_path / name).voxels, VOXELS)


def test_a_detached_nrrd_header_may_end_with_its_file(tmp_path: Path) -> None:
    """As ITK writes it: only attached voxels need an empty line before them."""
    (tmp_path / "v.raw").write_bytes(VOXELS.tobytes())
    header = NRRD.replace("encoding: raw", "encoding: raw\ndata file: v.raw")
    (tmp_path / "a.nhdr").write_text(header)
    assert np.array_equal(read_volume(tmp_path / "a.nhdr").voxels, VOXELS)
    (tmp_path / "b.nhdr").write_text(NRRD)
    with pytest.raises(InputError, match="ends within its header"):
        read_volume(tmp_path / "b.nhdr")


@pytest.mark.parametrize("where", ["../v.raw", "sub/v.raw", "{absolute}", "link.raw", "..\\v.raw", "v\0.raw"])
def test_detached_voxels_elsewhere_are_refused(where: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "sub").mkdir(parents=True)
    for folder in (tmp_path, home / "sub"):
        (folder / "v.raw").write_bytes(VOXELS.tobytes())
    (home / "link.raw").symlink_to(tmp_path / "v.raw")
    where = where.format(absolute=tmp_path / "v.raw")
    nrrd(home / "a.nrrd", ("encoding: raw", f"encoding: raw\ndata file: {where}"), data=b"")
    mha(home / "a.mhd", data=b"", file=where)
    for name in ("a.nrrd", "a.mhd"):
        with pytest.raises(UnsupportedFormatError, match=rf"{name}: .*outside its own folder"):
            read_volume(home / name)


def test_missing_detached_voxels_are_named(tmp_path: Path) -> None:
    nrrd(tmp_path / "a.nhdr", ("encoding: raw", "encoding: raw\ndata file: gone.raw"), data=b"")
    with pytest.raises(InputError, match=r"gone\.raw: no such file"):
        read_volume(tmp_path / "a.nhdr")


def test_compressed_bombs_are_refused(tmp_path: Path) -> None:
    bomb = VOXELS.tobytes() + bytes(32 << 20)
    nrrd(tmp_path / "a.nrrd", ("encoding: raw", "encoding: gzip"), data=gzip.compress(bomb))
    mha(tmp_path / "a.mha", ("CompressedData = False", "CompressedData = True"), data=zlib.compress(bomb))
    for name in ("a.nrrd", "a.mha"):
        with pytest.raises(InputError, match=r"far more data than its header declares"):
            read_volume(tmp_path / name)


def test_header_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.nrrd").write_bytes(b"NRRD0004\n" + b"# x\n" * 500_000)
    (tmp_path / "b.nrrd").write_bytes(b"NRRD0004\n# x\n")
    with pytest.raises(InputError, match=r"does not end within"):
        read_volume(tmp_path / "a.nrrd")
    with pytest.raises(InputError, match=r"ends within its header"):
        read_volume(tmp_path / "b.nrrd")


def test_big_endian_voxels_are_read(tmp_path: Path) -> None:
    data = VOXELS.astype(">i2").tobytes()
    nrrd(tmp_path / "a.nrrd", ("endian: little", "endian: big"), data=data)
    mha(tmp_path / "a.mha", ("ByteOrderMSB = False", "ByteOrderMSB = True"), data=data)
    for name in ("a.nrrd", "a.mha"):
        assert np.array_equal(read_volume(tmp_path / name).voxels, VOXELS)


def test_nan_in_float_voxels_is_refused(tmp_path: Path) -> None:
    data = np.full(210, np.nan, dtype=np.float32).tobytes()
    with pytest.raises(InputError, match=r"210 voxels are NaN"):
        read_volume(nrrd(tmp_path / "a.nrrd", ("type: short", "type: float"), data=data))
