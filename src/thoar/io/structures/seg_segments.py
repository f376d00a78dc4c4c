"""What a DICOM-SEG says of each segment: name, code, colour and who drew it (PS3.3 C.8.20.4)."""

import highdicom as hd
from highdicom.color import CIELabColor
from pydicom.sr.codedict import codes as terms

from thoar.core.labels import Organ
from thoar.io.structures.codes import ANATOMICAL_STRUCTURE, Code, structure_code
from thoar.io.structures.organ_mask import Maker
from thoar.io.structures.organ_names import written_name

_UNKNOWN = "unknown"


def described_segment(number: int, organ: Organ, maker: Maker) -> hd.seg.SegmentDescription:
    """Return one item of the SegmentSequence."""
    code = structure_code(organ)
    segment = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=written_name(organ),
        segmented_property_category=_concept(ANATOMICAL_STRUCTURE),
        segmented_property_type=_concept(code.kind),
        algorithm_type="AUTOMATIC" if maker.automatic else "MANUAL",
        algorithm_identification=_algorithm(maker) if maker.automatic else None,
        display_color=CIELabColor.from_rgb(*organ.color_rgb),
    )
    if not maker.automatic:  # none of the three types says that nobody knows; this one claims least
        segment.SegmentAlgorithmType, segment.SegmentAlgorithmName = "SEMIAUTOMATIC", _UNKNOWN
    if code.side is not None:
        kind = segment.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [_concept(code.side)]
    return segment


def _algorithm(maker: Maker) -> hd.AlgorithmIdentificationSequence:
    return hd.AlgorithmIdentificationSequence(
        name=maker.model or "thoar",
        family=terms.DCM.ArtificialIntelligence,
        version=maker.model_version or maker.software_version or _UNKNOWN,
    )


def _concept(code: Code) -> hd.sr.CodedConcept:
    return hd.sr.CodedConcept(value=code.value, scheme_designator="SCT", meaning=code.meaning)
