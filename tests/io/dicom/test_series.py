import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from thoar.core.errors import GeometryError, IncompleteSeriesError, InputError, UnsupportedFormatError
from thoar.core.geometry import Geometry
from thoar.core.volume import Volume, to_canonical
from thoar.io import formats
from thoar.io.dicom.identity import read_identity
from thoar.io.dicom.records import PLAIN, ReadOptions
from thoar.io.dicom.series import collected, open_series, read_series

Write = Callable[..., Path]

ORIENTATIONS = {
    "axial": ((0, 1, 2), (False, False, False)),
    "head downwards": ((0, 1, 2), (True, False, False)),
    "prone": ((0, 1, 2), (False, True, True)),
    "sagittal": ((2, 0, 1), (False, True, False)),
    "sagittal from the other side": ((2, 0, 1), (True, True, False)),
    "coronal": ((1, 0, 2), (False, True, False)),
    "coronal, rows and columns swapped": ((1, 2, 0), (True, False, True)),
}


def volume_in(path: Path, options: ReadOptions = PLAIN) -> Volume:
    volume = read_series(path, options).volume
    assert volume is not None
    return volume


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_series_in_any_orientation_lies_where_it_was_taken(
    name: str, phantom: Volume, write_series: Write
) -> None:
    axes, flipped = ORIENTATIONS[name]
    backwards = tuple(axis for axis in range(3) if flipped[axis])
    taken = Volume(
        voxels=np.flip(phantom.voxels.transpose(axes), backwards),
        geometry=phantom.geometry.reordered(axes, flipped=flipped),
    )
    found = volume_in(write_series(taken))
    assert found.voxels.dtype == np.int16
    matrix = found.geometry.lps_from_index[:3, :3]
    assert np.linalg.det(matrix[:, ::-1]) > 0
    canonical = to_canonical(found)
    assert np.array_equal(canonical.voxels, phantom.voxels)
    assert canonical.geometry.difference_mm(phantom.geometry) < 1e-5


def test_oblique_series_is_read(phantom: Volume, write_series: Write) -> None:
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]]
    matrix = turn @ phantom.geometry.lps_from_index
    tilted = Volume(voxels=phantom.voxels, geometry=Geometry(shape_zyx=(5, 6, 7), lps_from_index=matrix))
    found = volume_in(write_series(tilted))
    assert np.array_equal(found.voxels, phantom.voxels)
    assert found.geometry.difference_mm(tilted.geometry) < 1e-5


def test_references_follow_the_slices_and_the_identity_is_theirs(
    phantom: Volume, write_series: Write
) -> None:
    folder = write_series(phantom)
    series = read_series(folder)
    assert [reference.file for reference in series.references] == ["99", "98", "97", "96", "95"]
    for k, reference in enumerate(series.references):
        ds = pydicom.dcmread(folder / reference.file)
        assert (reference.sop_class_uid, reference.sop_instance_uid) == (ds.SOPClassUID, ds.SOPInstanceUID)
        assert reference.frame is None
        assert series.stack.planes.origins_xyz_mm[k] == pytest.approx(list(ds.ImagePositionPatient))
    identity = read_identity(series.identity)
    assert identity.PatientName == "Nobody^At all"
    assert identity.FrameOfReferenceUID == ds.FrameOfReferenceUID


def test_pixels_are_decoded_slice_by_slice_as_they_are_asked_for(
    phantom: Volume, write_series: Write
) -> None:
    folder = write_series(phantom)
    with open_series(folder) as opened:
        first = next(opened.voxels)
        for name in ("98", "97"):
            (folder / name).write_bytes(b"")
        assert np.array_equal(first, phantom.voxels[0])
        with pytest.raises(InputError, match="98"):
            next(opened.voxels)


def test_each_slice_has_its_own_rescale(phantom: Volume, write_series: Write) -> None:
    def edit(ds: pydicom.Dataset, k: int) -> None:
        ds.RescaleIntercept = str(-24 + k)
        ds.RescaleSlope = "0.5" if k == 1 else "1"

    found = read_series(write_series(phantom, edit=edit)).stack.voxels
    assert found.dtype == np.float32
    assert np.array_equal(found[3], phantom.voxels[3] + 3)
    assert np.array_equal(found[1], (phantom.voxels[1] + 24.0) * 0.5 - 23)


def test_slices_become_float_only_where_one_of_them_is() -> None:
    whole, half = np.full((2, 2), 7, dtype=np.int16), np.full((2, 2), 0.5, dtype=np.float32)
    assert collected([whole, whole], (2, 2, 2)).dtype == np.int16
    found = collected([whole, half, whole], (3, 2, 2))
    assert found.dtype == np.float32
    assert found[:, 0, 0].tolist() == [7, 0.5, 7]


