import dataclasses
import shutil
import subprocess
import sysconfig
import tracemalloc
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK
from highdicom.color import CIELabColor
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import EnhancedCTImageStorage

from thoar.core.box import Box
from thoar.core.errors import GeometryError, InputError, LabelError, ResourceError
from thoar.core.labels import Organ
from thoar.io.dicom.identity import read_identity
from thoar.io.dicom.records import SliceReference
from thoar.io.structures import seg_writer
from thoar.io.structures.derived import lenient
from thoar.io.structures.organ_mask import Maker, OrganMask
from thoar.io.structures.seg_writer import write_segmentation

MAKER = Maker(model="thorax", model_version="0123456789ab", software_version="0.1.0")
KINDS = ("axial", "feet_first", "coronal", "oblique", "tilted", "uneven")


def whole(organ, series):
    mask = np.zeros(series.stack.voxels.shape, bool)
    mask[organ.box_zyx.slices] = organ.mask
    return mask


def enhanced(series):
    """Return the series as the frames of one file, in the opposite order."""
    references = [
        SliceReference(
            file="e.dcm", sop_class_uid=EnhancedCTImageStorage, sop_instance_uid="2.25.99", frame=frame
        )
        for frame in range(len(series.references), 0, -1)
    ]
    return dataclasses.replace(series, references=tuple(references))


def by_highdicom(path, series):
    """Return (slice, row, column, segment), slices told by the image that a frame names."""
    segmentation = hd.seg.segread(path)
    uids = [r.sop_instance_uid for r in series.references]
    if series.references[0].frame is None:
        return segmentation.get_pixels_by_source_instance(uids, ignore_spatial_locations=True)
    frames = [r.frame for r in series.references]
    return segmentation.get_pixels_by_source_frame(uids[0], frames, ignore_spatial_locations=True)


def dcmqi(path, folder):
    program = shutil.which("segimage2itkimage", path=sysconfig.get_path("scripts"))
    if program is None:
        pytest.skip("needs segimage2itkimage: pip install dcmqi")
    command = [program, "--inputDICOM", path, "--outputDirectory", folder, "--outputType", "nrrd"]
    subprocess.run(command, check=True, capture_output=True)
    return [SimpleITK.ReadImage(str(file)) for file in sorted(folder.glob("*.nrrd"))]


