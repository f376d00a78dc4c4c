import logging
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from thoar.core.errors import InputError, UnsupportedFormatError
from thoar.core.volume import Volume
from thoar.io.dicom.attributes import Slice
from thoar.io.dicom.parse import slices_of
from thoar.io.dicom.pixel_data import stored_pixels
from thoar.io.dicom.pixels import hu_of, is_padding

Edit = Callable[[pydicom.Dataset], object]


@pytest.fixture
def one(phantom: Volume, write_series: Callable[..., Path]) -> Callable[[Edit], Slice]:
    """Write slice 0 of the phantom, edited, and parse it."""

    def write(edit: Edit) -> Slice:
        path = write_series(phantom, edit=lambda ds, k: edit(ds) if k == 0 else None) / "99"
        return slices_of(path)[0]

    return write


def setting(**fields: object) -> Edit:
    def edit(ds: pydicom.Dataset) -> None:
        for name, value in fields.items():
            setattr(ds, name, value)

    return edit


def storing(stored: np.ndarray, **fields: object) -> Edit:
    """Put other stored values in the slice, with a type of their own."""

    def edit(ds: pydicom.Dataset) -> None:
        ds.Rows, ds.Columns = stored.shape
        ds.BitsAllocated = ds.BitsStored = stored.dtype.itemsize * 8
        ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, int(stored.dtype.kind == "i")
        ds.PixelData = stored.tobytes()
        setting(**fields)(ds)

    return edit


def unscaled(ds: pydicom.Dataset) -> None:
    del ds.RescaleSlope, ds.RescaleIntercept
    ds.PixelData = np.abs(np.frombuffer(ds.PixelData, np.int16)).tobytes()


def test_rescale_is_applied_exactly(one: Callable[[Edit], Slice], phantom: Volume) -> None:
    hu = hu_of(one(setting()))
    assert hu.dtype == np.int16
    assert np.array_equal(hu, phantom.voxels[0])
    half = hu_of(one(setting(RescaleSlope="0.5", RescaleIntercept="-100")))
    assert half.dtype == np.float32
    assert np.array_equal(half, (phantom.voxels[0] + 24.0) * 0.5 - 100)


@pytest.mark.parametrize(
    ("edit", "found", "kind"),
    [
        (setting(PhotometricInterpretation="MONOCHROME1"), "MONOCHROME1", UnsupportedFormatError),
        (
            setting(SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0),
            "RGB",
            UnsupportedFormatError,
        ),
        (lambda ds: delattr(ds, "PixelData"), "has no PixelData", UnsupportedFormatError),
        (
            lambda ds: (delattr(ds, "PixelData"), setattr(ds, "FloatPixelData", bytes(6 * 7 * 4))),
            "has no PixelData but FloatPixelData",
            UnsupportedFormatError,
        ),
        (
            lambda ds: (delattr(ds, "PixelData"), setattr(ds, "DoubleFloatPixelData", bytes(6 * 7 * 8))),
            "has no PixelData but DoubleFloatPixelData",
            UnsupportedFormatError,
        ),
        (
            lambda ds: setattr(ds, "PixelData", ds.PixelData[:-20]),
            "PixelData holds 64 bytes where Rows × Columns .* need 84",
            InputError,
        ),
        (setting(RescaleSlope="0"), "RescaleSlope is 0", InputError),
        (setting(RescaleSlope="-1"), "RescaleSlope is -1", InputError),
        (lambda ds: delattr(ds, "RescaleSlope"), "RescaleSlope is missing", InputError),
        (lambda ds: delattr(ds, "RescaleIntercept"), "RescaleIntercept is missing", InputError),
        (setting(ModalityLUTSequence=[pydicom.Dataset()]), "ModalityLUTSequence", UnsupportedFormatError),
        (unscaled, "its HU are unknown.*--assume-intercept", InputError),
        (setting(PixelRepresentation=0), "without their sign", InputError),
        (setting(BitsStored=12, HighBit=15), "BitsStored 12, HighBit 15", UnsupportedFormatError),
        (setting(BitsAllocated=12, BitsStored=12, HighBit=11), "BitsAllocated 12", UnsupportedFormatError),
        (setting(BitsStored=17, HighBit=16), "BitsStored 17", UnsupportedFormatError),
        (setting(PixelRepresentation=2), "PixelRepresentation 2", InputError),
        (lambda ds: delattr(ds, "BitsStored"), "BitsStored is missing", InputError),
    ],
)
def test_pixels_without_certain_hu_are_refused(
    edit: Edit, found: str, kind: type[InputError], one: Callable[[Edit], Slice]
) -> None:
    item = one(edit)
    with pytest.raises(kind, match=f"99: .*{found}"):
        hu_of(item)