def test_a_missing_rescale_may_be_given(phantom: Volume, write_series: Write) -> None:
    def edit(ds: pydicom.Dataset, k: int) -> None:
        del ds.RescaleSlope, ds.RescaleIntercept
        ds.PixelData = (phantom.voxels[k] + 1024).astype("<i2").tobytes()

    folder = write_series(phantom, edit=edit)
    with pytest.raises(InputError, match="--assume-intercept"):
        read_series(folder)
    found = read_series(folder, ReadOptions(assume_intercept=-1024))
    assert np.array_equal(found.stack.voxels, phantom.voxels)


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_slices_are_no_volume(count: int, phantom: Volume, write_series: Write) -> None:
    folder = write_series(phantom)
    for k in range(count, 5):
        (folder / f"{99 - k}").unlink()
    with pytest.raises(IncompleteSeriesError, match=rf"{count} slices? makes? no volume"):
        read_series(folder)


def test_nothing_to_read_is_said_to_be_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no DICOM images of a scan; give the folder"):
        read_series(tmp_path)
    with pytest.raises(InputError, match="absent: no such file or folder"):
        read_series(tmp_path / "absent")
    (tmp_path / "a.txt").write_text("no DICOM " * 40)
    with pytest.raises(UnsupportedFormatError, match=r"a\.txt: is neither DICOM nor a zip archive"):
        read_series(tmp_path / "a.txt")


def test_a_single_slice_is_refused_with_its_folder_as_the_fix(phantom: Volume, write_series: Write) -> None:
    with pytest.raises(InputError, match=r"97: is one slice or no image; give the folder"):
        read_series(write_series(phantom) / "97")


def test_more_voxels_than_memory_holds_are_refused_before_they_are_read(write_series: Write) -> None:
    def edit(ds: pydicom.Dataset, k: int) -> None:
        ds.Rows = ds.Columns = 4096

    geometry = Geometry.axial((66, 2, 2), (1, 1, 1))
    small = Volume(voxels=np.zeros((66, 2, 2), dtype=np.int16), geometry=geometry)
    with pytest.raises(InputError, match=r"4096 × 4096 × 66 voxels \(\d GiB"):
        read_series(write_series(small, edit=edit))


def test_a_zip_is_read_as_its_folder_and_errors_name_it(
    phantom: Volume, write_series: Write, tmp_path: Path
) -> None:
    folder = write_series(phantom)
    packed = tmp_path / "scan.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in folder.iterdir():
            archive.write(path, f"a/b/{path.name}")
    assert np.array_equal(read_series(packed).stack.voxels, phantom.voxels)
    with zipfile.ZipFile(packed, "w") as archive:
        for name in ("99", "98", "96", "95"):
            archive.write(folder / name, f"a/b/{name}")
    with pytest.raises(IncompleteSeriesError, match=r"scan\.zip.*98 and .*96 lie 5\.000 mm apart"):
        read_series(packed)


def test_frames_are_slices(phantom: Volume, write_series: Write, as_frames: Write) -> None:
    def edit(ds: pydicom.Dataset, k: int) -> None:
        ds.RescaleIntercept = str(-24 + k)

    folder = write_series(phantom, edit=edit)
    expected = phantom.voxels + np.arange(5)[:, None, None]
    path = as_frames(folder, order=[3, 1, 0, 4, 2])
    for given in (path, path.parent):
        series = read_series(given)
        assert series.volume is not None
        assert series.volume.geometry.difference_mm(phantom.geometry) < 1e-5
        assert np.array_equal(series.stack.voxels, expected)
        assert [reference.frame for reference in series.references] == [4, 1, 5, 2, 3]
        assert {reference.sop_instance_uid for reference in series.references} == {
            pydicom.dcmread(path).SOPInstanceUID
        }
    assert read_identity(series.identity).PatientName == "Nobody^At all"


def test_frames_of_a_concatenation_are_pooled(phantom: Volume, write_series: Write, as_frames: Write) -> None:
    folder = write_series(phantom)
    parts = [as_frames(folder, order=order, name=f"{n}.dcm") for n, order in enumerate(([0, 4], [1, 2, 3]))]
    series = read_series(parts[0].parent)
    assert np.array_equal(series.stack.voxels, phantom.voxels)
    found = [(reference.file, reference.frame) for reference in series.references]
    assert found == [("0.dcm", 2), ("1.dcm", 3), ("1.dcm", 2), ("1.dcm", 1), ("0.dcm", 1)]


def test_faults_of_frames_name_the_frame(phantom: Volume, write_series: Write, as_frames: Write) -> None:
    path = as_frames(write_series(phantom), order=[0, 1, 3, 4])
    with pytest.raises(
        IncompleteSeriesError, match=r"frames\.dcm frame 3 and frames\.dcm frame 2 lie 5\.000"
    ):
        read_series(path)
    ds = pydicom.dcmread(path)
    del ds.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence
    ds.save_as(path)
    with pytest.raises(GeometryError, match=r"frames\.dcm frame 2: ImagePositionPatient is missing"):
        read_series(path)