@pytest.mark.parametrize("multi_frame", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_highdicom_reads_back_every_voxel_on_the_image_it_was_drawn_on(
    tmp_path, series_of, slices, organs_on, kind, multi_frame
):
    series = series_of(slices(kind))
    series = enhanced(series) if multi_frame else series
    organs = organs_on(series.stack.planes)
    report = write_segmentation(tmp_path / "s.dcm", series, organs, maker=MAKER)
    found = by_highdicom(tmp_path / "s.dcm", series)
    for k, organ in enumerate(organs):
        assert np.array_equal(found[..., k], whole(organ, series))
    assert report.empty == ()
    assert report.frames == {"esophagus": 8, "lung_l": 7, "lung_r": 6}


@pytest.mark.parametrize("kind", KINDS)
def test_frames_lie_on_the_original_slices(tmp_path, series_of, slices, organs_on, kind):
    series = series_of(slices(kind))
    write_segmentation(tmp_path / "s.dcm", series, organs_on(series.stack.planes), maker=MAKER)
    ds = pydicom.dcmread(tmp_path / "s.dcm")
    named = {r.sop_instance_uid: k for k, r in enumerate(series.references)}
    for group in ds.PerFrameFunctionalGroupsSequence:
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        k = named[source.ReferencedSOPInstanceUID]
        origin = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        assert np.abs(origin - series.stack.planes.origins_xyz_mm[k]).max() < 1e-9
    shared = ds.SharedFunctionalGroupsSequence[0]
    directions = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    planes = series.stack.planes
    assert np.abs(directions - [*planes.along_row_xyz, *planes.along_column_xyz]).max() < 1e-9
    assert tuple(shared.PixelMeasuresSequence[0].PixelSpacing) == planes.spacing_yx_mm


@pytest.mark.peer
@pytest.mark.parametrize("kind", ["axial", "feet_first", "coronal", "oblique"])
def test_dcmqi_reads_back_every_voxel_where_it_lies(tmp_path, series_of, slices, organs_on, kind):
    series = series_of(slices(kind))
    organs = organs_on(series.stack.planes)
    write_segmentation(tmp_path / "s.dcm", series, organs, maker=MAKER)
    images = dcmqi(tmp_path / "s.dcm", tmp_path)
    assert len(images) == len(organs)
    planes = series.stack.planes
    for organ, image in zip(organs, images, strict=True):
        found = SimpleITK.GetArrayFromImage(image) > 0
        mask = whole(organ, series)
        assert found.sum() == mask.sum()
        for k, y, x in np.argwhere(mask):
            index = image.TransformPhysicalPointToIndex(
                planes.position_xyz_mm(int(k), np.array([[y, x]], float))[0].tolist()
            )
            assert image[index] > 0


def unsaid(ds):
    """Say nothing of losses."""


def lossy(ds):
    ds.LossyImageCompression = "01"
    ds.LossyImageCompressionRatio, ds.LossyImageCompressionMethod = (
        ["2.5", "8"],
        ["ISO_15444_1", "ISO_10918_1"],
    )


def lossless(ds):
    ds.LossyImageCompression, ds.LossyImageCompressionRatio = "00", "1.5"


@pytest.mark.peer
@pytest.mark.parametrize("fractional", [False, True])
@pytest.mark.parametrize(
    "case", [*KINDS, "multi_frame", "one_organ", "unknown_origin", "unknown_organ", "lossy"]
)
def test_dciodvfy_finds_no_error(tmp_path, series_of, slices, organs_on, peer, case, fractional):
    series = series_of(slices(case), edit=lossy if case == "lossy" else unsaid)
    series = enhanced(series) if case == "multi_frame" else series
    names = {"one_organ": ["Heart"], "unknown_organ": ["Lung_L", "GTV_R"]}.get(case, ["Heart", "Lung_R"])
    organs = organs_on(series.stack.planes, names=names, soft=fractional)
    maker = Maker(automatic=False) if case == "unknown_origin" else MAKER
    write_segmentation(tmp_path / "s.dcm", series, organs, maker=maker, fractional=fractional)
    said = subprocess.run([peer("dciodvfy"), tmp_path / "s.dcm"], check=False, capture_output=True, text=True)
    assert "Error" not in said.stderr
    assert said.stderr.strip().endswith("Segmentation")


@pytest.mark.peer
def test_dcmdump_reads_it(tmp_path, series_of, slices, organs_on, peer):
    series = series_of(slices())
    write_segmentation(tmp_path / "s.dcm", series, organs_on(series.stack.planes), maker=MAKER)
    command = [peer("dcmdump"), "+P", "NumberOfFrames", tmp_path / "s.dcm"]
    said = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "[21]" in said.stdout
    assert said.stderr == ""


def test_probabilities_are_kept_in_steps_of_1_255(tmp_path, series_of, slices, organs_on):
    series = series_of(slices())
    organs = organs_on(series.stack.planes, soft=True)
    write_segmentation(tmp_path / "s.dcm", series, organs, maker=MAKER, fractional=True)
    found = by_highdicom(tmp_path / "s.dcm", series)
    for k, organ in enumerate(organs):
        wanted = np.zeros(series.stack.voxels.shape)
        wanted[organ.box_zyx.slices] = organ.probability
        assert np.abs(found[..., k] - wanted).max() < 0.501 / 255
        assert np.array_equal(found[..., k] >= 0.5, whole(organ, series))
    ds = pydicom.dcmread(tmp_path / "s.dcm")
    assert (ds.SegmentationType, ds.SegmentationFractionalType) == ("FRACTIONAL", "PROBABILITY")
    assert ds.SegmentsOverlap == "UNDEFINED"


def test_probabilities_of_16_bits_are_kept_in_the_same_steps(tmp_path, series_of, slices, organs_on):
    series = series_of(slices())
    organs = [
        dataclasses.replace(organ, probability=organ.probability.astype(np.float16))
        for organ in organs_on(series.stack.planes, soft=True)
    ]
    write_segmentation(tmp_path / "s.dcm", series, organs, maker=MAKER, fractional=True)
    found = by_highdicom(tmp_path / "s.dcm", series)
    for k, organ in enumerate(organs):
        off = np.abs(found[..., k][organ.box_zyx.slices] - organ.probability.astype(np.float64))
        assert off.max() < 0.5001 / 255


@pytest.mark.parametrize("fractional", [False, True])
def test_what_was_drawn_on_lossy_images_says_so(tmp_path, series_of, slices, organs_on, fractional):
    series = series_of(slices(), edit=lossy)
    write_segmentation(
        tmp_path / "s.dcm", series, organs_on(series.stack.planes), maker=MAKER, fractional=fractional
    )
    ds = pydicom.dcmread(tmp_path / "s.dcm")
    assert ds.LossyImageCompression == "01"
    assert ds.LossyImageCompressionRatio == [2.5, 8]
    assert ds.LossyImageCompressionMethod == ["ISO_15444_1", "ISO_10918_1"]


@pytest.mark.parametrize("edit", [unsaid, lossless])
def test_what_was_drawn_on_other_images_says_nothing_is_lost(tmp_path, series_of, slices, organs_on, edit):
    series = series_of(slices(), edit=edit)
    write_segmentation(tmp_path / "s.dcm", series, organs_on(series.stack.planes), maker=MAKER)
    ds = pydicom.dcmread(tmp_path / "s.dcm")
    assert ds.LossyImageCompression == "00"
    assert "LossyImageCompressionRatio" not in ds


@pytest.mark.parametrize(("probability", "inside"), [(0.5, True), (np.nextafter(np.float32(0.5), 0), False)])
def test_the_border_between_in_and_out_survives_the_steps(tmp_path, series_of, slices, probability, inside):
    series = series_of(slices())
    values = np.full((2, 1, 1), probability, np.float32)
    values[0] = 1.0
    organ = OrganMask(
        organ=Organ(name="heart", id=1),
        box_zyx=Box(start_zyx=(3, 4, 5), stop_zyx=(5, 5, 6)),
        probability=values,
    )
    write_segmentation(tmp_path / "s.dcm", series, [organ], maker=MAKER, fractional=True)
    assert (by_highdicom(tmp_path / "s.dcm", series)[4, 4, 5, 0] >= 0.5) == inside


@pytest.mark.parametrize(("soft", "apart", "said"), [(False, False, "YES"), (False, True, "NO")])
def test_overlap_is_said(tmp_path, series_of, slices, organs_on, soft, apart, said):
    series = series_of(slices())
    one, other, _ = organs_on(series.stack.planes, soft=soft)
    if apart:
        other = OrganMask(organ=other.organ, box_zyx=one.box_zyx, probability=1 - one.probability)
    write_segmentation(tmp_path / "s.dcm", series, [one, other], maker=MAKER)
    assert pydicom.dcmread(tmp_path / "s.dcm").SegmentsOverlap == said


def test_segments_say_name_code_side_colour_and_algorithm(tmp_path, series_of, slices, organs_on):
    series = series_of(slices())
    write_segmentation(tmp_path / "s.dcm", series, organs_on(series.stack.planes), maker=MAKER)
    esophagus, left, right = pydicom.dcmread(tmp_path / "s.dcm").SegmentSequence
    assert [s.SegmentLabel for s in (esophagus, left, right)] == ["Esophagus", "Lung_L", "Lung_R"]
    assert esophagus.SegmentedPropertyCategoryCodeSequence[0].CodeMeaning == "Anatomical Structure"
    kind = esophagus.SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodeValue, kind.CodingSchemeDesignator) == ("32849002", "SCT")
    assert "SegmentedPropertyTypeModifierCodeSequence" not in kind
    for segment, side in ((left, "Left"), (right, "Right")):
        kind = segment.SegmentedPropertyTypeCodeSequence[0]
        assert kind.CodeMeaning == "Lung"
        assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == side
    assert tuple(esophagus.RecommendedDisplayCIELabValue) == CIELabColor.from_rgb(255, 196, 0).value
    assert esophagus.SegmentAlgorithmType == "AUTOMATIC"
    algorithm = esophagus.SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("thorax", "0123456789ab")