def test_an_intercept_is_assumed_only_where_the_file_has_none(
    one: Callable[[Edit], Slice], phantom: Volume
) -> None:
    stored = np.abs(phantom.voxels[0] + 24)
    assert np.array_equal(hu_of(one(unscaled), assume_intercept=-1024), stored - 1024)
    assert np.array_equal(hu_of(one(setting()), assume_intercept=-1024), phantom.voxels[0])


def test_negative_pixels_without_rescale_prove_nothing(one: Callable[[Edit], Slice], phantom: Volume) -> None:
    def edit(ds: pydicom.Dataset) -> None:
        del ds.RescaleSlope, ds.RescaleIntercept

    with pytest.raises(InputError, match=r"its HU are unknown.*--assume-intercept 0"):
        hu_of(one(edit))
    assert np.array_equal(hu_of(one(edit), assume_intercept=0), phantom.voxels[0] + 24)


def test_an_assumed_intercept_is_said(one: Callable[[Edit], Slice], caplog: pytest.LogCaptureFixture) -> None:
    hu_of(one(unscaled), assume_intercept=-1024)
    assert "has no RescaleIntercept; -1024 was assumed" in caplog.text


def test_other_modalities_need_no_rescale(one: Callable[[Edit], Slice], phantom: Volume) -> None:
    def edit(ds: pydicom.Dataset) -> None:
        del ds.RescaleSlope, ds.RescaleIntercept
        ds.Modality = "MR"

    assert np.array_equal(hu_of(one(edit)), phantom.voxels[0] + 24)


def test_bits_beyond_those_stored_are_masked(one: Callable[[Edit], Slice], phantom: Volume) -> None:
    overlaid = (phantom.voxels[0] + 1024).astype(np.uint16) | 0xF000
    edit = storing(overlaid, BitsStored=12, HighBit=11, RescaleIntercept="-1024")
    assert np.array_equal(hu_of(one(edit)), phantom.voxels[0])
    signed = (phantom.voxels[0].clip(-2048, 2047) & 0x0FFF).astype(np.int16)
    edit = storing(signed, BitsStored=12, HighBit=11, RescaleIntercept="0")
    assert np.array_equal(hu_of(one(edit)), phantom.voxels[0].clip(-2048, 2047))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.uint32])
def test_whole_numbers_of_any_width_are_read(dtype: type, one: Callable[[Edit], Slice]) -> None:
    stored = np.arange(42).reshape(6, 7).astype(dtype)
    assert np.array_equal(hu_of(one(storing(stored, RescaleIntercept="-5"))), np.arange(42).reshape(6, 7) - 5)


def test_metal_does_not_overflow(one: Callable[[Edit], Slice]) -> None:
    stored = np.full((2, 2), 60_000, dtype=np.uint16)
    hu = hu_of(one(storing(stored, RescaleSlope="0.6", RescaleIntercept="-1024")))
    assert hu.dtype == np.float32
    assert np.allclose(hu, 34_976)
    stored[0, 0] = 31_024
    hu = hu_of(one(storing(stored.clip(0, 31_024), RescaleIntercept="-1024")))
    assert hu.dtype == np.int16
    assert hu.max() == 30_000


def test_pixel_data_too_long_is_warned_of(
    one: Callable[[Edit], Slice], phantom: Volume, caplog: pytest.LogCaptureFixture
) -> None:
    item = one(lambda ds: setattr(ds, "PixelData", ds.PixelData + bytes(40)))
    assert np.array_equal(hu_of(item), phantom.voxels[0])
    assert "99: PixelData is 40 bytes longer than its pixels" in caplog.text


