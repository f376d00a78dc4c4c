"""What is asked of a series, and what is known of it besides its pixels."""

from dataclasses import dataclass

import msgspec

from thoar.core.slices import SliceStack
from thoar.core.volume import Volume


class ReadOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a reader of DICOM may do beyond the plain case, each only because somebody asked for it.

    Attributes:
        series: SeriesInstanceUID of the one to read, where there are several; its beginning or end suffices
            where that is unambiguous.
        select: keyword and value that a slice must have, such as ("AcquisitionNumber", "2"), where one series
            holds several volumes.
        rectify: take a tilted or unevenly spaced series; who reads it resamples it by its true geometry.
        fill_gaps: so many missing slices in a row may be interpolated; with 0, a gap is refused.
        assume_intercept: RescaleIntercept of files that have neither slope nor intercept.
        any_modality: take MR or PET too.
    """

    series: str | None = None
    select: tuple[str, str] | None = None
    rectify: bool = False
    fill_gaps: int = 0
    assume_intercept: float | None = None
    any_modality: bool = False


PLAIN = ReadOptions()


class SliceReference(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How other DICOM objects name one slice.

    Attributes:
        file: name of its file, without the folder.
        sop_class_uid: of the file's object.
        sop_instance_uid: likewise.
        frame: number of the frame in it, from 1; None for a file of one slice.
    """

    file: str
    sop_class_uid: str
    sop_instance_uid: str
    frame: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Series:
    """One DICOM series as it lies in the patient.

    Attributes:
        stack: HU and place of every slice, sorted along the normal; int16 where exact, else float32.
        references: one per slice, in the same order.
        identity: the patient's, study's and series' attributes that derived objects repeat, as a DICOM
            file of its own (see ``io/dicom/identity.py``); values are the source's bytes.
    """

    stack: SliceStack
    references: tuple[SliceReference, ...]
    identity: bytes

    @property
    def volume(self) -> Volume | None:
        """The slices as a Volume, array axis 0 counting them; None where they make no regular grid."""
        geometry = self.stack.planes.regular_geometry()
        return None if geometry is None else Volume(voxels=self.stack.voxels, geometry=geometry)