def test_an_unknown_origin_is_neither_called_automatic_nor_manual(tmp_path, series_of, slices, organs_on):
    series = series_of(slices())
    organs = organs_on(series.stack.planes)
    write_segmentation(tmp_path / "s.dcm", series, organs, maker=Maker(automatic=False))
    segment = pydicom.dcmread(tmp_path / "s.dcm").SegmentSequence[0]
    assert (segment.SegmentAlgorithmType, segment.SegmentAlgorithmName) == ("SEMIAUTOMATIC", "unknown")
    assert "SegmentationAlgorithmIdentificationSequence" not in segment


def test_an_organ_without_a_code_is_warned_of(tmp_path, series_of, slices, organs_on, caplog):
    series = series_of(slices())
    organs = organs_on(series.stack.planes, names=["Heart", "Thing"])
    write_segmentation(tmp_path / "s.dcm", series, organs, maker=MAKER)
    assert ["thing" in message for message in caplog.messages] == [True]


def raw(keyword, value):
    tag = Tag(keyword)
    return RawDataElement(tag, dictionary_VR(tag), len(value), value, 0, False, True)


PATIENTS = {
    "kanji": {
        "SpecificCharacterSet": b"\\ISO 2022 IR 87",
        "PatientName": b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B",
    },
    "latin bytes without a character set": {"PatientName": b"M\xfcller^J\xf6rg "},
    "bytes that are no UTF-8": {"SpecificCharacterSet": b"ISO_IR 192", "PatientName": b"M\xfcller^X"},
    "an unknown character set": {"SpecificCharacterSet": b"ISO_IR 999", "PatientName": b"M\xfcller^X"},
    "values against the rules": {
        "PatientBirthDate": b"1960",
        "PatientSex": b"male",
        "StudyInstanceUID": b"1.2.3.04.5",
        "StudyTime": b"25:61 o'clock ",
    },
}