def test_a_frame_too_many_is_refused(one: Callable[[Edit], Slice]) -> None:
    for edit in (
        lambda ds: setattr(ds, "PixelData", ds.PixelData * 2),
        setting(BitsAllocated=8, BitsStored=8, HighBit=7),
    ):
        with pytest.raises(InputError, match=r"99: PixelData is \d+ bytes longer than .*BitsAllocated"):
            hu_of(one(edit))


def test_float_pixels_are_named_whatever_else_lacks(one: Callable[[Edit], Slice]) -> None:
    def edit(ds: pydicom.Dataset) -> None:
        del ds.PixelData, ds.BitsStored, ds.HighBit, ds.PixelRepresentation
        ds.FloatPixelData = bytes(6 * 7 * 4)

    with pytest.raises(UnsupportedFormatError, match="99: has no PixelData but FloatPixelData"):
        hu_of(one(edit))


def test_a_name_that_slipped_into_a_code_is_not_shown(one: Callable[[Edit], Slice]) -> None:
    item = one(setting())
    item.header.PhotometricInterpretation = "SECRET"
    with pytest.raises(UnsupportedFormatError, match="99: its PhotometricInterpretation is unreadable"):
        hu_of(item)
    item = one(setting())
    for value in ("SECRET", "17", "12.5"):
        item.header.file_meta.TransferSyntaxUID = UID(value, validation_mode=0)
        with pytest.raises(UnsupportedFormatError, match="99: its TransferSyntaxUID is unreadable"):
            hu_of(item)


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless])
def test_jpeg_of_more_than_16_bits_reaches_no_decoder(syntax: str, one: Callable[[Edit], Slice]) -> None:
    edit = compressed(syntax, jpeg_ls())
    item = one(lambda ds: (edit(ds), setting(BitsAllocated=32)(ds)))
    with pytest.raises(InputError, match=r"99: BitsAllocated is 32 where JPEG.* has at most 16 bits"):
        hu_of(item)


def test_a_file_cut_within_its_pixels_is_refused(one: Callable[[Edit], Slice]) -> None:
    item = one(setting())
    data = item.path.read_bytes()
    item.path.write_bytes(data[:-30])
    with pytest.raises(InputError, match="99: PixelData holds 54 bytes"):
        hu_of(item)


