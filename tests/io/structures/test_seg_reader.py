import copy
import tracemalloc
from functools import cache

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.encaps import encapsulate
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from thoar.core.errors import GeometryError, InputError, LabelError, UnsupportedFormatError
from thoar.io.structures import seg_pieces
from thoar.io.structures.organ_mask import Maker
from thoar.io.structures.seg_reader import read_segmentation, segment_masks
from thoar.io.structures.seg_writer import write_segmentation

KINDS = ("axial", "feet_first", "coronal", "oblique", "tilted", "uneven")


@pytest.fixture(scope="module")
def content(tmp_path_factory, series_of, slices, organs_on):
    """Write each kind of file once."""

    @cache
    def write(kind, fractional, frames):
        series = series_of(slices(kind), frames=frames)
        organs = organs_on(series.stack.planes, soft=fractional)
        path = tmp_path_factory.mktemp("seg") / "s.dcm"
        write_segmentation(path, series, organs, maker=Maker(), fractional=fractional)
        return path.read_bytes(), series, organs

    return write


@pytest.fixture
def written(tmp_path, content):
    """Return a file of three organs; ``edit(ds)`` changes it."""

    def copy_of(*, edit=None, kind="oblique", fractional=False, frames=False):
        found, series, organs = content(kind, fractional, frames)
        path = tmp_path / "s.dcm"
        path.write_bytes(found)
        if edit is not None:
            ds = pydicom.dcmread(path)
            edit(ds)
            ds.save_as(path)
        return path, series, organs

    return copy_of


def whole(part, shape_zyx):
    mask = np.zeros(shape_zyx, bool)
    if part.box_zyx is not None:
        mask[part.box_zyx.slices] = part.mask
    return mask


def assert_same(masks, organs, series):
    shape = series.stack.voxels.shape
    assert [mask.name for mask in masks] == [organ.organ.tg263 for organ in organs]
    for mask, organ in zip(masks, organs, strict=True):
        assert np.array_equal(whole(mask, shape), whole(organ, shape))


@pytest.mark.parametrize("fractional", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_masks_come_back_on_the_series(written, kind, fractional):
    path, series, organs = written(kind=kind, fractional=fractional)
    found = read_segmentation(path)
    assert found.kind == ("FRACTIONAL" if fractional else "BINARY")
    masks = segment_masks(found, series)
    assert_same(masks, organs, series)
    assert all(mask.faults == () for mask in masks)


def test_masks_come_back_on_the_frames_of_one_file(written):
    path, series, organs = written(frames=True)
    masks = segment_masks(read_segmentation(path), series)
    assert_same(masks, organs, series)
    assert all(mask.faults == () for mask in masks)


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_series_masks_lie_on_the_objects_own_slices(written, kind):
    path, series, organs = written(kind=kind)
    found = read_segmentation(path)
    own, planes = found.planes(), series.stack.planes
    assert len(own) == 8  # the last slice has no organ
    assert np.abs(own.origins_xyz_mm - planes.origins_xyz_mm[:8]).max() < 1e-9
    for mask, organ in zip(segment_masks(found, None), organs, strict=True):
        assert np.array_equal(whole(mask, (8, 13, 11)), whole(organ, (9, 13, 11))[:8])


def without_slice_three(ds):
    groups = ds.PerFrameFunctionalGroupsSequence
    depths = [float(g.PlanePositionSequence[0].ImagePositionPatient[2]) for g in groups]
    kept = [k for k, depth in enumerate(depths) if depth != sorted(set(depths))[3]]
    keep_frames(ds, kept)


def keep_frames(ds, kept):
    store(ds, frames_of(ds)[kept])
    groups = list(ds.PerFrameFunctionalGroupsSequence)
    ds.PerFrameFunctionalGroupsSequence = [copy.deepcopy(groups[k]) for k in kept]


def frames_of(ds):
    count = int(ds.NumberOfFrames)
    bits = np.unpackbits(np.frombuffer(ds.PixelData, np.uint8), bitorder="little")
    return bits[: count * ds.Rows * ds.Columns].reshape(count, ds.Rows, ds.Columns)


def store(ds, frames):
    data = np.packbits(frames, bitorder="little").tobytes()
    ds.PixelData, ds.NumberOfFrames = data + b"\0" * (len(data) % 2), len(frames)


def test_slices_between_without_a_frame_are_a_gap(written):
    path, _, _ = written(kind="axial", edit=without_slice_three)
    assert np.allclose(read_segmentation(path).planes().depths_mm, [0, 2.5, 5, 10, 12.5, 15, 17.5])


def shuffled(ds):
    keep_frames(ds, [5, 0, *range(1, 5), *range(6, int(ds.NumberOfFrames))][::-1])


def test_the_order_of_frames_does_not_matter(written):
    path, series, organs = written(edit=shuffled)
    assert_same(segment_masks(read_segmentation(path), series), organs, series)


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian], ids=lambda syntax: syntax.name
)
@pytest.mark.parametrize("fractional", [False, True])
def test_other_plain_transfer_syntaxes_are_read(written, syntax, fractional):
    path, series, organs = written(fractional=fractional)
    ds = pydicom.dcmread(path)
    ds.file_meta.TransferSyntaxUID = syntax
    ds["PixelData"].VR = "OW"
    ds.save_as(path, implicit_vr=syntax.is_implicit_VR, little_endian=True)
    assert_same(segment_masks(read_segmentation(path), series), organs, series)


