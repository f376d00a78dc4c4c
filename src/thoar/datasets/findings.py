"""What a check of a data set found: one line for each fault, with what to do about it."""

import csv
import io
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import msgspec

from thoar.core.errors import InputError
from thoar.io.atomic import atomic_bytes

Severity = Literal["error", "warning"]

JSON_NAME = "findings.json"
CSV_NAME = "findings.csv"
COLUMNS = ("severity", "case_id", "organ", "kind", "found", "remedy")

KINDS: Mapping[str, tuple[Severity, str]] = MappingProxyType(
    {
        "unreadable_image": ("error", "export the image anew, or take the case out"),
        "unreadable_label": ("error", "export the label map anew, or take the case out"),
        "label_values": ("error", "write whole label ids, without interpolation"),
        "unknown_ids": ("error", "add these ids to the label set, or remove them from the label map"),
        "high_ids": ("error", "give the organs ids up to 255, in label set and label maps"),
        "other_grid": (
            "error",
            "resample the labels onto the image's grid, or find the image they belong to",
        ),
        "no_body": ("error", "is this a chest CT in Hounsfield units? export it anew"),
        "no_hu": ("error", "apply the rescale slope and intercept: air is -1000 HU, water 0"),
        "lost_by_crop": ("error", "look whether image and labels belong together"),
        "empty_organ": (
            "error",
            "restore its labels; or list it under `absent` if it was looked for, or take it out of `organs`",
        ),
        "declared_absent": ("error", "take the organ out of the case's `absent`, or remove its voxels"),
        "wrong_tissue": ("error", "look at the picture: labels and image do not fit (displaced or swapped?)"),
        "doubtful_tissue": ("warning", "look at the picture: is the organ displaced or drawn too wide?"),
        "doubled_image": ("error", "keep one of the cases, or give both the same group"),
        "doubled_image_in_group": ("warning", "keep one of the cases, unless two people drew on one scan"),
        "doubled_labels": ("error", "find the label map that belongs to each of the images"),
        "no_label": ("warning", "add a label map; training leaves the case out"),
        "unlisted_organ": ("warning", "list the organ under the case's `organs`, or remove its voxels"),
        "pieces": ("warning", "look at the picture; remove stray voxels, which widen the organ's box"),
        "gaps": ("warning", "draw the organ in the slices between"),
        "few_slices": ("warning", "is the organ drawn in full? if not, take it out of the case's `organs`"),
        "outside_body": ("warning", "look at the picture: is the organ displaced?"),
        "volume": ("warning", "look at the picture: is the whole organ drawn, and nothing else?"),
        "place": ("warning", "look at the picture: is the organ displaced, or called by another's id?"),
        "values": ("warning", "look at the picture: is the organ displaced, or called by another's id?"),
        "mirrored": ("warning", "look whether the image's or the label's header is mirrored"),
        "swapped_pair": ("warning", "exchange the two ids, unless the patient is so"),
        "absent_everywhere": ("warning", "restore the labels, or take the organ out of the label set"),
        "absent_often": ("warning", "restore the labels, or train knowing that few cases show this organ"),
        "spacing": ("warning", "is the header's spacing right?"),
        "field_of_view": ("warning", "is this the same part of the body as in the other cases?"),
    }
)
"""Every kind of finding: how grave it is, and what to do where the finding itself does not say."""


class Finding(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One fault, or what may be one.

    Attributes:
        case_id: the case; empty where it is the data set as a whole.
        organ: the one concerned, or None.
        kind: one of ``KINDS``.
        severity: an error must be mended before training; a warning should be looked at.
        found: what was found.
        remedy: what to do.
    """

    case_id: str
    organ: str | None = None
    kind: str
    severity: Severity
    found: str
    remedy: str


class OrganCount(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """In how many cases an organ is what.

    Attributes:
        drawn: labelled, with voxels.
        empty: labelled, without a voxel, and not declared absent.
        absent: declared absent.
        unlabelled: nobody says anything about it.
    """

    drawn: int = 0
    empty: int = 0
    absent: int = 0
    unlabelled: int = 0


class CheckReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a check of a data set found.

    Attributes:
        schema: version of this layout.
        thoar: version that made it.
        cases: ids of all cases, in the data set's order.
        organs: by name, in how many cases each is drawn.
        findings: errors first, each in the order of the cases.
    """

    schema: Literal["thoar.findings/1"] = "thoar.findings/1"
    thoar: str
    cases: tuple[str, ...]
    organs: dict[str, OrganCount]
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        return Counter(finding.severity for finding in self.findings)["error"]

    @property
    def warnings(self) -> int:
        """How many findings are warnings."""
        return len(self.findings) - self.errors


def finding(
    kind: str, case_id: str = "", *, found: str, organ: str | None = None, remedy: str | None = None
) -> Finding:
    """Return a finding of a kind, which says how grave it is and, by default, what to do.

    >>> finding("gaps", "Patient_01", organ="heart", found="3 slices").severity
    'warning'
    """
    severity, usual_remedy = KINDS[kind]
    return Finding(
        case_id=case_id,
        organ=organ,
        kind=kind,
        severity=severity,
        found=found,
        remedy=remedy or usual_remedy,
    )


def write_findings(folder: Path, report: CheckReport) -> None:
    """Write ``findings.json`` and ``findings.csv``, each whole or not at all.

    Raises:
        ResourceError: if the disk is full.
    """
    atomic_bytes(folder / JSON_NAME, msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    lines = io.StringIO(newline="")
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([getattr(line, column) or "" for column in COLUMNS] for line in report.findings)
    atomic_bytes(folder / CSV_NAME, lines.getvalue().encode())


def read_findings(path: Path) -> CheckReport:
    """Read a ``findings.json``.

    Raises:
        InputError: if it is missing, or is none of this version.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=CheckReport)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except msgspec.MsgspecError as error:
        raise InputError(f"{path}: is no file of findings of this version ({error}); check again") from error
