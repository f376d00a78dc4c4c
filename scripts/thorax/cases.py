"""The training cases: made in pieces, each whole or not there, and put together in one data set."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import msgspec

from thoar.core.errors import UsageError
from thoar.core.labels import SEGTHOR
from thoar.datasets.manifest import MANIFEST, Case, Dataset, read_dataset, write_dataset

from .plan import Clock, Kind, Part, Plan, UnfinishedError, thoar
from .sources import MAP_PREFIX, SourceError

FIRST_SEED = 7000
LEAST_S = 20.0
"""A piece is not begun for less."""
LAST_CASES_S = 20.0
"""What the cases under way may take to end once a piece is stopped."""
MADE_OF: dict[Kind, str] = {"parametric": "thorax", "label_map": "label_map", "copies": "copy"}
"""What the records of `thoar phantom` call the kinds."""
DATA = "data"


class _Parameters(msgspec.Struct, frozen=True):
    source: str


class _Record(msgspec.Struct, frozen=True):
    parameters: _Parameters


def make_cases(plan: Plan, clock: Clock) -> None:
    """Make what is missing, and write the data set of all pieces.

    Raises:
        UnfinishedError: if the time is over before all are made; what is made stays.
    """
    for part, folder, number, cases in pieces_of(plan):
        if (folder / MANIFEST).is_file():
            continue
        limit_s = clock.left_s() - LAST_CASES_S
        if limit_s < LEAST_S:
            raise UnfinishedError
        _make_piece(plan, part, folder, number=number, cases=cases, limit_s=limit_s)
    merge(plan)


def pieces_of(plan: Plan) -> Iterator[tuple[Part, Path, int, int]]:
    """Yield every piece's part, folder, number and count of cases; the parts take turns.

    Another label map or another voxel size gives other folders, so no stale piece is taken.
    """
    spacing = "x".join(f"{s:g}" for s in plan.spacing_zyx_mm)
    number, left = 0, {part.source: part.cases for part in plan.parts}
    while any(left.values()):
        for part in plan.parts:
            cases = min(plan.piece, left[part.source])
            if not cases:
                continue
            left[part.source] -= cases
            yield part, plan.work / DATA / f"{_stem(part)}-{spacing}-{number:03d}-{cases}", number, cases
        number += 1


def _stem(part: Part) -> str:
    if part.kind == "label_map":
        return f"label_map-{part.source.removeprefix(MAP_PREFIX)[:8]}"
    return part.kind


def merge(plan: Plan) -> None:
    """Write one data set of all pieces; each source's first cases are groups of their own, to validate on.

    They stay the same however many cases follow, so that a run that goes on from another's weights validates
    on nothing that those have seen. Validation on anatomies of the same sources measures how well these are
    learnt, nothing else.
    """
    found: dict[str, list[Case]] = {}
    for part, folder, _, _ in pieces_of(plan):
        for case in read_dataset(folder).cases:
            _refuse_other_kind(case, part.kind)
            found.setdefault(part.source, []).append(
                Case(
                    id=f"{folder.name}-{case.id}",
                    image=case.image,
                    label=case.label,
                    organs=case.organs,
                    group="training",
                    source=part.source,
                )
            )
    held = _held_out({source: len(cases) for source, cases in found.items()}, plan.validation)
    cases = [
        _grouped(case, validation=position < held[source])
        for source, of_source in found.items()
        for position, case in enumerate(of_source)
    ]
    write_dataset(plan.work, Dataset(root=plan.work, label_set=SEGTHOR, cases=tuple(cases)))


def _refuse_other_kind(case: Case, kind: Kind) -> None:
    """Refuse a case whose own record says that it was made of something else than its folder's name says."""
    record = msgspec.json.decode((case.image.parent / "parameters.json").read_bytes(), type=_Record)
    if record.parameters.source != MADE_OF[kind]:
        raise SourceError(
            f"{case.image.parent}: was made of {record.parameters.source}, not of {MADE_OF[kind]}"
        )


def _held_out(counts: dict[str, int], validation: int) -> dict[str, int]:
    """Return how many cases of each source are held out: as even as can be, the first sources more."""
    if sum(counts.values()) < 2 * validation + 1:
        raise UsageError(f"--cases: {sum(counts.values())} are too few to hold {validation} out; make more")
    held = dict.fromkeys(counts, 0)
    while sum(held.values()) < validation:
        for source in held:
            if sum(held.values()) < validation and held[source] < counts[source]:
                held[source] += 1
    return held


def _grouped(case: Case, *, validation: bool) -> Case:
    group = f"validation-{case.id}" if validation else "training"
    return Case(
        id=case.id, image=case.image, label=case.label, organs=case.organs, group=group, source=case.source
    )


def _make_piece(plan: Plan, part: Part, folder: Path, *, number: int, cases: int, limit_s: float) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    thoar(
        "phantom",
        folder,
        "--cases",
        str(cases),
        "--seed",
        str(FIRST_SEED + number),
        "--spacing-zyx-mm",
        *map(str, plan.spacing_zyx_mm),
        "--workers",
        str(plan.workers),
        "--device",
        plan.device,
        "--format",
        "safetensors" if importlib.util.find_spec("nibabel") is None else "nii.gz",
        "--resume",
        *_source_options(plan, part),
        limit_s=limit_s,
    )


def _source_options(plan: Plan, part: Part) -> list[str | Path]:
    if part.kind == "parametric" or part.made_from is None:
        return []
    if part.kind == "copies":
        return ["--copies-of", part.made_from]
    if plan.structures is None:
        raise UsageError("--structures: give the table of the label maps' structures")
    return ["--from-map", part.made_from, "--structures", plan.structures]