def test_a_projection_among_frames_is_refused(phantom: Volume, write_series: Write, as_frames: Write) -> None:
    path = as_frames(write_series(phantom))
    ds = pydicom.dcmread(path)
    for group in ds.PerFrameFunctionalGroupsSequence:
        group.CTImageFrameTypeSequence[0].FrameType = ["DERIVED", "PRIMARY", "VOLUME", "MAXIMUM"]
    ds.save_as(path)
    with pytest.raises(UnsupportedFormatError, match=r"frame 1 and 4 more: ImageType .*MAXIMUM"):
        read_series(path)


def test_spoiled_bytes_never_raise_anything_but_our_errors(phantom: Volume, write_series: Write) -> None:
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
            read_series(folder)
        except InputError:
            refused += 1
    assert refused > 50


def unzipped(archive: Path, tmp_path: Path) -> Path:
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(tmp_path / archive.stem)
    return tmp_path / archive.stem


def test_real_whole_chest_is_read(shared_data: Path) -> None:
    volume = volume_in(shared_data / "lung_dx_a0001_soft" / "dicom.zip")
    assert volume.voxels.shape == (64, 512, 512)
    assert volume.voxels.dtype == np.int16
    assert np.allclose(volume.geometry.spacing_zyx_mm, (5, 0.841796875, 0.841796875))
    trachea = formats.read_integers(shared_data / "lung_dx_a0001_soft" / "trachea_semi_auto.nii.gz")
    trachea, volume = to_canonical(trachea), to_canonical(volume)
    assert trachea.geometry.same_grid(volume.geometry)
    assert np.median(volume.voxels[trachea.voxels > 0]) < -900


def test_real_series_with_a_missing_slice_is_read_where_it_may_be_filled(
    shared_data: Path, tmp_path: Path
) -> None:
    folder = unzipped(shared_data / "gstt_slab" / "dicom.zip", tmp_path)
    with pytest.raises(IncompleteSeriesError, match=r"CT000081\.dcm and CT000082\.dcm lie 1\.600 mm apart"):
        read_series(folder)
    series = read_series(folder, ReadOptions(fill_gaps=1))
    assert series.volume is None
    assert series.stack.planes.distances_mm == pytest.approx([1.6] + [0.8] * 18, abs=1e-3)


def test_real_tilted_series_is_read_where_it_may_be_resampled(shared_data: Path, tmp_path: Path) -> None:
    folder = unzipped(shared_data / "dicom2nifti_odd" / "gantrytilting.zip", tmp_path)
    with pytest.raises(GeometryError, match=r"14\.0° off .*--rectify"):
        read_series(folder)
    assert read_series(folder, ReadOptions(rectify=True)).stack.planes.tilt_degrees() == pytest.approx(14)


def test_real_series_with_gaps_and_images_in_one_place_are_refused(shared_data: Path, tmp_path: Path) -> None:
    folder = unzipped(shared_data / "dicom2nifti_odd" / "sliceincrement.zip", tmp_path)
    with pytest.raises(InputError, match=r"holds 2 series"):
        read_series(folder)
    for end in ("197937", "856228"):
        with pytest.raises(IncompleteSeriesError, match=r"1 slice is missing; .*--fill-gaps 1"):
            read_series(folder, ReadOptions(series=end))
    with pytest.raises(IncompleteSeriesError, match=r"002\.dcm: lies in the same place as 001\.dcm"):
        read_series(unzipped(shared_data / "dicom2nifti_odd" / "notavolume.zip", tmp_path))


def test_real_jpeg_2000_series_without_sop_class_is_read(
    shared_data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    series = read_series(shared_data / "ts_dicom_j2k" / "dicom.zip")
    assert series.volume is not None
    volume = to_canonical(series.volume)
    assert volume.voxels.shape == (20, 512, 512)
    assert (volume.voxels.min(), volume.voxels.max()) == (-1024, 1839)
    labels = formats.read_integers(shared_data / "ts_dicom_j2k" / "example_seg_dicom.nii.gz")
    assert to_canonical(labels).geometry.same_grid(volume.geometry)
    assert all(reference.sop_class_uid and reference.sop_instance_uid for reference in series.references)
    assert "no SOPClassUID" in caplog.text


def test_real_three_slices_are_a_volume(shared_data: Path) -> None:
    volume = volume_in(shared_data / "dcmqi" / "ct-3slice")
    assert volume.voxels.shape == (3, 512, 512)
    assert volume.geometry.spacing_zyx_mm == pytest.approx((1, 0.810547, 0.810547), abs=1e-6)


@pytest.mark.parametrize("name", ["23x38x3", "24x38x3"])
def test_real_legacy_converted_frames_are_as_their_single_frame_twin(name: str, shared_data: Path) -> None:
    single = volume_in(shared_data / "dcmqi" / name / "image")
    frames = read_series(shared_data / "dcmqi" / name / "multiframe" / "mf.dcm")
    assert frames.volume is not None
    assert np.array_equal(frames.volume.voxels, single.voxels)
    assert frames.volume.geometry.difference_mm(single.geometry) < 1e-6
    assert [reference.frame for reference in frames.references] == [1, 2, 3]