def source_images(series):
    """Return what highdicom asks of the images that an object is derived from."""
    planes = series.stack.planes
    for k, reference in enumerate(series.references):
        ds = pydicom.Dataset()
        ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, reference.sop_instance_uid
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "2.25.1", "2.25.2", "2.25.3"
        ds.PatientID, ds.PatientName, ds.PatientBirthDate, ds.PatientSex = "id", "Nobody^At all", "", "O"
        ds.AccessionNumber = ds.StudyID = ds.StudyDate = ds.StudyTime = ""
        ds.Modality, (ds.Rows, ds.Columns) = "CT", planes.shape_yx
        ds.ImagePositionPatient = [f"{v:.9f}" for v in planes.origins_xyz_mm[k]]
        ds.ImageOrientationPatient = [f"{v:.9f}" for v in (*planes.along_row_xyz, *planes.along_column_xyz)]
        ds.PixelSpacing, ds.SliceThickness = list(planes.spacing_yx_mm), 2.5
        yield ds


def by_highdicom(path, series, pixels, *, kind):
    """Write an object with highdicom alone: of (slice, row, column, segment), or of a label map's values."""
    count = pixels.shape[3] if pixels.ndim == 4 else int(pixels.max())
    heart = pydicom.sr.codedict.codes.SCT.Heart
    segments = [
        hd.seg.SegmentDescription(
            segment_number=k + 1,
            segment_label=f"organ {k + 1}",
            segmented_property_category=pydicom.sr.codedict.codes.SCT.AnatomicalStructure,
            segmented_property_type=heart,
            algorithm_type="MANUAL",
        )
        for k in range(count)
    ]
    hd.seg.Segmentation(
        source_images=list(source_images(series)),
        pixel_array=pixels,
        segmentation_type=kind,
        segment_descriptions=segments,
        series_instance_uid="2.25.50",
        series_number=1,
        sop_instance_uid="2.25.51",
        instance_number=1,
        manufacturer="x",
        manufacturer_model_name="x",
        software_versions="x",
        device_serial_number="x",
        transfer_syntax_uid=ExplicitVRLittleEndian,
    ).save_as(path)


ENCODERS = {RLELossless: "pydicom", JPEGLSLossless: "pyjpegls"}


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, *ENCODERS], ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("kind", ["FRACTIONAL", "LABELMAP"])
def test_highdicoms_objects_are_read_compressed_or_not(tmp_path, series_of, slices, kind, syntax):
    series = series_of(slices("oblique"))
    labels = np.random.default_rng(3).integers(0, 3, (9, 13, 11)).astype(np.uint8)
    stacked = np.stack([labels == 1, labels == 2], axis=-1)
    pixels = labels if kind == "LABELMAP" else stacked * np.float32(0.75) + np.float32(0.2)
    by_highdicom(tmp_path / "h.dcm", series, pixels, kind=kind)
    if syntax in ENCODERS:
        ds = pydicom.dcmread(tmp_path / "h.dcm")
        ds.compress(syntax, encoding_plugin=ENCODERS[syntax], generate_instance_uid=False)
        ds.save_as(tmp_path / "h.dcm")
    masks = segment_masks(read_segmentation(tmp_path / "h.dcm"), series)
    assert [mask.name for mask in masks] == ["organ 1", "organ 2"]
    for k, mask in enumerate(masks, start=1):
        assert np.array_equal(whole(mask, labels.shape), labels == k)


