import copy
from functools import cache

import numpy as np
import pydicom
import pytest

from thoar.core.errors import ResourceError
from thoar.io.structures.organ_mask import Maker
from thoar.io.structures.seg_check import check_segmentation
from thoar.io.structures.seg_writer import write_segmentation


@pytest.fixture(scope="module")
def content(tmp_path_factory, series_of, slices, organs_on):
    """Write each kind of file once: 12 × 16 pixels, a whole number of bytes a row, for bits to be moved."""

    @cache
    def write(fractional, kind):
        series = series_of(slices(kind, shape_zyx=(9, 12, 16)))
        organs = organs_on(series.stack.planes, soft=fractional)
        path = tmp_path_factory.mktemp("seg") / "s.dcm"
        write_segmentation(path, series, organs, maker=Maker(), fractional=fractional)
        return path.read_bytes(), series, organs

    return write


@pytest.fixture
def written(tmp_path, content):
    def copy_of(*, fractional=False, kind="oblique"):
        found, series, organs = content(fractional, kind)
        (tmp_path / "s.dcm").write_bytes(found)
        return tmp_path / "s.dcm", series, organs

    return copy_of


def frames_of(ds):
    count, bits = int(ds.NumberOfFrames), ds.BitsAllocated
    data = np.frombuffer(ds.PixelData, np.uint8)
    values = np.unpackbits(data, bitorder="little") if bits == 1 else data
    return values[: count * ds.Rows * ds.Columns].reshape(count, ds.Rows, ds.Columns).copy()


def store(ds, frames):
    packed = np.packbits(frames, bitorder="little") if ds.BitsAllocated == 1 else frames
    ds.PixelData, ds.NumberOfFrames = packed.tobytes(), len(frames)


def mirror(ds):
    store(ds, frames_of(ds)[:, :, ::-1])


def upside_down(ds):
    store(ds, frames_of(ds)[:, ::-1])


def a_pixel_more(ds):
    frames = frames_of(ds)
    frames[3, 0, 0] = 1
    store(ds, frames)


def a_pixel_less(ds):
    frames = frames_of(ds)
    frames[3].flat[np.flatnonzero(frames[3])[-1]] = 0
    store(ds, frames)


def a_step_too_much(ds):
    frames = frames_of(ds)
    k = np.flatnonzero((frames[3] > 0) & (frames[3] < 100))[0]
    frames[3].flat[k] += 1
    store(ds, frames)


def frame_missing(ds):
    store(ds, frames_of(ds)[:-1])
    del ds.PerFrameFunctionalGroupsSequence[-1]


def frame_twice(ds):
    frames = frames_of(ds)
    store(ds, np.concatenate([frames, frames[-1:]]))
    ds.PerFrameFunctionalGroupsSequence.append(copy.deepcopy(ds.PerFrameFunctionalGroupsSequence[-1]))


def frames_swapped(ds):
    frames = frames_of(ds)
    store(ds, frames[[1, 0, *range(2, len(frames))]])


def organs_swapped(ds):
    for group in ds.PerFrameFunctionalGroupsSequence:
        identification = group.SegmentIdentificationSequence[0]
        identification.ReferencedSegmentNumber = {1: 1, 2: 3, 3: 2}[identification.ReferencedSegmentNumber]


def names_swapped(ds):
    _, left, right = ds.SegmentSequence
    left.SegmentLabel, right.SegmentLabel = right.SegmentLabel, left.SegmentLabel


def sides_swapped(ds):
    for segment, side in zip(ds.SegmentSequence[1:], ("24028007", "7771000"), strict=True):
        kind = segment.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeValue = side


def moved(ds):
    for group in ds.PerFrameFunctionalGroupsSequence:
        position = group.PlanePositionSequence[0]
        x, y, z = position.ImagePositionPatient
        position.ImagePositionPatient = [x, y + 0.02, z]


def one_slice_on(ds):
    positions = [g.PlanePositionSequence[0] for g in ds.PerFrameFunctionalGroupsSequence]
    found = [list(p.ImagePositionPatient) for p in positions]
    step = np.array(found[1], float) - np.array(found[0], float)
    for position, origin in zip(positions, found, strict=True):
        position.ImagePositionPatient = [f"{v:.9f}" for v in np.array(origin, float) + step]


def turned(ds):
    orientation = ds.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    orientation.ImageOrientationPatient = [-float(v) for v in orientation.ImageOrientationPatient]


def stretched(ds):
    ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [0.81, 0.9765625]


def other_image(ds):
    group = ds.PerFrameFunctionalGroupsSequence[2]
    group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID = "2.25.104"


