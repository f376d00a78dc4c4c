import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import nibabel as nib
import numpy as np
import pytest

from thoar.core.errors import GeometryError, InputError, ResourceError, UnsupportedFormatError
from thoar.core.labels import SEGTHOR
from thoar.core.volume import LabelVolume, Volume
from thoar.io import nifti

RAS = np.diag([-2.0, -2, 3, 1])


def save(
    path: Path, voxels: np.ndarray | None = None, *, edit: Callable[[nib.Nifti1Header], object] | None = None
) -> Path:
    """Write a file with nibabel, then change header fields in its bytes."""
    if voxels is None:
        voxels = np.arange(7 * 6 * 5, dtype=np.int16).reshape(7, 6, 5)
    image = nib.Nifti1Image(voxels, RAS)
    image.header.set_qform(RAS, 1)
    image.header.set_sform(RAS, 1)
    plain = image.to_bytes()
    if edit is not None:
        header = nib.Nifti1Header(plain[:348], check=False)
        edit(header)
        plain = header.binaryblock + plain[348:]
    path.write_bytes(gzip.compress(plain) if path.suffix == ".gz" else plain)
    return path


def setting(**fields: object) -> Callable[[nib.Nifti1Header], object]:
    def edit(header: nib.Nifti1Header) -> None:
        for name, value in fields.items():
            header[name] = value

    return edit


def dims(*sizes: int) -> Callable[[nib.Nifti1Header], object]:
    return setting(dim=[*sizes, *[1] * (8 - len(sizes))])


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_files_of_nibabel_are_read_whole(name: str, tmp_path: Path) -> None:
    volume = nifti.read(save(tmp_path / name))
    assert volume.voxels.dtype == np.int16
    assert volume.voxels.shape == (5, 6, 7)
    assert volume.voxels[4, 3, 2] == np.arange(210).reshape(7, 6, 5)[2, 3, 4]
    assert volume.geometry.position_xyz_mm((1, 1, 1)) == (2.0, 2.0, 3.0)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_cut_files_are_refused_wherever_they_are_cut(name: str, tmp_path: Path) -> None:
    whole = save(tmp_path / name, np.random.default_rng(0).integers(0, 99, (7, 6, 5)).astype(np.int16))
    data = whole.read_bytes()
    for share in (0.01, 0.3, 0.6, 0.9, 0.99):
        whole.write_bytes(data[: int(share * len(data))])
        with pytest.raises(InputError, match=r"cut short") as caught:
            nifti.read(whole)
        assert str(whole) in str(caught.value)


def test_whole_gzip_of_a_cut_file_is_refused(tmp_path: Path) -> None:
    data = gzip.decompress(save(tmp_path / "a.nii.gz").read_bytes())
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(data[:-9]))
    with pytest.raises(InputError, match=r"411 of 420 bytes"):
        nifti.read(tmp_path / "a.nii.gz")


def test_any_flipped_byte_of_a_gzip_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", np.random.default_rng(0).integers(0, 99, (7, 6, 5)).astype(np.int16))
    data = path.read_bytes()
    for position in range(10, len(data), 7):
        spoiled = bytearray(data)
        spoiled[position] ^= 0x10
        path.write_bytes(spoiled)
        with pytest.raises(InputError, match=r"a\.nii\.gz"):
            nifti.read(path)


def test_gz_name_without_gzip_and_gzip_without_gz_name_are_read(tmp_path: Path) -> None:
    plain = save(tmp_path / "a.nii").read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(plain)
    (tmp_path / "c.nii").write_bytes(gzip.compress(plain))
    assert np.array_equal(nifti.read(tmp_path / "b.nii.gz").voxels, nifti.read(tmp_path / "c.nii").voxels)


def test_gzip_bomb_is_refused_while_streaming(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = gzip.decompress(save(tmp_path / "a.nii.gz").read_bytes())
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(data + bytes(64 << 20)))
    read = gzip.GzipFile.read
    taken = []

    def counted(self: gzip.GzipFile, size: int = -1) -> bytes:
        taken.append(size)
        return read(self, size)

    monkeypatch.setattr(gzip.GzipFile, "read", counted)
    with pytest.raises(InputError, match=r"far more data than its header declares"):
        nifti.read(tmp_path / "a.nii.gz")
    assert max(taken) <= 1 << 20
    assert sum(taken) < 8 << 20