def test_label_maps_with_a_palette_are_read(tmp_path, series_of, slices):
    series = series_of(slices())
    labels = np.random.default_rng(3).integers(0, 3, (9, 13, 11)).astype(np.uint8)
    by_highdicom(tmp_path / "h.dcm", series, labels, kind="LABELMAP")
    ds = pydicom.dcmread(tmp_path / "h.dcm")
    ds.PhotometricInterpretation = "PALETTE COLOR"
    ds.save_as(tmp_path / "h.dcm")
    masks = segment_masks(read_segmentation(tmp_path / "h.dcm"), series)
    assert np.array_equal(whole(masks[1], labels.shape), labels == 2)


def test_highdicoms_binary_objects_are_read(tmp_path, series_of, slices):
    series = series_of(slices("tilted"))
    stacked = np.random.default_rng(3).random((9, 13, 11, 2)) > 0.5
    by_highdicom(tmp_path / "h.dcm", series, stacked, kind="BINARY")
    for k, mask in enumerate(segment_masks(read_segmentation(tmp_path / "h.dcm"), series)):
        assert np.array_equal(whole(mask, (9, 13, 11)), stacked[..., k])


def test_more_segments_than_a_byte_counts_are_read(tmp_path, series_of, slices):
    series = series_of(slices())
    labels = np.arange(9 * 13 * 11).reshape(9, 13, 11) % 301
    by_highdicom(tmp_path / "h.dcm", series, labels.astype(np.uint16), kind="LABELMAP")
    masks = segment_masks(read_segmentation(tmp_path / "h.dcm"), series)
    assert len(masks) == 300
    assert np.array_equal(whole(masks[299], labels.shape), labels == 300)


FIXTURES = {
    "liver.dcm": {"liver_seg.nrrd": {1: 1}},
    "partial_overlaps.dcm": {
        "partial_overlaps-1.nrrd": {1: 1, 4: 4, 5: 5},
        "partial_overlaps-2.nrrd": {2: 2},
        "partial_overlaps-3.nrrd": {3: 3},
    },
    "23x38x3/seg/label.seg": {"23x38x3/nrrd/label.nrrd": {1: 1}},
    "24x38x3/seg/label.seg": {"24x38x3/nrrd/label.nrrd": {1: 1}},
    "sparse-labelmap-noppv.dcm": {"sparse_labelmap_noppv_seg.nrrd": {1: 1}},
    "sparse-labelmap-ppv5.dcm": {"sparse_labelmap_ppv5_seg.nrrd": {1: 1}},
}


@pytest.mark.parametrize("name", FIXTURES)
def test_dcmqis_objects_are_read_as_dcmqi_reads_them(shared_data, name):
    found = read_segmentation(shared_data / "dcmqi" / name)
    planes = found.planes()
    masks = {mask.number: mask for mask in segment_masks(found, None)}
    shape = (len(planes), *planes.shape_yx)
    for file, numbers in FIXTURES[name].items():
        image = SimpleITK.ReadImage(str(shared_data / "dcmqi" / file))
        voxels = SimpleITK.GetArrayFromImage(image)
        for number, value in numbers.items():
            there = [
                image.TransformPhysicalPointToIndex(origin.tolist())[2] for origin in planes.origins_xyz_mm
            ]
            assert np.array_equal(whole(masks[number], shape), voxels[there] == value)
            assert (voxels == value).sum() == masks[number].mask.sum()
            assert masks[number].faults == ()


def with_other_frame_of_reference(ds):
    ds.FrameOfReferenceUID = "2.25.777"


def test_another_frame_of_reference_is_refused(written):
    path, series, _ = written(edit=with_other_frame_of_reference)
    with pytest.raises(
        InputError, match=r"s\.dcm: its FrameOfReferenceUID is 2\.25\.777, the series' 2\.25\.3"
    ):
        segment_masks(read_segmentation(path), series)


def stretched(ds):
    ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [0.83, 0.9765625]


def turned(ds):
    orientation = ds.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    orientation.ImageOrientationPatient = [-float(v) for v in orientation.ImageOrientationPatient]


def cropped(ds):
    store(ds, frames_of(ds)[:, :-1])
    ds.Rows -= 1


@pytest.mark.parametrize("edit", [stretched, turned, cropped], ids=lambda edit: edit.__name__)
def test_another_pixel_grid_is_refused(written, edit):
    path, series, _ = written(edit=edit)
    found = read_segmentation(path)
    with pytest.raises(GeometryError, match=r"s\.dcm: its pixel grid \(Rows, Columns .* is not the series'"):
        segment_masks(found, series)
    assert len(segment_masks(found, None)) == 3