@pytest.mark.parametrize("case", PATIENTS)
def test_patient_and_study_are_the_sources_byte_for_byte(
    tmp_path, series_of, slices, organs_on, caplog, case
):
    def edit(ds):
        for keyword, value in PATIENTS[case].items():
            ds[keyword] = raw(keyword, value)
        if "SpecificCharacterSet" not in PATIENTS[case]:
            del ds.SpecificCharacterSet

    with lenient():
        series = series_of(slices(), edit=edit)
    write_segmentation(tmp_path / "s.dcm", series, organs_on(series.stack.planes), maker=MAKER)
    with lenient():
        found, source = pydicom.dcmread(tmp_path / "s.dcm"), read_identity(series.identity)
        assert source.get_item("PatientName").value == PATIENTS[case].get("PatientName", b"Nobody^At all ")
        for keyword in ("PatientName", "PatientID", "StudyDate", "FrameOfReferenceUID", *PATIENTS[case]):
            assert found.get_item(keyword).value == source.get_item(keyword).value
    assert "ller" not in caplog.text


def test_the_whole_series_is_referred_to(tmp_path, series_of, slices, organs_on):
    series = series_of(slices())
    write_segmentation(tmp_path / "s.dcm", series, organs_on(series.stack.planes), maker=MAKER)
    ds = pydicom.dcmread(tmp_path / "s.dcm")
    uids = [r.sop_instance_uid for r in series.references]
    instances = ds.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert [item.ReferencedSOPInstanceUID for item in instances] == uids
    assert [item.ReferencedSOPInstanceUID for item in ds.SourceImageSequence] == uids


def test_a_multi_frame_source_is_referred_to_once_and_by_frame(tmp_path, series_of, slices, organs_on):
    series = enhanced(series_of(slices()))
    write_segmentation(tmp_path / "s.dcm", series, organs_on(series.stack.planes), maker=MAKER)
    ds = pydicom.dcmread(tmp_path / "s.dcm")
    assert [item.ReferencedSOPInstanceUID for item in ds.SourceImageSequence] == ["2.25.99"]
    assert ds.SourceImageSequence[0].ReferencedSOPClassUID == EnhancedCTImageStorage
    source = ds.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0]
    origin = ds.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient
    off = np.abs(series.stack.planes.origins_xyz_mm - np.array(origin, float)).max(axis=1)
    assert source.ReferencedFrameNumber == series.references[int(off.argmin())].frame
    assert source.ReferencedSOPClassUID == EnhancedCTImageStorage


def test_empty_organs_are_reported_and_have_no_segment(tmp_path, series_of, slices, organs_on):
    series = series_of(slices())
    organs = organs_on(series.stack.planes)
    none = dataclasses.replace(organs[1], probability=np.full_like(organs[1].probability, 0.49))
    report = write_segmentation(tmp_path / "s.dcm", series, [organs[0], none, organs[2]], maker=MAKER)
    assert report.empty == ("lung_l",)
    assert set(report.frames) == {"esophagus", "lung_r"}
    ds = pydicom.dcmread(tmp_path / "s.dcm")
    assert [(s.SegmentNumber, s.SegmentLabel) for s in ds.SegmentSequence] == [
        (1, "Esophagus"),
        (2, "Lung_R"),
    ]


def test_without_any_voxel_there_is_no_file(tmp_path, series_of, slices, organs_on):
    series = series_of(slices())
    organs = [
        dataclasses.replace(organ, probability=np.zeros_like(organ.probability))
        for organ in organs_on(series.stack.planes)
    ]
    report = write_segmentation(tmp_path / "s.dcm", series, organs, maker=MAKER)
    assert report.empty == ("esophagus", "lung_l", "lung_r")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fractional", [False, True])
