"""Where the frames of a DICOM-SEG lie among slices, in millimetres of the patient."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from thoar.core.errors import GeometryError, InputError
from thoar.core.slices import POSITION_TOLERANCE_MM, SlicePlanes
from thoar.io.dicom.identity import read_identity
from thoar.io.dicom.records import Series
from thoar.io.structures.seg_object import SegmentationObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one frame lies.

    Attributes:
        index: the slice it is nearest to.
        off_mm: how far it is from there.
        names_another: it names the image of another slice.
    """

    index: int
    off_mm: float
    names_another: bool

    @property
    def fits(self) -> bool:
        """It lies on the slice."""
        return self.off_mm <= POSITION_TOLERANCE_MM


def refuse_other_space(segmentation: SegmentationObject, series: Series) -> None:
    """Refuse a series of another frame of reference or pixel grid.

    Raises:
        InputError: naming the file and the attribute.
        GeometryError: likewise.
    """
    path, planes = segmentation.item.path, series.stack.planes
    frame = str(read_identity(series.identity).get("FrameOfReferenceUID") or "")
    if frame != segmentation.frame_of_reference_uid:
        raise InputError(
            f"{path}: its FrameOfReferenceUID is {segmentation.frame_of_reference_uid or 'missing'}, the "
            f"series' {frame or 'missing'}; give the series it was drawn on"
        )
    if segmentation.shape_yx != planes.shape_yx or grid_off_mm(segmentation, planes) > POSITION_TOLERANCE_MM:
        one, other = _in_words(segmentation), _in_words(planes)
        raise GeometryError(
            f"{path}: its pixel grid ({one}) is not the series' ({other}); give the series it was drawn on"
        )


def grid_off_mm(segmentation: SegmentationObject, planes: SlicePlanes) -> float:
    """Return how far the last pixel of a row or column lies from the slices', first pixels put together."""
    off_mm: list[float] = []
    for axis, name in enumerate(("along_column_xyz", "along_row_xyz")):
        step = getattr(segmentation, name) * segmentation.spacing_yx_mm[axis]
        wanted = getattr(planes, name) * planes.spacing_yx_mm[axis]
        off_mm.append(float(np.linalg.norm(step - wanted)) * (planes.shape_yx[axis] - 1))
    return max(off_mm)


def _in_words(grid: SegmentationObject | SlicePlanes) -> str:
    directions = np.round([*grid.along_row_xyz, *grid.along_column_xyz], 4).tolist()
    return (
        f"Rows, Columns {grid.shape_yx}, PixelSpacing {grid.spacing_yx_mm}, "
        f"ImageOrientationPatient {directions}"
    )


def places_of(
    segmentation: SegmentationObject, planes: SlicePlanes, series: Series | None
) -> tuple[Place, ...]:
    """Return each frame's place.

    Raises:
        GeometryError: if no frame lies on a slice.
    """
    named = _slices_by_name(series) if series else {}
    places: list[Place] = []
    for frame in segmentation.frames:
        off_mm = np.linalg.norm(planes.origins_xyz_mm - frame.origin_xyz_mm, axis=1)
        index = int(off_mm.argmin())
        other = frame.source is not None and named.get(frame.source, index) != index
        places.append(Place(index=index, off_mm=float(off_mm[index]), names_another=other))
    nearest = min(range(len(places)), key=lambda k: places[k].off_mm)
    if not places[nearest].fits:
        raise GeometryError(
            f"{segmentation.item.path}: none of its frames lies on a slice of the series; the nearest, frame "
            f"{nearest + 1}, is {places[nearest].off_mm:.2f} mm off (ImagePositionPatient): give the series "
            "it was drawn on"
        )
    return tuple(places)


def faults_of(frames: Sequence[int], places: Sequence[Place]) -> Iterator[str]:
    """Yield what is odd about a segment's frames, each kind of fault once, with its first frame."""
    off = [k for k in frames if not places[k].fits]
    if off:
        yield (
            f"{len(off)} of {len(frames)} frames lie on no slice (frame {off[0] + 1} is "
            f"{places[off[0]].off_mm:.2f} mm from the nearest): left out"
        )
    wrong = [k for k in frames if places[k].fits and places[k].names_another]
    if wrong:
        yield (
            f"{len(wrong)} of {len(frames)} frames name another slice than the one they lie on (frame "
            f"{wrong[0] + 1} first); their position is believed"
        )
    on = [places[k].index for k in frames if places[k].fits]
    if len(set(on)) < len(on):
        yield f"{len(on) - len(set(on))} slices have more than one frame; joined"


def _slices_by_name(series: Series) -> dict[tuple[str, int | None], int]:
    return {(item.sop_instance_uid, item.frame): k for k, item in enumerate(series.references)}