def move(group, offset_xyz_mm):
    position = group.PlanePositionSequence[0]
    moved = np.array(position.ImagePositionPatient, float) + offset_xyz_mm
    position.ImagePositionPatient = [f"{v:.6f}" for v in moved]


def half_a_step_on(ds):
    for group in ds.PerFrameFunctionalGroupsSequence:
        move(group, [0, 0, 1.25])


def test_frames_between_the_slices_are_refused(written):
    path, series, _ = written(kind="axial", edit=half_a_step_on)
    with pytest.raises(GeometryError, match=r"none of its frames lies on a slice.*1\.25 mm off"):
        segment_masks(read_segmentation(path), series)


def one_frame_off(ds):
    move(ds.PerFrameFunctionalGroupsSequence[2], [0, 0.4, 0])


def test_a_frame_that_lies_on_no_slice_is_a_fault_and_left_out(written):
    path, series, organs = written(kind="axial", edit=one_frame_off)
    esophagus, *others = segment_masks(read_segmentation(path), series)
    said = "1 of 8 frames lie on no slice (frame 3 is 0.40 mm from the nearest): left out"
    assert esophagus.faults == (said,)
    assert esophagus.mask.sum() < organs[0].mask.sum()
    assert all(mask.faults == () for mask in others)


def one_slice_on(ds):
    for group in ds.PerFrameFunctionalGroupsSequence:
        move(group, [0, 0, 2.5])


def test_frames_that_name_other_slices_than_they_lie_on_are_a_fault(written):
    path, series, organs = written(kind="axial", edit=one_slice_on)
    masks = segment_masks(read_segmentation(path), series)
    wrong = "frames name another slice than the one they lie on"
    assert [mask.faults for mask in masks] == [
        (f"{n} of {n} {wrong} (frame {first} first); their position is believed",)
        for n, first in ((8, 1), (7, 9), (6, 16))
    ]
    assert masks[0].box_zyx == organs[0].box_zyx.shifted((1, 0, 0))


def frame_twice(ds):
    count = int(ds.NumberOfFrames)
    keep_frames(ds, [*range(count), count - 1])


def test_a_slice_with_two_frames_is_a_fault(written):
    path, series, organs = written(edit=frame_twice)
    masks = segment_masks(read_segmentation(path), series)
    assert masks[2].faults == ("1 slices have more than one frame; joined",)
    assert_same(masks, organs, series)


def segment_without_frames(ds):
    ds.SegmentSequence.append(copy.deepcopy(ds.SegmentSequence[0]))
    ds.SegmentSequence[-1].SegmentNumber, ds.SegmentSequence[-1].SegmentLabel = 4, "Nothing"


def test_a_segment_without_a_frame_has_no_mask(written):
    path, series, _ = written(edit=segment_without_frames)
    mask = segment_masks(read_segmentation(path), series)[3]
    assert (mask.name, mask.number, mask.box_zyx, mask.mask) == ("Nothing", 4, None, None)


def test_a_label_map_of_unknown_values_is_refused(tmp_path, series_of, slices):
    series = series_of(slices())
    labels = np.zeros((9, 13, 11), np.uint8)
    labels[4, 5, 6] = 2
    by_highdicom(tmp_path / "h.dcm", series, labels, kind="LABELMAP")
    ds = pydicom.dcmread(tmp_path / "h.dcm")
    ds.SegmentSequence = [copy.deepcopy(item) for item in ds.SegmentSequence if item.SegmentNumber != 2]
    ds.save_as(tmp_path / "h.dcm")
    with pytest.raises(LabelError, match=r"h\.dcm frame 1: has pixels of value 2, which is no SegmentNumber"):
        segment_masks(read_segmentation(tmp_path / "h.dcm"), series)


def set_to(**values):
    def edit(ds):
        for keyword, value in values.items():
            setattr(ds, keyword, value)

    return edit


def without(keyword):
    def edit(ds):
        delattr(ds, keyword)

    return edit


def in_group(edit_group):
    def edit(ds):
        edit_group(ds.PerFrameFunctionalGroupsSequence[1])

    return edit


def own_orientation(group):
    group.PlaneOrientationSequence = [pydicom.Dataset()]
    group.PlaneOrientationSequence[0].ImageOrientationPatient = [0, 1, 0, 1, 0, 0]


def no_position(group):
    del group.PlanePositionSequence


def no_number(group):
    del group.SegmentIdentificationSequence