def test_a_seed_gives_the_same_bytes(tmp_path, series_of, slices, organs_on, fractional):
    series = series_of(slices())
    organs = organs_on(series.stack.planes)
    maker = dataclasses.replace(MAKER, uid_seed="seed")
    for name in ("a", "b"):
        write_segmentation(tmp_path / name, series, organs, maker=maker, fractional=fractional)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    ds = pydicom.dcmread(tmp_path / "a")
    assert (ds.ContentDate, ds.SeriesDate) == ("20200103", "20200103")


def test_uids_made_of_a_seed_differ_where_the_content_does(tmp_path, series_of, slices, organs_on):
    series = series_of(slices())
    organs = organs_on(series.stack.planes)
    other = dataclasses.replace(organs[0], probability=organs[0].probability[::-1].copy())
    maker = dataclasses.replace(MAKER, uid_seed="seed")
    uids = set()
    for found in (organs, [other, *organs[1:]], organs[:2]):
        write_segmentation(tmp_path / "s.dcm", series, found, maker=maker)
        ds = pydicom.dcmread(tmp_path / "s.dcm")
        uids |= {
            ds.SOPInstanceUID,
            ds.SeriesInstanceUID,
            ds.DimensionIndexSequence[0].DimensionOrganizationUID,
        }
    assert len(uids) == 9


def test_uids_are_fresh_without_a_seed(tmp_path, series_of, slices, organs_on):
    series = series_of(slices())
    organs = organs_on(series.stack.planes)
    uids = set()
    for _ in range(2):
        write_segmentation(tmp_path / "s.dcm", series, organs, maker=MAKER)
        ds = pydicom.dcmread(tmp_path / "s.dcm")
        assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
        uids |= {ds.SOPInstanceUID, ds.SeriesInstanceUID}
    assert len(uids) == 4


def test_an_organ_beyond_the_series_is_refused(tmp_path, series_of, slices):
    series = series_of(slices())
    box = Box(start_zyx=(8, 0, 0), stop_zyx=(10, 1, 1))
    organ = OrganMask(
        organ=Organ(name="heart", id=1), box_zyx=box, probability=np.ones((2, 1, 1), np.float32)
    )
    with pytest.raises(GeometryError, match=r"heart: .* reaches beyond the series"):
        write_segmentation(tmp_path / "s.dcm", series, [organ], maker=MAKER)


@pytest.mark.parametrize("names", [["Herz\\links"], ["Cœur"], ["Heart", "heart"], ["x" * 65]])
def test_names_that_are_no_segment_labels_are_refused(tmp_path, series_of, slices, organs_on, names):
    series = series_of(slices())
    with pytest.raises(LabelError, match="SegmentLabel"):
        write_segmentation(
            tmp_path / "s.dcm", series, organs_on(series.stack.planes, names=names), maker=MAKER
        )
    assert list(tmp_path.iterdir()) == []


def without_frame_of_reference(ds):
    del ds.FrameOfReferenceUID


def test_a_series_without_a_frame_of_reference_is_refused(tmp_path, series_of, slices, organs_on):
    series = series_of(slices(), edit=without_frame_of_reference)
    with pytest.raises(InputError, match="FrameOfReferenceUID"):
        write_segmentation(tmp_path / "s.dcm", series, organs_on(series.stack.planes), maker=MAKER)


def test_a_file_that_is_not_what_was_meant_is_not_left(tmp_path, series_of, slices, organs_on, monkeypatch):
    series = series_of(slices())
    mirrored = seg_writer.frame_pixels
    monkeypatch.setattr(seg_writer, "frame_pixels", lambda *a, **k: mirrored(*a, **k)[:, ::-1])
    (tmp_path / "s.dcm").write_text("old")
    with pytest.raises(ResourceError, match=r"s\.dcm: what was written is not what was meant"):
        write_segmentation(tmp_path / "s.dcm", series, organs_on(series.stack.planes), maker=MAKER)
    assert [file.name for file in tmp_path.iterdir()] == ["s.dcm"]
    assert (tmp_path / "s.dcm").read_text() == "old"


@pytest.mark.parametrize("fractional", [False, True])
def test_memory_stays_below_one_organs_frames(tmp_path: Path, series_of, slices, fractional):
    series = series_of(slices(shape_zyx=(18, 512, 512)))
    box = Box(start_zyx=(0, 200, 200), stop_zyx=(18, 300, 300))
    inside = np.ones(box.shape_zyx, np.float32)
    organs = [
        OrganMask(organ=Organ(name=name, id=1), box_zyx=box, probability=inside)
        for name in ("heart", "aorta")
    ]
    tracemalloc.start()
    try:
        write_segmentation(tmp_path / "s.dcm", series, organs, maker=MAKER, fractional=fractional)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 18 * 512 * 512