@pytest.mark.parametrize(
    ("edit", "found", "kind"),
    [
        (setting(sform_code=0, qform_code=0), "are both 0", GeometryError),
        (setting(srow_x=[2, 0, 0, 0]), "disagree by up to", GeometryError),
        (setting(qoffset_z=3), "disagree by up to 3.00 mm", GeometryError),
        (setting(srow_x=[0] * 4, srow_y=[0] * 4, srow_z=[0] * 4), "axis without length", GeometryError),
        (setting(srow_x=[-2, 0.4, 0, 0], qform_code=0), "right angles", GeometryError),
        (setting(srow_x=[np.nan, 0, 0, 0]), "no numbers", GeometryError),
        (setting(quatern_b=3, sform_code=0), "qform is no rotation", GeometryError),
        (setting(pixdim=[1, 2, 0, 3, 1, 1, 1, 1]), "no length", GeometryError),
        (setting(pixdim=[1, 2, -2, 3, 1, 1, 1, 1]), "no length", GeometryError),
        (setting(xyzt_units=5), "unknown code 5", GeometryError),
        (dims(2, 7, 30), "7 × 30 is not a volume", InputError),
        (dims(3, 7, 30, 1), "7 × 30 × 1 is not a volume", InputError),
        (dims(3, 0, 30, 1), "is not a volume", InputError),
        (dims(3, -7, 6, 5), "is not a volume", InputError),
        (dims(0), "no axes is not a volume", InputError),
        (dims(-3, 7, 6, 5), "is not a|is not a NIfTI", InputError),
        (dims(4, 7, 5, 2, 3), "series of volumes", InputError),
        (dims(3, 32767, 32767, 32767), "32767 × 32767 × 32767 voxels", InputError),
        (dims(3, 900, 900, 900), "cut short: 420 of 1458000000 bytes", InputError),
        (setting(datatype=128, bitpix=24), "type", UnsupportedFormatError),
        (setting(datatype=32, bitpix=64), "complex64", UnsupportedFormatError),
        (setting(datatype=1536, bitpix=128), "type", UnsupportedFormatError),
        (setting(datatype=77), "unknown type", UnsupportedFormatError),
        (setting(vox_offset=np.nan), "begin at byte nan", InputError),
        (setting(vox_offset=0), "begin at byte 0", InputError),
        (setting(vox_offset=1e30), "which cannot be", InputError),
        (setting(scl_slope=2, scl_inter=np.inf), "scl_inter is inf", InputError),
        (setting(sizeof_hdr=77), "is not a NIfTI file", UnsupportedFormatError),
        (setting(magic=b"ni1"), "two-file", UnsupportedFormatError),
        (setting(magic=b""), "Analyze", UnsupportedFormatError),
    ],
)
def test_faulty_header_is_refused_by_name(
    edit: Callable[[nib.Nifti1Header], object], found: str, kind: type[InputError], tmp_path: Path
) -> None:
    path = save(tmp_path / "bad.nii.gz", edit=edit)
    with pytest.raises(kind, match=found) as caught:
        nifti.read(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("data", [b"", b"\x1f\x8b", b"not a scan", bytes(1000)])
def test_files_that_are_no_nifti_are_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.nii: "):
        nifti.read(tmp_path / "a.nii")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers_are_counted_and_placed(value: float, tmp_path: Path) -> None:
    voxels = np.zeros((7, 6, 5), dtype=np.float32)
    voxels[6, 1, 2], voxels[1, 2, 3] = value, value
    with pytest.raises(InputError, match=r"2 voxels .* \(z, y, x\) = \(2, 1, 6\)"):
        nifti.read(save(tmp_path / "a.nii", voxels))


def test_float64_beyond_float32_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"NaN or infinite"):
        nifti.read(save(tmp_path / "a.nii", np.full((3, 3, 3), 1e300)))


def test_huge_whole_numbers_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", edit=setting(datatype=768, bitpix=32, dim=[3, 7, 5, 3, 1, 1, 1, 1]))
    data = path.read_bytes()
    path.write_bytes(data[:352] + struct.pack("<105I", *[4_000_000_000] * 105))
    with pytest.raises(InputError, match=r"4000000000 are neither HU nor label ids"):
        nifti.read(path)


def test_slope_of_zero_or_nan_means_one(tmp_path: Path) -> None:
    for slope in (0, np.nan):
        volume = nifti.read(save(tmp_path / "a.nii", edit=setting(scl_slope=slope, scl_inter=5)))
        assert volume.voxels.max() == 209