def other_number(group):
    group.SegmentIdentificationSequence[0].ReferencedSegmentNumber = 9


def one_number_twice(ds):
    ds.SegmentSequence[1].SegmentNumber = 1


def skewed(ds):
    orientation = ds.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    orientation.ImageOrientationPatient = [1, 0, 0, 1, 0, 0]


REFUSED = {
    "a CT": (set_to(SOPClassUID=CTImageStorage), UnsupportedFormatError, "is no DICOM-SEG: its SOPClassUID"),
    "an unknown kind": (
        set_to(SegmentationType="SURFACE"),
        UnsupportedFormatError,
        "SegmentationType is SURFACE",
    ),
    "more frames than groups": (set_to(NumberOfFrames=22), InputError, "NumberOfFrames is 22.*21 items"),
    "2^31 frames": (set_to(NumberOfFrames=2**31 - 1), InputError, "declares 2147483647 frames"),
    "no frames": (set_to(NumberOfFrames=0), InputError, "declares 0 frames"),
    "no number of frames": (without("NumberOfFrames"), InputError, "NumberOfFrames is missing"),
    "huge frames": (set_to(Rows=65535, Columns=65535), InputError, "frames of 65535 × 65535 pixels"),
    "no segments": (without("SegmentSequence"), InputError, "cannot be read as DICOM"),
    "no position": (in_group(no_position), GeometryError, "frame 2: ImagePositionPatient is missing"),
    "an orientation of its own": (
        in_group(own_orientation),
        GeometryError,
        "frame 2: its ImageOrientationPatient differs",
    ),
    "no segment number": (in_group(no_number), InputError, "frame 2: ReferencedSegmentNumber is missing"),
    "an unknown segment": (
        in_group(other_number),
        InputError,
        "frame 2: its ReferencedSegmentNumber 9 is no",
    ),
    "one number twice": (one_number_twice, InputError, "two segments have one SegmentNumber"),
    "skewed directions": (skewed, GeometryError, "no unit vectors at right angles"),
    "too few pixels": (
        set_to(PixelData=b"\0" * 40),
        InputError,
        "PixelData holds 40 bytes where .* need 376",
    ),
    "no pixels": (without("PixelData"), InputError, "has no PixelData"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_broken_objects_are_refused_by_name(written, case):
    edit, error, message = REFUSED[case]
    path, _, _ = written(kind="axial", edit=edit)
    with pytest.raises(error, match=message) as caught:
        segment_masks(read_segmentation(path), None)
    assert "s.dcm" in str(caught.value)
    assert "Nobody" not in str(caught.value)


def test_a_largest_value_of_zero_is_refused(written):
    path, _, _ = written(fractional=True, edit=set_to(MaximumFractionalValue=0))
    with pytest.raises(InputError, match="its MaximumFractionalValue is 0"):
        read_segmentation(path)


def test_single_bits_that_are_compressed_are_refused(written):
    path, _, _ = written()
    ds = pydicom.dcmread(path)
    ds.file_meta.TransferSyntaxUID = JPEG2000Lossless
    ds.PixelData = encapsulate([b"\0\0"] * int(ds.NumberOfFrames))
    ds["PixelData"].VR = "OB"
    ds.save_as(path)
    with pytest.raises(UnsupportedFormatError, match=r"single bits in JPEG 2000 .* are not read"):
        segment_masks(read_segmentation(path), None)


def test_bombs_end_in_an_error_without_much_memory(tmp_path, series_of, slices, monkeypatch):
    """Frames of 2048 × 2048 pixels that RLE makes of a hundredth; the limit is lowered to be met sooner."""
    monkeypatch.setattr(seg_pieces, "_MOST_VOXELS", 2**24)
    series = series_of(slices())
    by_highdicom(tmp_path / "h.dcm", series, np.ones((9, 13, 11), np.uint8), kind="LABELMAP")
    ds = pydicom.dcmread(tmp_path / "h.dcm")
    ds.file_meta.TransferSyntaxUID = RLELossless
    ds.Rows = ds.Columns = 2048
    frame = b"\1\0\0\0\x40\0\0\0" + bytes(56) + b"\x81\1" * (2048 * 2048 // 128)
    ds.PixelData = encapsulate([frame] * 9)
    ds["PixelData"].VR = "OB"
    ds.save_as(tmp_path / "h.dcm")
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="its masks take more than"):
            segment_masks(read_segmentation(tmp_path / "h.dcm"), None)
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()
