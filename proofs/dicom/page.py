# ruff: noqa: E501 (text for a page is not wrapped)
"""The page for users: what is promised about DICOM, with the numbers of one run."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from proofs.dicom.cases import Outcome
from proofs.dicom.round_trips import STEPS, Found
from proofs.dicom.volumes import LEAST_DICE, LEAST_DICE_BY_AREA, MOST_VOLUME_PERCENT, Agreement

Row = tuple[str, str, Mapping[str, Found]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Everything that one run of the proof found.

    Attributes:
        refused: per series that must be refused.
        read: per series that must be read.
        matrix: group, name and results of every arrangement.
        volumes: per organ, grid and reader.
        seconds: how long it took.
    """

    refused: tuple[Outcome, ...]
    read: tuple[Outcome, ...]
    matrix: tuple[Row, ...]
    volumes: tuple[Agreement, ...]
    seconds: float

    @property
    def failures(self) -> int:
        """How many results are not as promised."""
        outcomes = sum(bool(outcome.fault) for outcome in (*self.refused, *self.read))
        places = sum(not found.right for _, _, several in self.matrix for found in several.values())
        return outcomes + places + sum(not v.good for v in self.volumes)

    @property
    def silent(self) -> int:
        """How many results are wrong without an error that says so."""
        outcomes = sum(outcome.silent for outcome in (*self.refused, *self.read))
        return outcomes + sum(found.silent for _, _, several in self.matrix for found in several.values())


def page(measured: Measured) -> str:
    """Return the page as Markdown; written only where nothing failed."""
    parts = [
        _OPENING,
        _in_numbers(measured),
        _orientations(measured.matrix),
        _volumes(measured.volumes),
        _cases("## Refused, by name", _REFUSED, measured.refused),
        _cases("## Read, every HU exact", _READ, measured.read),
        _HOW,
    ]
    return "\n".join(parts)


_OPENING = """# What we promise about DICOM

Written by `make proof-dicom` from what it measured; not to be edited.

1. **What comes out lies in the right place, or nothing comes out.** In whatever direction slices were taken, in whatever order files come, feet first, prone, on the side, oblique or tilted: contours, segments and label maps lie where the organs are.
2. **What cannot be read surely is refused by name.** The message names the file, the attribute or value at fault, and what to do about it. No file is written.
3. **What is odd but sure is read**, HU exact to the last voxel, and what was odd stands as a warning in the run record.
4. **Nothing is interpolated unasked.** Gaps, tilt and uneven steps are refused unless `--fill-gaps N` or `--rectify` allows them.
"""

_REFUSED = "Each of these ends in one typed error that names file, finding and remedy. Ids are those of our catalogue of faults; letters are variants."
_READ = "Each of these is read: every voxel's HU as it was made, every slice within 0.1 mm of its place, and referenced by its own SOPInstanceUID. A plus marks series that are refused unless an option, named in the refusal, allows them."

_HOW = """## How it was measured

```
make proof-dicom
```

- The patient is a formula: body, lungs, heart, aorta with its arch, a curved esophagus, trachea, a ring and a sliver one voxel thin, defined in millimetres of the patient (LPS), alike in no two directions. So the true HU and the true organ at any point are known without any reader.
- It is sampled at voxel centres of any slices and written by pydicom, one file per slice or as Enhanced CT. Each data set, each file and each folder can be spoilt before it is read.
- Series are read by the process that every command reads with. For the orientations, the true organs are then written by the writers that `thoar segment` uses, and read twice: by thoar, and by readers that share nothing with it (nibabel for NIfTI; for RTSTRUCT a rule of pixel centres on the raw coordinates; for DICOM-SEG each frame by its own position). Every voxel found is asked of the formula at the place where the file says it lies.
- Where slices make no grid, images of their own coordinates are rectified, and brought back onto the slices: what they then show, minus where they are, is the error in millimetres.
- A silent error is a result that is wrong by more than 0.1 mm, or by one voxel, without an error that says so.

The same catalogues run in the tests (`tests/proofs`). The series are made by hand; they are not a survey of scanners.
"""


def _in_numbers(measured: Measured) -> str:
    refused = sum(not outcome.fault for outcome in measured.refused)
    read = sum(not outcome.fault for outcome in measured.read)
    places = [found for _, _, several in measured.matrix for found in several.values()]
    return "\n".join(
        [
            "## In numbers",
            "",
            "| | as promised | of |",
            "|---|---|---|",
            f"| series that must be refused | {refused} | {len(measured.refused)} |",
            f"| series that must be read | {read} | {len(measured.read)} |",
            f"| results in {len(measured.matrix)} orientations, each as input, NIfTI, RTSTRUCT and DICOM-SEG | {sum(f.right for f in places)} | {len(places)} |",
            f"| organs read back at clinical pixel sizes | {sum(v.good for v in measured.volumes)} | {len(measured.volumes)} |",
            f"| **silent errors** | **{measured.silent}** | |",
            "",
        ]
    )


def _orientations(matrix: Sequence[Row]) -> str:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in matrix:
        groups[row[0]].append(row)
    lines = [
        "## Orientations",
        "",
        "Right means: no voxel differs, and no centroid or corner lies more than 0.1 mm off. In brackets the farthest found, in mm.",
        "",
        f"| | runs | {' | '.join(STEPS)} |",
        f"|---|---|{'---|' * len(STEPS)}",
    ]
    for group, rows in groups.items():
        cells = []
        for step in STEPS:
            found = [several[step] for _, _, several in rows]
            cells.append(f"{sum(f.right for f in found)} ({max(f.farthest_mm for f in found):.4f})")
        lines.append(f"| {group} | {len(rows)} | {' | '.join(cells)} |")
    names = [f"- {group}: {'; '.join(_named(rows))}" for group, rows in groups.items() if "24" not in group]
    return "\n".join(
        [
            *lines,
            "",
            "The 24 are all signed pairs of row and column directions along the patient's axes. The others:",
            "",
            *names,
            "",
        ]
    )


def _named(rows: Sequence[Row]) -> list[str]:
    return [name for _, name, _ in rows if not name.endswith(", from the other end")]


def _volumes(volumes: Sequence[Agreement]) -> str:
    pairs = sorted({(v.reader, v.grid) for v in volumes})
    lines = [
        "## Volumes",
        "",
        f"Organs, ring and sliver of the phantom written and read back; promised are Dice of {LEAST_DICE} and volumes within {MOST_VOLUME_PERCENT:g} %. Probabilities are the share of each pixel's area that lies in the organ; contours then run between pixels. `thoar` reads contours by area, others by pixel centres: at corners sharper than a pixel the two rules part, and by area {LEAST_DICE_BY_AREA} is promised for a leaf one voxel thin. The worst of six organs each:",
        "",
        "| reader | pixels | Dice | volume, % | centroid, mm |",
        "|---|---|---|---|---|",
    ]
    for reader, grid in pairs:
        of_pair = [v for v in volumes if (v.reader, v.grid) == (reader, grid)]
        percent = max((100 * v.volume_off_ml / v.volume_ml for v in of_pair), key=abs)
        lines.append(
            f"| {reader} | {grid} | {min(v.dice for v in of_pair):.5f} | {percent:+.3f} | {max(v.centroid_off_mm for v in of_pair):.4f} |"
        )
    return "\n".join([*lines, ""])


def _cases(title: str, text: str, outcomes: Sequence[Outcome]) -> str:
    rows = [f"| {outcome.id} | {outcome.what} |" for outcome in outcomes]
    return "\n".join([title, "", text, "", "| id | series |", "|---|---|", *rows, ""])
