import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    HTJ2KLossless,
    MediaStorageDirectoryStorage,
    RLELossless,
    generate_uid,
)

from thoar.core.errors import GeometryError, IncompleteSeriesError, InputError, UnsupportedFormatError
from thoar.core.geometry import Geometry
from thoar.core.volume import Volume, to_canonical
from thoar.io import formats
from thoar.io.dicom.attributes import Slice
from thoar.io.dicom.pixels import hu_of, is_padding
from thoar.io.dicom.series import read

Edit = Callable[[pydicom.Dataset, int], object]

ORIENTATIONS = {
    "axial": ((0, 1, 2), (False, False, False)),
    "head downwards": ((0, 1, 2), (True, False, False)),
    "prone": ((0, 1, 2), (False, True, True)),
    "sagittal": ((2, 0, 1), (False, True, False)),
    "sagittal from the other side": ((2, 0, 1), (True, True, False)),
    "coronal": ((1, 0, 2), (False, True, False)),
    "coronal, rows and columns swapped": ((1, 2, 0), (True, False, True)),
}


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_series_in_any_orientation_lies_where_it_was_taken(
    name: str, phantom: Volume, write_series: Callable[..., Path]
) -> None:
    axes, flipped = ORIENTATIONS[name]
    backwards = tuple(axis for axis in range(3) if flipped[axis])
    taken = Volume(
        voxels=np.flip(phantom.voxels.transpose(axes), backwards),
        geometry=phantom.geometry.reordered(axes, flipped=flipped),
    )
    found = read(write_series(taken))
    assert found.voxels.dtype == np.int16
    matrix = found.geometry.lps_from_index[:3, :3]
    assert np.linalg.det(matrix[:, ::-1]) > 0
    canonical = to_canonical(found)
    assert np.array_equal(canonical.voxels, phantom.voxels)
    assert canonical.geometry.difference_mm(phantom.geometry) < 1e-5


def test_oblique_series_is_read(phantom: Volume, write_series: Callable[..., Path]) -> None:
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]]
    matrix = turn @ phantom.geometry.lps_from_index
    tilted = Volume(voxels=phantom.voxels, geometry=Geometry(shape_zyx=(5, 6, 7), lps_from_index=matrix))
    found = read(write_series(tilted))
    assert np.array_equal(found.voxels, phantom.voxels)
    assert found.geometry.difference_mm(tilted.geometry) < 1e-5


def setting(*slices: int, **fields: object) -> Edit:
    def edit(ds: pydicom.Dataset, k: int) -> None:
        if k in (slices or range(99)):
            for name, value in fields.items():
                setattr(ds, name, value)

    return edit


def deleting(keyword: str, *slices: int) -> Edit:
    return lambda ds, k: delattr(ds, keyword) if k in (slices or range(99)) else None


def moved(x: float, y: float, z: float, *slices: int) -> Edit:
    def edit(ds: pydicom.Dataset, k: int) -> None:
        if k in slices:
            place = np.add(np.array(ds.ImagePositionPatient, dtype=float), (x, y, z))
            ds.ImagePositionPatient = [f"{v:.6f}" for v in place]

    return edit


def sheared(ds: pydicom.Dataset, k: int) -> None:
    moved(0, 0.5 * k, 0, k)(ds, k)


def short(ds: pydicom.Dataset, k: int) -> None:
    if k == 2:
        ds.PixelData = ds.PixelData[:-20]


def unsigned(ds: pydicom.Dataset, k: int) -> None:
    ds.PixelRepresentation = 0


def colour(ds: pydicom.Dataset, k: int) -> None:
    ds.SamplesPerPixel, ds.PlanarConfiguration, ds.PhotometricInterpretation = 3, 0, "RGB"
    ds.PixelData = ds.PixelData * 3


def unscaled(ds: pydicom.Dataset, k: int) -> None:
    del ds.RescaleSlope, ds.RescaleIntercept
    ds.PixelData = np.abs(np.frombuffer(ds.PixelData, np.int16)).tobytes()


