"""RTSTRUCT files read within bounds; every fault names the file and where in it, by number, never by name.

The numbers of a contour are taken from the file's bytes, ten times as fast as through pydicom's values.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pydicom
from jaxtyping import Float
from pydicom.dataelem import RawDataElement
from pydicom.uid import RTStructureSetStorage

from thoar.core.errors import InputError, UnsupportedFormatError
from thoar.io.dicom.attributes import naming_faults
from thoar.io.dicom.parse import read_header
from thoar.io.dicom.values import shown
from thoar.io.structures.structure_set import Contour, Structure, StructureSet

_log = logging.getLogger(__name__)

_FARTHEST_MM = 1e9
"""No patient lies a thousand kilometres away."""
_LONGEST_BYTES = 2 << 20
"""One contour's numbers as text: 60,000 points."""


def read_rtstruct(path: Path) -> StructureSet:
    """Read an RTSTRUCT as it is; what is odd about its contours is for whoever draws them to say.

    Raises:
        InputError: if the file is damaged, numbers a structure twice, or a contour's numbers are no points.
        UnsupportedFormatError: if it is no RTSTRUCT.
    """
    header = read_header(path)
    with naming_faults(path):
        _check_kind(header, path)
        structures = tuple(_structures(header, path))
        frames = [_text(item, "FrameOfReferenceUID") for item in _frames(header)]
        series = list(_referenced_series(header))
        return StructureSet(
            file=path.name,
            frame_of_reference_uids=_distinct([*frames, *(s.frame_of_reference_uid for s in structures)]),
            series_uids=_distinct(_text(item, "SeriesInstanceUID") for item in series),
            sop_instance_uids=frozenset(
                _text(image, "ReferencedSOPInstanceUID")
                for item in series
                for image in _items(item, "ContourImageSequence")
            ),
            structures=structures,
        )


def is_rtstruct(header: pydicom.Dataset) -> bool:
    """Say whether a file's attributes are those of an RTSTRUCT; some have lost their SOP class."""
    kind = header.get("SOPClassUID")
    return kind == RTStructureSetStorage or (not kind and header.get("Modality") == "RTSTRUCT")


def _check_kind(header: pydicom.Dataset, path: Path) -> None:
    if not is_rtstruct(header):
        modality, kind = (shown(_text(header, name), name) for name in ("Modality", "SOPClassUID"))
        raise UnsupportedFormatError(
            f"{path}: its Modality is {modality} (SOPClassUID {kind}), not RTSTRUCT; give the structure "
            "set's own file"
        )
    for keyword, what in (("StructureSetROISequence", "structures"), ("ROIContourSequence", "contours")):
        if keyword not in header:
            raise InputError(f"{path}: has no {keyword}, so no {what}; it is cut short: fetch it again")


def _structures(header: pydicom.Dataset, path: Path) -> Iterator[Structure]:
    drawn = _by_number(header, "ROIContourSequence", path)
    observed = _by_number(header, "RTROIObservationsSequence", path)
    seen: set[int] = set()
    for item in _items(header, "StructureSetROISequence"):
        number = _number(item, "ROINumber", path)
        if number in seen:
            raise InputError(f"{path}: two structures have ROINumber {number}; export it again")
        seen.add(number)
        yield Structure(
            name=_text(item, "ROIName").strip(),
            number=number,
            color_rgb=_color(drawn.get(number, [])),
            interpreted_type=next((_text(o, "RTROIInterpretedType") for o in observed.get(number, [])), ""),
            frame_of_reference_uid=_text(item, "ReferencedFrameOfReferenceUID"),
            contours=tuple(_contours(drawn.get(number, []), number, path=path)),
        )
    for number in drawn.keys() - seen:
        _log.warning("%s: contours of ROINumber %d belong to no structure and are left out", path, number)


def _contours(drawn: Sequence[pydicom.Dataset], number: int, *, path: Path) -> Iterator[Contour]:
    items = [contour for item in drawn for contour in _items(item, "ContourSequence")]
    for k, item in enumerate(items, start=1):
        points = _points_xyz_mm(item, f"{path}: contour {k} of ROINumber {number}")
        images = _items(item, "ContourImageSequence")
        yield Contour(
            points_xyz_mm=points,
            geometric_type=_text(item, "ContourGeometricType").strip().upper(),
            sop_instance_uid=next((_text(image, "ReferencedSOPInstanceUID") for image in images), ""),
        )


def _points_xyz_mm(item: pydicom.Dataset, what: str) -> Float[np.ndarray, "point 3"]:
    raw = item.get_item("ContourData")
    if isinstance(raw, RawDataElement) and raw.value is not None:
        if len(raw.value) > _LONGEST_BYTES:
            raise InputError(
                f"{what}: ContourData takes {len(raw.value)} bytes, at most {_LONGEST_BYTES} are read; it is "
                "damaged, or no contour"
            )
        texts: Sequence[object] = [text for text in raw.value.rstrip(b" \0").split(b"\\") if text]
    else:
        value = item.get("ContourData")
        texts = [] if value is None else list(value) if isinstance(value, Sequence) else [value]
    try:
        numbers = np.array([float(text) for text in texts])  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):
        raise InputError(f"{what}: ContourData holds what is no number; export the file again") from None
    if len(numbers) % 3 or not (np.abs(numbers) < _FARTHEST_MM).all():
        raise InputError(
            f"{what}: ContourData of {len(numbers)} numbers are no points; export the file again"
        )
    said = item.get("NumberOfContourPoints")
    if said not in (None, "") and int(said) != len(numbers) // 3:
        raise InputError(
            f"{what}: NumberOfContourPoints is {said}, but ContourData holds {len(numbers) // 3}; "
            "export the file again"
        )
    return numbers.reshape(-1, 3)


def _by_number(header: pydicom.Dataset, sequence: str, path: Path) -> Mapping[int, Sequence[pydicom.Dataset]]:
    found: dict[int, list[pydicom.Dataset]] = {}
    for item in _items(header, sequence):
        found.setdefault(_number(item, "ReferencedROINumber", path), []).append(item)
    return found


def _frames(header: pydicom.Dataset) -> Sequence[pydicom.Dataset]:
    return _items(header, "ReferencedFrameOfReferenceSequence")


def _referenced_series(header: pydicom.Dataset) -> Iterator[pydicom.Dataset]:
    for frame in _frames(header):
        for study in _items(frame, "RTReferencedStudySequence"):
            yield from _items(study, "RTReferencedSeriesSequence")


def _items(dataset: pydicom.Dataset, sequence: str) -> Sequence[pydicom.Dataset]:
    return dataset.get(sequence) or ()


def _number(item: pydicom.Dataset, keyword: str, path: Path) -> int:
    value = item.get(keyword)
    if value in (None, ""):
        raise InputError(f"{path}: a structure has no {keyword}; export it again")
    return int(str(value))


def _text(item: pydicom.Dataset, keyword: str) -> str:
    return str(item.get(keyword) or "")


def _color(drawn: Sequence[pydicom.Dataset]) -> tuple[int, int, int] | None:
    for item in drawn:
        value = item.get("ROIDisplayColor")
        if value and len(value) == 3:  # noqa: PLR2004 (red, green, blue)
            red, green, blue = (min(max(int(v), 0), 255) for v in value)
            return (red, green, blue)
    return None


def _distinct(uids: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(uid for uid in uids if uid))
