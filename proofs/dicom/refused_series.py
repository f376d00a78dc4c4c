# ruff: noqa: E501 (tables: one series a line)
"""Section A of the catalogue of faults: slices that make no one series, or whose place is not to be known."""

from pathlib import Path

import numpy as np
from proofs.dicom.cases import ANY_FILE, SMALL, Edit, Make, Refused, at, changed, deeper, series, without
from proofs.dicom.phantom import Orientation, hounsfield, sampled
from proofs.dicom.written import Files, copied, decimals, pixels, slice_files, uid_of

from thoar.core.errors import (
    GeometryError,
    IncompleteSeriesError,
    InputError,
    ThoarError,
    UnsupportedFormatError,
)
from thoar.io.dicom.records import PLAIN, ReadOptions

COUNT = len(SMALL.origins_xyz_mm)
EVERYTHING = ReadOptions(rectify=True, fill_gaps=9, assume_intercept=-1024.0, any_modality=True)
RNG = np.random.default_rng(4)


def tilted(degrees: float, *, about: str = "x") -> Orientation:
    """Return slices turned about one axis while the couch moves along z."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    row = (1.0, 0.0, 0.0) if about == "x" else (cosine, 0.0, sine)
    column = (0.0, cosine, sine) if about == "x" else (0.0, 1.0, 0.0)
    return Orientation(
        name=f"tilted {degrees:+g}° about {about}",
        along_row_xyz=row,
        along_column_xyz=column,
        step_xyz=(0.0, 0.0, 1.0),
    )


def shifted(on: list[int], xyz_mm: tuple[float, float, float]) -> Make:
    """Return a series some of whose slices lie elsewhere."""
    shifts = np.zeros((COUNT, 3))
    shifts[on] = xyz_mm
    return series(sampling=at(SMALL, shifts))


def doubled(**values: object) -> Edit:
    """Return an edit that adds a second image in every place, with other pixels and attributes."""

    def edit(files: Files) -> None:
        for name, ds in list(files.items()):
            other = copied(ds, f"second {name}")
            other.PixelData = (pixels(ds) + np.uint16(7)).tobytes()
            for keyword, value in values.items():
                setattr(other, keyword, value)
            files[f"second_{name}"] = other

    return edit


def second_series(prefix: str = "other_") -> Edit:
    """Return an edit that adds another series of the same study."""

    def edit(files: Files) -> None:
        others = slice_files(SMALL, hounsfield(SMALL.points_xyz_mm), series="other")
        files.update({f"{prefix}{name}": ds for name, ds in others.items()})

    return edit


def _another_image_at(*indices: int) -> Edit:
    def edit(files: Files) -> None:
        for k in indices:
            other = copied(files[f"slice_{k:02d}.dcm"], f"double {k}")
            other.PixelData = (pixels(other) + np.uint16(9)).tobytes()
            files[f"double_{k:02d}.dcm"] = other

    return edit


def _one_uid(files: Files) -> None:
    other = files["slice_06.dcm"]
    other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = files["slice_05.dcm"].SOPInstanceUID


def _same_pixels_other_rescale(files: Files) -> None:
    other = copied(files["slice_05.dcm"], "double 5")
    other.RescaleIntercept = "-1000"
    files["double_05.dcm"] = other


def _with_pet(files: Files) -> None:
    second_series()(files)
    for name, ds in files.items():
        if name.startswith("other_"):
            ds.Modality = "PT"


def _decimal_comma(folder: Path) -> None:
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes().replace(b"9.1000000000", b"9,1000000000"))


def _all_in_one_place(files: Files) -> None:
    for k in range(1, COUNT):
        files[f"slice_{k:02d}.dcm"].ImagePositionPatient = files["slice_00.dcm"].ImagePositionPatient


def _fewer_rows(files: Files) -> None:
    ds = files["slice_05.dcm"]
    ds.Rows, ds.PixelData = ds.Rows - 2, pixels(ds)[:-2].tobytes()


def _swapped_rows(files: Files) -> None:
    ds = files["slice_05.dcm"]
    ds.Rows, ds.Columns = ds.Columns, ds.Rows


GAPS = (
    Refused(id="A1a", what="one middle slice absent", make=series(without(6)), file=r"slice_05\.dcm.*slice_07\.dcm", finding="10", fix="--fill-gaps", error=IncompleteSeriesError),
    Refused(id="A1b", what="the second slice absent", make=series(without(1)), file=r"slice_00\.dcm.*slice_02\.dcm", finding="10", fix="--fill-gaps", error=IncompleteSeriesError),
    Refused(id="A1c", what="the last but one absent", make=series(without(COUNT - 2)), file=r"slice_10\.dcm.*slice_12\.dcm", finding="10", fix="--fill-gaps", error=IncompleteSeriesError),
    Refused(id="A2a", what="three absent in a row", make=series(without(4, 5, 6)), file=r"slice_03\.dcm.*slice_07\.dcm", finding="20", fix="--fill-gaps", error=IncompleteSeriesError),
    Refused(id="A2b", what="three absent here and there", make=series(without(2, 6, 9)), file=ANY_FILE, finding="10", fix="--fill-gaps", error=IncompleteSeriesError),
    Refused(id="A2c", what="three absent, two may be filled", make=series(without(4, 5, 6)), file=r"slice_03\.dcm.*slice_07\.dcm", finding="20", fix="--fill-gaps", options=ReadOptions(fill_gaps=2), error=IncompleteSeriesError),
    Refused(id="A2d", what="one absent of a tilted series, tilt allowed", make=series(without(6), sampling=sampled(tilted(12), (5.0, 9.1, 8.3))), file=r"slice_05\.dcm.*slice_07\.dcm", finding="mm", fix="--fill-gaps", options=ReadOptions(rectify=True), error=IncompleteSeriesError),
)  # fmt: skip

UNEVEN = (
    Refused(id="A4a", what="steps of 6 mm, then of 3 mm", make=series(sampling=deeper([0, 6, 12, 18, 24, 27, 30, 33, 36, 39])), file=ANY_FILE, finding="mm", fix="--rectify"),
    Refused(id="A4b", what="steps of 3 mm, then two of 6 mm", make=series(sampling=deeper([0, 3, 6, 9, 12, 15, 18, 24, 30])), file=ANY_FILE, finding="mm", fix="--rectify|--fill-gaps"),
    Refused(id="A4c", what="steps that grow by 0.2 mm", make=series(sampling=deeper(np.cumsum(np.linspace(3, 5, 11)))), file=ANY_FILE, finding="mm", fix="--rectify"),
    Refused(id="A4d", what="one step of 1.4 times the others", make=series(sampling=deeper([0, 5, 10, 17, 22, 27, 32])), file=ANY_FILE, finding="mm", fix="--rectify|--fill-gaps"),
    Refused(id="A4e", what="two blocks with 33 mm between them", make=series(sampling=deeper([0, 3, 6, 9, 12, 45, 48, 51, 54])), file=r"slice_04\.dcm.*slice_05\.dcm", finding="33", fix="--fill-gaps"),
    Refused(id="A6a", what="one slice 0.5 mm off along the normal", make=shifted([5], (0, 0, 0.5)), file=r"slice_0[4-6]\.dcm", finding="mm", fix="--rectify"),
    Refused(id="A6b", what="all slices up to 0.5 mm off", make=series(sampling=at(SMALL, RNG.uniform(-0.5, 0.5, (COUNT, 1)) * SMALL.normal_xyz)), file=ANY_FILE, finding="mm", fix="--rectify"),
    Refused(id="A6c", what="one slice 0.25 mm off", make=shifted([5], (0, 0, 0.25)), file=r"slice_0[4-6]\.dcm", finding="mm", fix="--rectify"),
    Refused(id="A7a", what="gantry tilt 15°", make=series(sampling=sampled(tilted(15), (5.0, 9.1, 8.3))), file="series", finding=r"15(\.0)?\s?°", fix="--rectify", error=GeometryError),
    Refused(id="A7b", what="gantry tilt -22.5°", make=series(sampling=sampled(tilted(-22.5), (5.0, 9.1, 8.3))), file="series", finding=r"22\.5\s?°", fix="--rectify", error=GeometryError),
    Refused(id="A7c", what="gantry tilt 1°", make=series(sampling=sampled(tilted(1), (5.0, 9.1, 8.3))), file="series", finding=r"1(\.0)?\s?°", fix="--rectify", error=GeometryError),
    Refused(id="A7d", what="tilt about y 8°", make=series(sampling=sampled(tilted(8, about="y"), (5.0, 9.1, 8.3))), file="series", finding=r"8(\.0)?\s?°", fix="--rectify", error=GeometryError),
    Refused(id="A7e", what="sheared by 15° with plain axial orientation", make=series(sampling=at(SMALL, np.outer(np.arange(COUNT) * 5 * np.tan(np.radians(15)), (0, 1, 0)))), file="series", finding=r"15(\.0)?\s?°", fix="--rectify", error=GeometryError),
    Refused(id="A8a", what="half the slices 10 mm to the side", make=shifted(list(range(6, COUNT)), (10, 0, 0)), file=ANY_FILE, finding="ImagePositionPatient"),
    Refused(id="A8b", what="one slice 1 mm to the side", make=shifted([5], (1, 0, 0)), file=r"slice_05\.dcm", finding="ImagePositionPatient"),
    Refused(id="A8c", what="slices that wander to the side and back", make=series(sampling=at(SMALL, np.outer(np.sin(np.arange(COUNT) / 4), (0, 3, 0)))), file=ANY_FILE, finding="ImagePositionPatient"),
)  # fmt: skip

CHOICES = (
    Refused(id="A10a", what="two images in one place", make=series(_another_image_at(5)), file=r"(double|slice)_05\.dcm.*(double|slice)_05\.dcm", finding="same place|position|doubled", error=IncompleteSeriesError),
    Refused(id="A10b", what="two reconstructions without a name", make=series(doubled()), file=ANY_FILE, finding="same place|position|doubled", error=IncompleteSeriesError),
    Refused(id="A10c", what="all images in one place", make=series(_all_in_one_place), file=ANY_FILE, finding="same place|position|doubled", error=IncompleteSeriesError),
    Refused(id="A10d", what="two images in one place, of other rescale", make=series(_same_pixels_other_rescale), file=r"(double|slice)_05\.dcm.*(double|slice)_05\.dcm", finding="same place|position|doubled", error=IncompleteSeriesError),
    Refused(id="A10e", what="two images in one place, every option given", make=series(_another_image_at(5)), file=r"(double|slice)_05\.dcm.*(double|slice)_05\.dcm", finding="same place|position|doubled", options=EVERYTHING, error=IncompleteSeriesError),
    Refused(id="A11", what="two slices with one SOPInstanceUID", make=series(_one_uid), file=r"slice_0[56]\.dcm.*slice_0[56]\.dcm", finding="SOPInstanceUID"),
    Refused(id="A12a", what="two series in a folder", make=series(second_series()), file="series", finding=f"{uid_of('series', '')}.*{uid_of('series', 'other')}|{uid_of('series', 'other')}.*{uid_of('series', '')}", fix="--series"),
    Refused(id="A12b", what="two series in two sub-folders", make=series(second_series("sub/")), file="series", finding="2 series", fix="--series"),
    Refused(id="A12c", what="a series chosen that is not there", make=series(second_series()), file="series", finding=r"1\.2\.3\.4", fix="--series", options=ReadOptions(series="1.2.3.4"), error=ThoarError),
    Refused(id="A12d", what="a choice that means both series", make=series(second_series()), file="series", finding=r"1\.2\.826", fix="--series", options=ReadOptions(series="1.2.826"), error=ThoarError),
    Refused(id="A12e", what="a CT and a PET series in a folder", make=series(_with_pet), file="series", finding="CT.*PT|PT.*CT", fix="--series"),
    Refused(id="A34a", what="two phases in one series (TemporalPositionIdentifier)", make=series(doubled(TemporalPositionIdentifier=2)), file="series", finding="TemporalPositionIdentifier", fix="--select"),
    Refused(id="A34b", what="two acquisitions in one series", make=series(doubled(AcquisitionNumber=2)), file="series", finding="AcquisitionNumber", fix="--select"),
    Refused(id="A34c", what="two phases told by ImageComments", make=series(doubled(ImageComments="phase 50 %")), file="series", finding="ImageComments", fix="--select"),
    Refused(id="A34d", what="two kernels in one series", make=series(doubled(ConvolutionKernel="B70")), file="series", finding="ConvolutionKernel", fix="--select"),
    Refused(id="A34e", what="a selection that no slice has", make=series(doubled(AcquisitionNumber=2)), file="series", finding="AcquisitionNumber.*9", fix="--select|1.*2", options=ReadOptions(select=("AcquisitionNumber", "9")), error=ThoarError),
    Refused(id="A34f", what="a selection that leaves two images a place", make=series(doubled(AcquisitionNumber=2)), file="series", finding="AcquisitionNumber", fix="--select", options=ReadOptions(select=("Modality", "CT"))),
    Refused(id="A35a", what="Modality MR", make=series(changed(Modality="MR")), file=ANY_FILE, finding="Modality.*MR", fix="--any-modality|export|give", error=UnsupportedFormatError),
    Refused(id="A35b", what="Modality PT", make=series(changed(Modality="PT")), file=ANY_FILE, finding="Modality.*PT", fix="--any-modality|export|give", error=UnsupportedFormatError),
    Refused(id="A35c", what="one slice is MR", make=series(changed([5], Modality="MR")), file=r"slice_05\.dcm|series", finding="MR"),
    Refused(id="A37a", what="a maximum intensity projection", make=series(changed(ImageType=["DERIVED", "SECONDARY", "AXIAL", "MIP"])), file=ANY_FILE, finding="ImageType.*MIP"),
    Refused(id="A42a", what="PatientID differs on one slice", make=series(changed([5], PatientID="P-2")), file=r"slice_05\.dcm", finding="PatientID"),
    Refused(id="A42b", what="half the slices of another patient", make=series(changed(range(6, COUNT), PatientID="P-2")), file=ANY_FILE, finding="PatientID"),
    Refused(id="A42c", what="StudyInstanceUID differs on one slice", make=series(changed([5], StudyInstanceUID=uid_of("other study"))), file=r"slice_05\.dcm", finding="StudyInstanceUID"),
    Refused(id="A33a", what="FrameOfReferenceUID differs on half the slices", make=series(changed(range(6, COUNT), FrameOfReferenceUID=uid_of("other frame"))), file=ANY_FILE, finding="FrameOfReferenceUID"),
    Refused(id="A33b", what="FrameOfReferenceUID differs on one slice", make=series(changed([5], FrameOfReferenceUID=uid_of("other frame"))), file=r"slice_05\.dcm", finding="FrameOfReferenceUID"),
    Refused(id="A33c", what="FrameOfReferenceUID absent on one slice", make=series(changed([5], FrameOfReferenceUID=None)), file=r"slice_05\.dcm", finding="FrameOfReferenceUID"),
)  # fmt: skip

TURNED = decimals(np.array([np.cos(0.05), np.sin(0.05), 0, -np.sin(0.05), np.cos(0.05), 0]))
_SLANTED = decimals(np.array([1, 0, 0, 0.199, 0.98, 0]))


def _place(
    id_: str,
    what: str,
    keyword: str,
    edit: Edit,
    *,
    file: str = r"slice_05\.dcm",
    value: str = "",
    options: ReadOptions = PLAIN,
) -> Refused:
    return Refused(
        id=id_,
        what=what,
        make=series(edit),
        file=file,
        finding=f"{keyword}.*{value}",
        options=options,
        error=InputError,
    )


PLACES = (
    _place("A23a", "ImagePositionPatient absent on one slice", "ImagePositionPatient", changed([5], ImagePositionPatient=None)),
    _place("A23b", "ImagePositionPatient NaN on one slice", "ImagePositionPatient", changed([5], ImagePositionPatient=["1", "nan", "2"]), value="nan"),
    _place("A23c", "ImagePositionPatient of two values", "ImagePositionPatient", changed([5], ImagePositionPatient=["1", "2"])),
    _place("A23d", "ImagePositionPatient absent everywhere", "ImagePositionPatient", changed(ImagePositionPatient=None), file=ANY_FILE),
    _place("A23e", "ImagePositionPatient infinite", "ImagePositionPatient", changed([5], ImagePositionPatient=["1", "2", "1e400"])),
    _place("A23f", "ImagePositionPatient empty", "ImagePositionPatient", changed([5], ImagePositionPatient="")),
    _place("A24a", "ImageOrientationPatient absent on one slice", "ImageOrientationPatient", changed([5], ImageOrientationPatient=None)),
    _place("A24b", "ImageOrientationPatient absent everywhere", "ImageOrientationPatient", changed(ImageOrientationPatient=None), file=ANY_FILE),
    _place("A25a", "directions of length 2", "ImageOrientationPatient", changed(ImageOrientationPatient=[2, 0, 0, 0, 2, 0]), file=ANY_FILE, value="2"),
    _place("A25b", "directions of length 0", "ImageOrientationPatient", changed(ImageOrientationPatient=[0, 0, 0, 0, 0, 0]), file=ANY_FILE, value="0"),
    _place("A25c", "directions of five numbers", "ImageOrientationPatient", changed([5], ImageOrientationPatient=[1, 0, 0, 0, 1])),
    _place("A26a", "directions 11.5° off the right angle", "ImageOrientationPatient", changed(ImageOrientationPatient=_SLANTED), file=ANY_FILE, value=r"0\.199"),
    _place("A26b", "rows and columns in one direction", "ImageOrientationPatient", changed(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), file=ANY_FILE),
    _place("A27a", "one slice turned by 3°", "ImageOrientationPatient", changed([5], ImageOrientationPatient=TURNED)),
    _place("A27b", "one slice mirrored", "ImageOrientationPatient", changed([5], ImageOrientationPatient=[-1, 0, 0, 0, 1, 0])),
    _place("A27c", "half the slices turned by 3°", "ImageOrientationPatient", changed(range(6, COUNT), ImageOrientationPatient=TURNED), file=ANY_FILE),
    _place("A27d", "one slice turned by 3°, every option given", "ImageOrientationPatient", changed([5], ImageOrientationPatient=TURNED), options=EVERYTHING),
    _place("A28a", "PixelSpacing absent everywhere", "PixelSpacing", changed(PixelSpacing=None), file=ANY_FILE),
    _place("A28b", "PixelSpacing absent, ImagerPixelSpacing present", "PixelSpacing", changed(PixelSpacing=None, ImagerPixelSpacing=["1", "1"]), file=ANY_FILE),
    _place("A28c", "PixelSpacing absent on one slice", "PixelSpacing", changed([5], PixelSpacing=None)),
    _place("A29a", "PixelSpacing 0", "PixelSpacing", changed(PixelSpacing=["0", "0"]), file=ANY_FILE, value="0"),
    _place("A29b", "PixelSpacing negative", "PixelSpacing", changed(PixelSpacing=["-9.1", "8.3"]), file=ANY_FILE, value="-9.1"),
    _place("A29c", "PixelSpacing of one value", "PixelSpacing", changed([5], PixelSpacing="9.1"), value=r"9\.1"),
    _place("A30a", "PixelSpacing differs on one slice", "PixelSpacing", changed([5], PixelSpacing=["9.1", "8.4"])),
    _place("A30b", "row and column spacing swapped on one slice", "PixelSpacing", changed([5], PixelSpacing=["8.3", "9.1"])),
    Refused(id="A29d", what="PixelSpacing with decimal commas", make=series(after=_decimal_comma), file=ANY_FILE, finding="PixelSpacing.*9,1"),
    _place("A31a", "Rows differ on one slice", "Rows", _fewer_rows),
    _place("A31b", "Rows and Columns swapped on one slice", "Rows|Columns", _swapped_rows),
)  # fmt: skip

REFUSED_SERIES = (*GAPS, *UNEVEN, *CHOICES, *PLACES)