@pytest.mark.parametrize(
    ("edit", "found", "kind"),
    [
        (deleting("ImagePositionPatient", 2), "97: ImagePositionPatient is missing", GeometryError),
        (setting(2, ImagePositionPatient=["1", "2"]), "97: ImagePositionPatient", GeometryError),
        (deleting("ImageOrientationPatient", 1), "98: ImageOrientationPatient is missing", GeometryError),
        (setting(ImageOrientationPatient=list("200020")), "no unit vectors", GeometryError),
        (setting(ImageOrientationPatient=[1, 0, 0, 0.6, 0.8, 0]), "not at right angles", GeometryError),
        (
            setting(3, ImageOrientationPatient=[0, 1, 0, 0, 0, -1]),
            "ImageOrientationPatient differs",
            GeometryError,
        ),
        (deleting("PixelSpacing"), "PixelSpacing is missing", GeometryError),
        (setting(PixelSpacing=[0, 1]), "no length", GeometryError),
        (setting(PixelSpacing=[1, -1]), "no length", GeometryError),
        (setting(1, PixelSpacing=[1.5, 1.5]), "PixelSpacing differs", GeometryError),
        (moved(0, 0, 0.5, 2), r"apart .* where the others lie 2\.500", IncompleteSeriesError),
        (moved(0, 0, 40, 4), "97|98|95|96", IncompleteSeriesError),
        (moved(0, 0, 2.5, 2), "lies in the same place as", IncompleteSeriesError),
        (moved(10, 0, 0, 3, 4), "sideways", GeometryError),
        (sheared, r"sheared by 11\.3°", GeometryError),
        (setting(2, Rows=3, Columns=14), "97.*Rows differs|Rows differs", IncompleteSeriesError),
        (setting(2, FrameOfReferenceUID="1.2.3"), "FrameOfReferenceUID differs", IncompleteSeriesError),
        (setting(2, StudyInstanceUID="1.2.3"), "StudyInstanceUID differs", IncompleteSeriesError),
        (setting(2, PatientID="other"), "PatientID differs", IncompleteSeriesError),
        (setting(2, SeriesInstanceUID="1.2.3"), r"holds 2 series \(CT .*images", InputError),
        (setting(Modality="MR"), "Modality is MR, not CT", UnsupportedFormatError),
        (setting(2, NumberOfFrames=3), "multi-frame", UnsupportedFormatError),
        (setting(PhotometricInterpretation="MONOCHROME1"), "MONOCHROME1", UnsupportedFormatError),
        (colour, "RGB", UnsupportedFormatError),
        (deleting("PixelData", 2), "97: has no PixelData", UnsupportedFormatError),
        (short, "97: cannot be read as DICOM", InputError),
        (setting(2, RescaleSlope="0"), "97: RescaleSlope is 0", InputError),
        (deleting("RescaleSlope"), "RescaleSlope is missing", InputError),
        (setting(ModalityLUTSequence=[pydicom.Dataset()]), "ModalityLUTSequence", UnsupportedFormatError),
        (unscaled, "its HU are unknown", InputError),
        (unsigned, "without their sign", InputError),
        (deleting("Modality", 0), "99: has no Modality", InputError),
        (deleting("SeriesInstanceUID", 0), "99: has no SeriesInstanceUID", InputError),
        (setting(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "no DICOM images", InputError),
    ],
)
def test_faulty_series_is_refused_by_name(
    edit: Edit, found: str, kind: type[InputError], phantom: Volume, write_series: Callable[..., Path]
) -> None:
    folder = write_series(phantom, edit=edit)
    with pytest.raises(kind, match=found) as caught:
        read(folder)
    assert str(caught.value).startswith(str(folder))
    assert "Nobody" not in str(caught.value)


def test_missing_middle_slice_is_refused_between_its_neighbours(
    phantom: Volume, write_series: Callable[..., Path]
) -> None:
    folder = write_series(phantom)
    (folder / "97").unlink()
    with pytest.raises(IncompleteSeriesError, match=r"98 and 96 lie 5\.000 mm apart .* others lie 2\.500"):
        read(folder)


def test_two_slices_are_no_volume(phantom: Volume, write_series: Callable[..., Path]) -> None:
    folder = write_series(phantom)
    for name in ("95", "96", "97"):
        (folder / name).unlink()
    with pytest.raises(IncompleteSeriesError, match=r"2 slices are no volume"):
        read(folder)


def test_slice_stored_twice_counts_once(
    phantom: Volume, write_series: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_series(phantom)
    (folder / "copy.dcm").write_bytes((folder / "97").read_bytes())
    again = pydicom.dcmread(folder / "96")
    again.SOPInstanceUID = generate_uid()
    again.save_as(folder / "again")
    assert np.array_equal(read(folder).voxels, phantom.voxels)
    assert caplog.text.count("left out") == 2


def test_truncated_and_empty_slices_are_named(phantom: Volume, write_series: Callable[..., Path]) -> None:
    folder = write_series(phantom)
    data = (folder / "97").read_bytes()
    for share in (0.16, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95):
        (folder / "97").write_bytes(data[: int(share * len(data))])
        with pytest.raises(InputError, match=r"97"):
            read(folder)
    (folder / "97").rename(folder / "97.dcm")
    (folder / "97.dcm").write_bytes(b"")
    with pytest.raises(InputError, match=r"97\.dcm: the file is empty"):
        read(folder)


def test_junk_in_the_folder_is_left_out(
    phantom: Volume, write_series: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_series(phantom)
    (folder / "notes.dcm").write_text("not DICOM at all")
    (folder / ".DS_Store").write_bytes(bytes(10))
    (folder / "sub").mkdir()
    (folder / "99").rename(folder / "sub" / "99.ima")
    os.mkfifo(folder / "pipe")
    (folder / "sub" / "loop").symlink_to(folder, target_is_directory=True)
    index = pydicom.dcmread(folder / "98", stop_before_pixels=True)
    del index.Modality, index.Rows
    index.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    index.save_as(folder / "DICOMDIR")
    plan = pydicom.dcmread(folder / "98", stop_before_pixels=True)
    plan.Modality = "RTPLAN"
    plan.save_as(folder / "plan.dcm")
    caplog.set_level("INFO")
    assert formats.is_dicom_folder(folder)
    assert np.array_equal(formats.read_volume(folder).voxels, phantom.voxels)
    assert "no DICOM file, left out: .DS_Store, notes.dcm, pipe" in caplog.text
    for name in ("plan.dcm", "DICOMDIR"):
        assert f"{name}: skipped" in caplog.text
    assert "Nobody" not in caplog.text


def test_links_out_of_the_folder_are_not_followed(
    phantom: Volume, write_series: Callable[..., Path], tmp_path: Path
) -> None:
    folder = write_series(phantom)
    (folder / "97").rename(tmp_path / "97")
    (folder / "97").symlink_to(tmp_path / "97")
    with pytest.raises(IncompleteSeriesError, match=r"98 and 96"):
        read(folder)


def test_localizer_in_the_series_is_left_out(phantom: Volume, write_series: Callable[..., Path]) -> None:
    folder = write_series(phantom)
    scout = pydicom.dcmread(folder / "97")
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    scout.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    scout.save_as(folder / "scout")
    assert np.array_equal(read(folder).voxels, phantom.voxels)


def test_files_without_preamble_and_meta_information_are_read(
    phantom: Volume, write_series: Callable[..., Path]
) -> None:
    folder = write_series(phantom)
    for path in folder.iterdir():
        ds = pydicom.dcmread(path)
        del ds.file_meta
        ds.preamble = None
        ds.save_as(path, implicit_vr=path.name < "97", little_endian=True)
        assert path.read_bytes()[128:132] != b"DICM"
    assert np.array_equal(read(folder).voxels, phantom.voxels)


def test_each_slice_has_its_own_rescale(phantom: Volume, write_series: Callable[..., Path]) -> None:
    def edit(ds: pydicom.Dataset, k: int) -> None:
        ds.RescaleIntercept = str(-24 + k)
        ds.RescaleSlope = "0.5" if k == 1 else "1"

    found = read(write_series(phantom, edit=edit))
    assert found.voxels.dtype == np.float32
    assert np.array_equal(found.voxels[3], phantom.voxels[3] + 3)
    assert np.array_equal(found.voxels[1], (phantom.voxels[1] + 24.0) * 0.5 - 23)


def test_bits_beyond_those_stored_are_masked(phantom: Volume, write_series: Callable[..., Path]) -> None:
    def edit(ds: pydicom.Dataset, k: int) -> None:
        stored = (phantom.voxels[k] + 1024).astype(np.uint16) | 0xF000
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 12, 11, 0
        ds.RescaleIntercept, ds.PixelData = "-1024", stored.tobytes()

    assert np.array_equal(read(write_series(phantom, edit=edit)).voxels, phantom.voxels)


@pytest.mark.parametrize(
    ("signed", "declared", "stored"),
    [(1, 63536, -2000), (1, -2000, -2000), (0, 63536, 63536), (0, -2000, 63536)],
)
def test_padding_is_known_with_or_without_its_sign(
    signed: int, declared: int, stored: int, phantom: Volume, write_series: Callable[..., Path]
) -> None:
    def edit(ds: pydicom.Dataset, k: int) -> None:
        pixels = (np.maximum(phantom.voxels[k], 0)).astype(np.int32)
        pixels[0, :2] = stored
        ds.PixelRepresentation, ds.RescaleIntercept = signed, "-1024"
        ds.PixelData = pixels.astype(np.int16 if signed else np.uint16).tobytes()
        ds.add_new("PixelPaddingValue", "SS" if declared < 0 else "US", declared)

    path = write_series(phantom, edit=edit) / "99"
    item = Slice(path=path, header=pydicom.dcmread(path, stop_before_pixels=True))
    padding = is_padding(item, pydicom.dcmread(path).pixel_array)
    assert padding.sum() == 2
    assert padding[0, :2].all()
    assert set(hu_of(item)[padding].tolist()) == {stored - 1024}


def run_length(ds: pydicom.Dataset, k: int) -> None:
    ds.compress(RLELossless)


def big_endian(ds: pydicom.Dataset, k: int) -> None:
    ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    ds.PixelData = np.frombuffer(ds.PixelData, "<i2").astype(">i2").tobytes()
    ds["PixelData"].VR = "OW"


@pytest.mark.parametrize("edit", [run_length, big_endian])
def test_other_transfer_syntaxes_give_the_same_pixels(
    edit: Edit, phantom: Volume, write_series: Callable[..., Path]
) -> None:
    assert np.array_equal(read(write_series(phantom, edit=edit)).voxels, phantom.voxels)


def test_syntax_without_decoder_is_named(phantom: Volume, write_series: Callable[..., Path]) -> None:
    folder = write_series(phantom)
    for path in folder.iterdir():
        ds = pydicom.dcmread(path)
        ds.PixelData = pydicom.encaps.encapsulate([ds.PixelData])
        ds.file_meta.TransferSyntaxUID = HTJ2KLossless
        ds.save_as(path)
    with pytest.raises(UnsupportedFormatError, match=r"no decoder for High-Throughput JPEG 2000.*gdcm"):
        read(folder)


def test_deflated_files_are_refused_before_they_swell(
    phantom: Volume, write_series: Callable[..., Path]
) -> None:
    folder = write_series(phantom)
    ds = pydicom.dcmread(folder / "97")
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    ds.save_as(folder / "97")
    with pytest.raises(UnsupportedFormatError, match=r"97: is in Deflated"):
        read(folder)


def test_impossibly_large_images_are_refused(phantom: Volume, write_series: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match=r"65535 × 65535 × 5 voxels"):
        read(write_series(phantom, edit=setting(Rows=65535, Columns=65535)))


def test_spoiled_bytes_never_raise_anything_but_our_errors(
    phantom: Volume, write_series: Callable[..., Path]
) -> None:
    folder = write_series(phantom)
    data = (folder / "97").read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        spoiled = bytearray(data)
        for position in rng.integers(132, len(data) - 84, 3):
            spoiled[position] = int(rng.integers(256))
        (folder / "97").write_bytes(spoiled)
        try:
            read(folder)
        except InputError:
            refused += 1
    assert refused > 50


def unzipped(name: str, shared_data: Path, tmp_path: Path) -> Path:
    with zipfile.ZipFile(shared_data / name / "dicom.zip") as archive:
        archive.extractall(tmp_path / name)
    return tmp_path / name


def test_real_whole_chest_is_read(shared_data: Path, tmp_path: Path) -> None:
    volume = read(unzipped("lung_dx_a0001_soft", shared_data, tmp_path))
    assert volume.voxels.shape == (64, 512, 512)
    assert volume.voxels.dtype == np.int16
    assert np.allclose(volume.geometry.spacing_zyx_mm, (5, 0.841796875, 0.841796875))
    trachea = formats.read_integers(shared_data / "lung_dx_a0001_soft" / "trachea_semi_auto.nii.gz")
    trachea, volume = to_canonical(trachea), to_canonical(volume)
    assert trachea.geometry.same_grid(volume.geometry)
    assert np.median(volume.voxels[trachea.voxels > 0]) < -900


def test_real_series_with_a_missing_slice_is_refused(shared_data: Path, tmp_path: Path) -> None:
    folder = unzipped("gstt_slab", shared_data, tmp_path)
    with pytest.raises(IncompleteSeriesError, match=r"CT000081\.dcm and CT000082\.dcm lie 1\.600 mm apart"):
        read(folder)


def test_real_jpeg_2000_series_without_sop_class_is_read(shared_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("gdcm")
    volume = to_canonical(read(unzipped("ts_dicom_j2k", shared_data, tmp_path)))
    assert volume.voxels.shape == (20, 512, 512)
    assert (volume.voxels.min(), volume.voxels.max()) == (-1024, 1839)
    labels = formats.read_integers(shared_data / "ts_dicom_j2k" / "example_seg_dicom.nii.gz")
    assert to_canonical(labels).geometry.same_grid(volume.geometry)