def no_image(ds):
    ds.PerFrameFunctionalGroupsSequence[2].DerivationImageSequence = []


def other_study(ds):
    ds.StudyInstanceUID = "2.25.77"


def other_patient(ds):
    ds.PatientName = "Somebody^Else"


def other_frame_of_reference(ds):
    ds.FrameOfReferenceUID = "2.25.77"


def other_kind(ds):
    ds.SegmentationType, ds.MaximumFractionalValue = "FRACTIONAL", 1


def segment_more(ds):
    ds.SegmentSequence.append(copy.deepcopy(ds.SegmentSequence[0]))
    ds.SegmentSequence[-1].SegmentNumber = 4


FAULTS = {
    mirror: "differs in .* pixels|beyond its box",
    upside_down: "differs in .* pixels|beyond its box",
    a_pixel_more: "esophagus reaches beyond its box on slice",
    a_pixel_less: "esophagus differs in 1 pixels on slice",
    frame_missing: "lung_r has no frame on slice",
    frame_twice: "lung_r has two frames on slice",
    frames_swapped: "esophagus differs",
    organs_swapped: "lung_l|lung_r",
    names_swapped: "segment 2 is not lung_l",
    sides_swapped: "segment 2 is not lung_l, or of another side",
    moved: r"lies 0\.020 mm off the nearest slice",
    one_slice_on: "does not name the image|differs",
    turned: "its pixel grid is not the series'",
    stretched: "its pixel grid is not the series'",
    other_image: "does not name the image of slice",
    no_image: "does not name the image of slice",
    other_study: "its StudyInstanceUID is not the series'",
    other_patient: "its PatientName is not the series'",
    other_frame_of_reference: "its FrameOfReferenceUID is not the series'",
    other_kind: "it is FRACTIONAL of 3 segments, not BINARY of 3",
    segment_more: "it is BINARY of 4 segments, not BINARY of 3",
}


@pytest.mark.parametrize("spoil", FAULTS, ids=lambda spoil: spoil.__name__)
def test_each_fault_is_caught(written, spoil):
    path, series, organs = written()
    ds = pydicom.dcmread(path)
    spoil(ds)
    ds.save_as(path)
    with pytest.raises(ResourceError, match=FAULTS[spoil]) as caught:
        check_segmentation(path, series, organs, fractional=False, called=path.with_name("final.dcm"))
    assert "final.dcm: what was written is not what was meant" in str(caught.value)
    assert "Nobody" not in str(caught.value)


@pytest.mark.parametrize("kind", ["axial", "oblique", "tilted", "uneven"])
@pytest.mark.parametrize("fractional", [False, True])
def test_a_file_as_it_was_meant_passes(written, kind, fractional):
    path, series, organs = written(fractional=fractional, kind=kind)
    ds = pydicom.dcmread(path)
    store(ds, frames_of(ds))
    ds.save_as(path)
    check_segmentation(path, series, organs, fractional=fractional)


@pytest.mark.parametrize("spoil", [mirror, a_step_too_much], ids=lambda spoil: spoil.__name__)
def test_wrong_probabilities_are_caught(written, spoil):
    path, series, organs = written(fractional=True)
    ds = pydicom.dcmread(path)
    spoil(ds)
    ds.save_as(path)
    with pytest.raises(ResourceError, match=r"differs in|beyond its box"):
        check_segmentation(path, series, organs, fractional=True)


def test_a_frame_of_low_probabilities_left_out_is_caught(tmp_path, series_of, slices, organs_on):
    series = series_of(slices(shape_zyx=(9, 12, 16)))
    (organ,) = organs_on(series.stack.planes, names=["Esophagus"], soft=True)
    organ.probability[-1] *= 0.4
    write_segmentation(tmp_path / "s.dcm", series, [organ], maker=Maker(), fractional=True)
    ds = pydicom.dcmread(tmp_path / "s.dcm")
    z = [g.PlanePositionSequence[0].ImagePositionPatient[2] for g in ds.PerFrameFunctionalGroupsSequence]
    kept = [k for k in range(len(z)) if z[k] < max(z)]
    store(ds, frames_of(ds)[kept])
    ds.PerFrameFunctionalGroupsSequence = [ds.PerFrameFunctionalGroupsSequence[k] for k in kept]
    ds.save_as(tmp_path / "s.dcm")
    with pytest.raises(ResourceError, match=r"esophagus has no frame on slice 8"):
        check_segmentation(tmp_path / "s.dcm", series, [organ], fractional=True)


def test_a_file_cut_short_is_caught(written):
    path, series, organs = written()
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ResourceError, match=r"PixelData holds .* bytes where its frames need"):
        check_segmentation(path, series, organs, fractional=False)