def test_slope_and_intercept_are_applied(tmp_path: Path) -> None:
    whole = nifti.read(save(tmp_path / "a.nii", edit=setting(scl_slope=2, scl_inter=-1024)))
    assert whole.voxels.dtype == np.int16
    assert (whole.voxels.min(), whole.voxels.max()) == (-1024, -1024 + 2 * 209)
    part = nifti.read(save(tmp_path / "b.nii", edit=setting(scl_slope=0.5, scl_inter=0)))
    assert part.voxels.dtype == np.float32
    assert part.voxels.max() == 104.5


def test_series_of_one_volume_is_squeezed(tmp_path: Path) -> None:
    assert nifti.read(save(tmp_path / "a.nii", edit=dims(5, 7, 6, 5, 1, 1))).voxels.shape == (5, 6, 7)


@pytest.mark.parametrize(("unit", "scale"), [(0, 1.0), (1, 1000.0), (2, 1.0), (3, 0.001)])
def test_units_are_converted_to_millimetres(unit: int, scale: float, tmp_path: Path) -> None:
    volume = nifti.read(save(tmp_path / "a.nii", edit=setting(xyzt_units=unit)))
    assert np.allclose(volume.geometry.spacing_zyx_mm, np.array([3, 2, 2]) * scale)


def test_slight_shear_and_slight_disagreement_are_read_and_the_sform_counts(tmp_path: Path) -> None:
    edit = setting(srow_x=[-2, 4e-4, 0, 0.1])
    volume = nifti.read(save(tmp_path / "a.nii", edit=edit))
    assert volume.geometry.lps_from_index[0, 1] == -np.float32(4e-4)
    assert volume.geometry.lps_from_index[0, 3] == -np.float32(0.1)


def test_qfac_of_zero_means_one(tmp_path: Path) -> None:
    edit = setting(pixdim=[0, 2, 2, 3, 1, 1, 1, 1], sform_code=0)
    assert nifti.read(save(tmp_path / "a.nii", edit=edit)).geometry.spacing_zyx_mm == (3.0, 2.0, 2.0)


def test_big_endian_and_nifti_2_are_read(tmp_path: Path) -> None:
    voxels = np.arange(210, dtype=np.int16).reshape(7, 6, 5)
    big = nib.Nifti1Header(endianness=">")
    nib.save(nib.Nifti1Image(voxels, RAS, big), tmp_path / "big.nii")
    nib.save(nib.Nifti2Image(voxels, RAS), tmp_path / "two.nii.gz")
    for name in ("big.nii", "two.nii.gz"):
        assert np.array_equal(nifti.read(tmp_path / name).voxels, voxels.T)


def test_a_few_bytes_too_many_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = save(tmp_path / "a.nii")
    path.write_bytes(path.read_bytes() + bytes(200))
    nifti.read(path)
    assert "200 bytes after the voxels are ignored" in caplog.text


def test_written_label_file_is_plain(phantom: Volume, tmp_path: Path) -> None:
    voxels = (phantom.voxels % 5).astype(np.uint8)
    nifti.write(
        tmp_path / "a.nii.gz", LabelVolume(voxels=voxels, geometry=phantom.geometry, label_set=SEGTHOR)
    )
    header = nib.Nifti1Image.from_filename(tmp_path / "a.nii.gz").header
    raw = nib.Nifti1Header(gzip.decompress((tmp_path / "a.nii.gz").read_bytes())[:348])
    assert header.get_data_dtype() == np.uint8
    assert (raw["scl_slope"], raw["scl_inter"], raw["xyzt_units"]) == (1, 0, 2)
    assert (raw["sform_code"], raw["qform_code"], raw["vox_offset"]) == (1, 1, 352)
    assert np.allclose(header.get_sform(), header.get_qform(), atol=1e-4)


def test_file_that_reads_back_differently_never_gets_its_name(
    phantom: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nifti, "_write_to", Mock())
    with pytest.raises(ResourceError, match=r"cannot be read back"):
        nifti.write(tmp_path / "a.nii", phantom)
    assert not list(tmp_path.iterdir())


def test_more_voxels_along_an_axis_than_nifti_holds_are_refused(phantom: Volume, tmp_path: Path) -> None:
    voxels = np.zeros((2, 2, 40000), dtype=np.uint8)
    geometry = type(phantom.geometry).axial((2, 2, 40000), (1.0, 1.0, 1.0))
    with pytest.raises(UnsupportedFormatError, match=r"NIfTI-1 cannot hold"):
        nifti.write(tmp_path / "a.nii", Volume(voxels=voxels, geometry=geometry))
