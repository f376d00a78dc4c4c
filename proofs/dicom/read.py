# ruff: noqa: E501 (tables: one series a line)
"""Every series that must be read: HU exact voxel by voxel, and every slice within 0.1 mm of its place."""

from collections.abc import Callable
from pathlib import Path

from proofs.dicom.cases import SMALL, Readable, Taken, at, changed, deeper, without
from proofs.dicom.phantom import sampled
from proofs.dicom.read_kinds import KINDS, enhanced
from proofs.dicom.read_places import COARSE, NAMES, PLACED
from proofs.dicom.read_values import VALUES, as_hu
from proofs.dicom.readable import holding
from proofs.dicom.refused_frames import phases
from proofs.dicom.refused_series import COUNT, RNG, doubled, second_series, tilted
from proofs.dicom.written import uid_of

from thoar.io.dicom.records import ReadOptions


def _seconds(**values: object) -> Callable[[Path], Taken]:
    """Return a series of two volumes whose first one is to be selected."""
    return holding(doubled(**values))


def _but(*absent: int, count: int = COUNT) -> list[int]:
    return [k for k in range(count) if k not in absent]


_TILTED = sampled(tilted(12), COARSE)

_OTHER = str(uid_of("series", ""))

ALLOWED = (
    Readable(id="A1+", what="one slice absent, a gap may be filled", make=holding(without(6), kept=_but(6)), options=ReadOptions(fill_gaps=1), warns="slice_05"),
    Readable(id="A2+", what="three absent in a row, three may be filled", make=holding(without(4, 5, 6), kept=_but(4, 5, 6)), options=ReadOptions(fill_gaps=3), warns="slice_03"),
    Readable(id="A2+b", what="three absent here and there, gaps of one may be filled", make=holding(without(2, 6, 9), kept=_but(2, 6, 9)), options=ReadOptions(fill_gaps=1), warns="slice_01"),
    Readable(id="A2+c", what="one absent of a tilted series, both allowed", make=holding(without(6), sampling=_TILTED, kept=_but(6, count=len(_TILTED.origins_xyz_mm))), options=ReadOptions(fill_gaps=1, rectify=True), warns="slice_05"),
    Readable(id="A4+", what="steps of 6 mm, then of 3 mm, may be rectified", make=holding(sampling=deeper([0, 6, 12, 18, 24, 27, 30, 33, 36, 39])), options=ReadOptions(rectify=True)),
    Readable(id="A6+", what="slices up to 0.5 mm off, may be rectified", make=holding(sampling=at(SMALL, RNG.uniform(-0.5, 0.5, (COUNT, 1)) * SMALL.normal_xyz)), options=ReadOptions(rectify=True)),
    Readable(id="A7+a", what="tilt 15°, may be rectified", make=holding(sampling=sampled(tilted(15), COARSE)), options=ReadOptions(rectify=True)),
    Readable(id="A7+b", what="tilt -22.5°, may be rectified", make=holding(sampling=sampled(tilted(-22.5), COARSE)), options=ReadOptions(rectify=True)),
    Readable(id="A7+c", what="tilt about y 8°, may be rectified", make=holding(sampling=sampled(tilted(8, about="y"), COARSE)), options=ReadOptions(rectify=True)),
    Readable(id="A12+a", what="two series, one chosen", make=holding(second_series()), options=ReadOptions(series=_OTHER)),
    Readable(id="A12+b", what="two series, one chosen by the end of its UID", make=holding(second_series("sub/")), options=ReadOptions(series=_OTHER[-12:])),
    Readable(id="A34+a", what="two phases, one selected", make=holding(lambda files: (changed(TemporalPositionIdentifier=1)(files), doubled(TemporalPositionIdentifier=2)(files))), options=ReadOptions(select=("TemporalPositionIdentifier", "1"))),
    Readable(id="A34+b", what="two acquisitions, one selected", make=_seconds(AcquisitionNumber=2), options=ReadOptions(select=("AcquisitionNumber", "1"))),
    Readable(id="A34+c", what="two kernels, one selected", make=holding(lambda files: (changed(ConvolutionKernel="B30")(files), doubled(ConvolutionKernel="B70")(files))), options=ReadOptions(select=("ConvolutionKernel", "B30"))),
    Readable(id="A35+", what="Modality MR, any modality taken", make=holding(changed(Modality="MR")), options=ReadOptions(any_modality=True), warns="MR"),
    Readable(id="A36+", what="Enhanced CT of two phases, one selected", make=enhanced(edit=phases), options=ReadOptions(select=("TemporalPositionIndex", "1"))),
    Readable(id="B1+b", what="the intercept assumed though the files have one", make=holding(), options=ReadOptions(assume_intercept=0.0)),
    Readable(id="B1+", what="no rescale, the intercept assumed", make=holding(changed(RescaleSlope=None, RescaleIntercept=None)), options=ReadOptions(assume_intercept=-1024.0), warns="RescaleIntercept"),
    Readable(id="B1+c", what="no rescale, but pixels of HU, and so said", make=holding(as_hu), options=ReadOptions(assume_intercept=0.0), warns="RescaleIntercept"),
)  # fmt: skip

READ: tuple[Readable, ...] = (*PLACED, *KINDS, *VALUES, *NAMES, *ALLOWED)
