"""What taking over a layout took and what it left, and why: ``import.json``."""

import msgspec

REPORT = "import.json"


class TakenCase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A case that was made.

    Attributes:
        id: of the case.
        volumes_ml: of the organs that have a voxel.
        notes: what somebody should know of it.
    """

    id: str
    volumes_ml: dict[str, float]
    notes: tuple[str, ...]


class RefusedCase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A case that was not made, and why."""

    id: str
    reason: str


class LayoutReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole import.

    Attributes:
        thoar: version that did it.
        layout: name of the source's layout.
        names_sha256: of the file of names; None without one.
        meanings: the source's labels that were taken, and as which organ.
        left_out: the source's other labels.
        cases: made.
        refused: not made.
        without_organs: ids of scans of other parts of the body, which were left out.
        labelled: number of cases with a label map.
        cases_with: in how many of these each organ of the label set has a voxel.
    """

    thoar: str
    layout: str
    names_sha256: str | None
    meanings: dict[str, str]
    left_out: tuple[str, ...]
    cases: tuple[TakenCase, ...]
    refused: tuple[RefusedCase, ...]
    without_organs: tuple[str, ...]
    labelled: int
    cases_with: dict[str, int]