@pytest.mark.parametrize(
    ("signed", "declared", "stored"),
    [(1, 63536, -2000), (1, -2000, -2000), (0, 63536, 63536), (0, -2000, 63536)],
)
def test_padding_is_known_with_or_without_its_sign(
    signed: int,
    declared: int,
    stored: int,
    one: Callable[[Edit], Slice],
    phantom: Volume,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pixels = np.maximum(phantom.voxels[0], 0).astype(np.int32)
    pixels[0, :2] = stored

    def edit(ds: pydicom.Dataset) -> None:
        storing(pixels.astype(np.int16 if signed else np.uint16), RescaleIntercept="-1024")(ds)
        ds.add_new("PixelPaddingValue", "SS" if declared < 0 else "US", declared)

    item = one(edit)
    padding = is_padding(item, stored_pixels(item))
    assert padding.sum() == 2
    assert padding[0, :2].all()
    hu = hu_of(item)
    assert hu.dtype == np.int16
    assert set(hu[padding].tolist()) == {-3024}
    assert np.array_equal(hu[~padding], pixels[~padding] - 1024)
    assert ("padding pixels of 62512 HU lack their sign" in caplog.text) == (not signed)


def run_length(ds: pydicom.Dataset) -> None:
    ds.compress(RLELossless)


def big_endian(ds: pydicom.Dataset) -> None:
    ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    ds.PixelData = np.frombuffer(ds.PixelData, "<i2").astype(">i2").tobytes()
    ds["PixelData"].VR = "OW"


def split_in_fragments(ds: pydicom.Dataset) -> None:
    run_length(ds)
    (frame,) = generate_frames(ds.PixelData, number_of_frames=1)
    ds.PixelData = encapsulate([frame], fragments_per_frame=3)


@pytest.mark.parametrize("edit", [run_length, big_endian, split_in_fragments])
def test_other_transfer_syntaxes_give_the_same_pixels(
    edit: Edit, one: Callable[[Edit], Slice], phantom: Volume
) -> None:
    hu = hu_of(one(edit))
    assert hu.dtype.isnative
    assert np.array_equal(hu, phantom.voxels[0])


DECODED = {
    "JPEG 2000": "693_J2KI.dcm",
    "JPEG 2000, unsigned codestream of signed pixels": "J2K_pixelrep_mismatch.dcm",
    "JPEG 2000 lossless": "MR_small_jp2klossless.dcm",
    "JPEG-LS lossless": "MR_small_jpeg_ls_lossless.dcm",
    "JPEG-LS near lossless": "JPEGLSNearLossless_16.dcm",
    "JPEG extended, 12 bits": "JPGExtended.dcm",
    "RLE": "MR_small_RLE.dcm",
    "deflated": "image_dfl.dcm",
}


@pytest.mark.parametrize("name", DECODED)
def test_decoded_pixels_are_those_of_another_decoder(name: str) -> None:
    sitk = pytest.importorskip("SimpleITK")
    path = Path(str(get_testdata_file(DECODED[name], download=False)))
    (item,) = slices_of(path)
    image = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[0]
    slope, intercept = (
        float(item.header.get(k, d)) for k, d in (("RescaleSlope", 1), ("RescaleIntercept", 0))
    )
    stored = stored_pixels(item)
    assert np.array_equal(stored * slope + intercept, image)
    assert stored.dtype.kind == "ui"[item.header.PixelRepresentation]


def test_jpeg_lossless_is_decoded(one: Callable[[Edit], Slice], phantom: Volume, tmp_path: Path) -> None:
    gdcm = pytest.importorskip("gdcm")
    source = one(setting()).path
    reader = gdcm.ImageReader()
    reader.SetFileName(str(source))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(tmp_path / "lossless"))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    (item,) = slices_of(tmp_path / "lossless")
    assert "Lossless" in item.header.file_meta.TransferSyntaxUID.name
    assert np.array_equal(hu_of(item), phantom.voxels[0])


def test_jpeg_baseline_is_decoded_with_a_warning(
    one: Callable[[Edit], Slice], caplog: pytest.LogCaptureFixture
) -> None:
    grey = np.add.outer(np.arange(16), 10 * np.arange(16)).astype(np.uint8)
    buffer = BytesIO()
    Image.fromarray(grey).save(buffer, "JPEG", quality=95)

    def edit(ds: pydicom.Dataset) -> None:
        storing(grey, RescaleIntercept="-1000")(ds)
        compressed(JPEGBaseline8Bit, buffer.getvalue())(ds)

    hu = hu_of(one(edit))
    assert np.array_equal(hu, np.asarray(Image.open(buffer)).astype(np.int16) - 1000)
    assert "99: was compressed with loss (JPEG Baseline" in caplog.text


def test_loss_is_warned_of(one: Callable[[Edit], Slice], caplog: pytest.LogCaptureFixture) -> None:
    hu_of(one(setting(LossyImageCompression="00")))
    assert not caplog.text
    hu_of(one(setting(LossyImageCompression="01")))
    assert "99: was compressed with loss" in caplog.text


def test_real_jpeg_2000_slices_are_those_of_another_decoder(shared_data: Path, tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    with zipfile.ZipFile(shared_data / "ts_dicom_j2k" / "dicom.zip") as archive:
        archive.extractall(tmp_path)
    paths = [path for path in tmp_path.rglob("*") if path.is_file()]
    for path in paths[::7]:
        (item,) = slices_of(path)
        assert item.header.file_meta.TransferSyntaxUID == JPEG2000Lossless
        assert np.array_equal(hu_of(item), sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[0])


def compressed(syntax: str, data: bytes) -> Edit:
    def edit(ds: pydicom.Dataset) -> None:
        ds.file_meta.TransferSyntaxUID = syntax
        ds.PixelData = encapsulate([data])
        ds["PixelData"].VR = "OB"

    return edit


def jpeg_ls(rows: int = 6, columns: int = 7, *, end: bytes = b"\xff\xd9", bits: int = 16) -> bytes:
    sizes = rows.to_bytes(2) + columns.to_bytes(2)
    return b"\xff\xd8\xff\xf7\x00\x0b" + bytes([bits]) + sizes + b"\x01\x01\x11\x00" + bytes(40) + end


@pytest.mark.parametrize(
    ("syntax", "data", "found", "kind"),
    [
        (
            HTJ2KLossless,
            bytes(100),
            r"no decoder for High-Throughput JPEG 2000.*gdcm",
            UnsupportedFormatError,
        ),
        ("1.2.840.10008.1.2.4.102", bytes(100), "no decoder for MPEG-4", UnsupportedFormatError),
        (JPEGLSLossless, jpeg_ls(60_000, 60_000), "compressed image is 60000 × 60000 .* 6 × 7", InputError),
        (JPEGLSLossless, jpeg_ls(bits=24), "24 bits a pixel where BitsAllocated is 16", InputError),
        (JPEGLSLossless, jpeg_ls(end=b""), "has no end: it is cut short", InputError),
        (JPEGLSLossless, jpeg_ls(), "cannot be read as DICOM", InputError),
        (JPEG2000Lossless, b"\xff\x4f\xff\x51" + bytes(60), "compressed image is 0 × 0", InputError),
        (RLELossless, bytes(100), "cannot be read as DICOM", InputError),
    ],
)
def test_compressed_pixels_that_cannot_be_are_refused(
    syntax: str, data: bytes, found: str, kind: type[InputError], one: Callable[[Edit], Slice]
) -> None:
    item = one(compressed(syntax, data))
    with pytest.raises(kind, match=f"99: .*{found}"):
        hu_of(item)


def test_compressed_pixels_cut_short_are_refused(
    one: Callable[[Edit], Slice], phantom: Volume, caplog: pytest.LogCaptureFixture
) -> None:
    item = one(run_length)
    data = item.path.read_bytes()
    assert data.endswith(b"\xfe\xff\xdd\xe0\x00\x00\x00\x00")
    item.path.write_bytes(data[:-8])
    assert np.array_equal(hu_of(item), phantom.voxels[0])
    assert "99: PixelData has no end mark" in caplog.text
    item.path.write_bytes(data[:-20])
    with pytest.raises(InputError, match="99: PixelData is cut short"):
        hu_of(item)


def test_syntax_that_contradicts_the_pixels_is_refused(one: Callable[[Edit], Slice]) -> None:
    item = one(setting())
    item.header.file_meta.TransferSyntaxUID = JPEG2000Lossless
    with pytest.raises(InputError, match="99: PixelData is not encapsulated"):
        hu_of(item)
    item = one(run_length)
    item.header.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    with pytest.raises(InputError, match="99: PixelData is encapsulated"):
        hu_of(item)


def test_a_frame_is_read_without_the_others(
    phantom: Volume, write_series: Callable[..., Path], as_frames: Callable[..., Path]
) -> None:
    path = as_frames(write_series(phantom), order=[4, 3, 2, 1, 0])
    frames = slices_of(path)
    for k, item in enumerate(frames):
        assert item.name == f"{path} frame {k + 1}"
        assert np.array_equal(hu_of(item), phantom.voxels[k])


@pytest.mark.parametrize("table", [True, False])
def test_a_compressed_frame_is_read_without_the_others(
    table: bool, phantom: Volume, write_series: Callable[..., Path], as_frames: Callable[..., Path]
) -> None:
    path = as_frames(write_series(phantom), order=[4, 3, 2, 1, 0])
    ds = pydicom.dcmread(path)
    ds.compress(RLELossless, generate_instance_uid=False)
    if not table:
        ds.PixelData = encapsulate(list(generate_frames(ds.PixelData, number_of_frames=5)), has_bot=False)
    ds.save_as(path)
    for k, item in enumerate(slices_of(path)):
        assert np.array_equal(hu_of(item), phantom.voxels[k])


def test_identity_stays_out_of_debug_lines(
    one: Callable[[Edit], Slice], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    item = one(setting(PatientName="Secret^Name", PatientID="Secret"))
    hu_of(item)
    assert "Secret" not in caplog.text
