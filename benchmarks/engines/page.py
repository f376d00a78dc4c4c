"""The page of what was measured."""

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence

from engines.results import LEAST_DICE, MOST_CHANGE, Agreement, Call, Errors, Part, Results, Timing
from engines.subjects import ORGANS, Task
from engines.variants import EAGER, ROUNDED, VARIANTS

ABOUT: Mapping[Part, str] = {
    "times": """\
A variant is made in a process of its own, does everything once, and is measured when it does it again; all \
take turns, round after round, and medians are told. *Encode* has the coarse heads with it; *heart* and \
*aorta* are these organs' fine decoders, in boxes as inference has them. GFLOP/s count the convolutions of \
the modules, whatever an engine computes besides or twice. *CPU* is the processor time of all three on all \
threads. *Making* is what comes before the second time: loading, compiling for these shapes, and the first \
run; in the first round also exporting and quantising, and compiling with an empty cache. Memory is the most \
that was resident in the second run, and in the whole life of the process, libraries included.""",
    "errors": """\
Levels: the root mean square of the difference to the modules in float32, by that of the level; of the \
levels but the stem's, the worst. Probability: the largest difference anywhere, of the coarse map and in the \
two boxes, from the variant's own levels.""",
    "masks": """\
The whole path, from scan to masks on the scan's own grid, with the variant in the network's place. A mask \
is kept if its Dice with the one that the modules draw in float32 is at least {least}, and if its Dice with \
the reference changes by {most} at most. Cells are the least Dice and the largest change of all cases. One \
voxel is a lot in a small organ: in an esophagus of 700 voxels, .0007.""",
    "rounding": """\
The network in float32, every value rounded where the row says so: what each step away from float32 costs, \
without the noise of any library. Products of bfloat16 are added up in float32, as processors do. The last \
column, the mean of 1 − Dice over all organs and cases, is what to compare by.""",
}
NEEDS = """\
Inductor needs a C++ compiler on the user's machine, and compiles for every shape, so for every scan and \
box, anew. Of ONNX Runtime and OpenVINO the graphs of `thoar model export` are run; 8 bits are those of the \
convolutions alone, their ranges taken from the scan itself, which flatters them."""


def page(results: Results) -> Iterator[str]:
    """Yield the lines of the Markdown page."""
    yield "# Ways to run the networks on a CPU"
    yield ""
    yield "Written by `benchmarks/cpu_engines.py`; do not edit."
    yield from _verdicts(results)
    for name, task in results.tasks.items():
        if any(timing.subject == name for timing in results.timings):
            yield from ("", f"## {name}: time and memory", "", _task_told(task))
            yield from ("", *_table(_TIME_HEAD, _time_rows(results, name)))
    yield from _about("times", results, (NEEDS,))
    for name in results.tasks:
        errors = [
            e for variant in VARIANTS for e in results.errors if (e.subject, e.variant) == (name, variant)
        ]
        if errors:
            yield from ("", f"## {name}: errors", "", *_table(_ERROR_HEAD, map(_error_row, errors)))
    yield from _about("errors", results)
    for part, title, rows in (
        ("masks", "Masks of thorax-fast", results.masks),
        ("rounding", "Where rounding hurts: thorax-fast, emulated", results.rounding),
    ):
        if rows:
            names = VARIANTS if part == "masks" else ROUNDED
            yield from ("", f"## {title}", "", *_table(_MASK_HEAD, _mask_rows(rows, names)))
            yield from _about(part, results)
    if results.absent:
        yield from ("", "## What could not be measured", "")
        yield from (f"- {name}: {reason}" for name, reason in results.absent.items())


_TIME_HEAD = (
    "", "encode s", "GFLOP/s", "heart s", "GFLOP/s", "aorta s", "CPU s",
    "making s, first / again", "working MiB", "process MiB",
)  # fmt: skip
_ERROR_HEAD = ("", "levels", "coarse probability", "heart", "aorta")
_MASK_HEAD = ("", *ORGANS, "kept", "mean of 1 − Dice")


def _about(part: Part, results: Results, more: Sequence[str] = ()) -> Iterator[str]:
    call = results.calls.get(part)
    if call is not None:
        said = ABOUT[part].format(least=LEAST_DICE, most=MOST_CHANGE)
        yield from ("", said)
        for paragraph in more:
            yield from ("", paragraph)
        yield from ("", _call_told(call))


def _call_told(call: Call) -> str:
    code = dict(call.code)
    changed = " with changes" * (code.pop("changed") == "yes")
    commit = code.pop("commit")
    versions = ", ".join(f"{name} {version}" for name, version in code.items() if name in _LIBRARIES)
    return (
        f"Measured on {call.began} (UTC), commit {commit}{changed}, {call.processor}, "
        f"{call.threads} threads, load before {call.load_before}; {versions}."
    )


_LIBRARIES = ("torch", "onnxruntime", "openvino", "nncf")


def _task_told(task: Task) -> str:
    boxes = ", ".join(f"{organ} {_spelled(box.shape_zyx)}" for organ, box in task.boxes.items())
    gflop = ", ".join(f"{part} {value:.0f}" for part, value in task.gflop.items())
    return f"The sample CT on {_spelled(task.shape_zyx)} voxels; boxes: {boxes}. GFLOP: {gflop}."


def _spelled(shape_zyx: Sequence[int]) -> str:
    return "×".join(map(str, shape_zyx))


def _time_rows(results: Results, subject: str) -> Iterator[list[str]]:
    gflop = results.tasks[subject].gflop
    for variant, timings in _by_variant(results.timings, subject).items():
        wall = {part: _median(timing.seconds[part].wall for timing in timings) for part in gflop}
        heart, aorta = (part for part in gflop if part != "encode")
        yield [
            variant,
            _seconds(wall["encode"]), f"{gflop['encode'] / wall['encode']:.0f}",
            _seconds(wall[heart]), f"{gflop[heart] / wall[heart]:.0f}", _seconds(wall[aorta]),
            _seconds(_median(sum(s.cpu for s in timing.seconds.values()) for timing in timings)),
            f"{_seconds(timings[0].making_s)} / {_seconds(min(t.making_s for t in timings))}",
            _mib(t.working_mib for t in timings), _mib(t.peak_mib for t in timings),
        ]  # fmt: skip


def _by_variant(timings: Iterable[Timing], subject: str) -> dict[str, list[Timing]]:
    of_subject = [timing for timing in timings if timing.subject == subject]
    named = {name: [timing for timing in of_subject if timing.variant == name] for name in VARIANTS}
    return {name: found for name, found in named.items() if found}


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)


def _seconds(value: float) -> str:
    return f"{value:.3g}"


def _mib(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.median(known):.0f}" if known else "–"


def _error_row(error: Errors) -> list[str]:
    return [
        error.variant,
        f"{max(error.levels):.1e}",
        f"{error.coarse:.1e}",
        *(f"{value:.1e}" for value in error.fine.values()),
    ]


def _mask_rows(agreements: Sequence[Agreement], names: Iterable[str]) -> Iterator[list[str]]:
    for name in names:
        chosen = [agreement for agreement in agreements if agreement.variant == name]
        if chosen:
            cells = (_cell([a for a in chosen if a.organ == organ]) for organ in ORGANS)
            kept = sum(agreement.is_kept for agreement in chosen)
            lost = statistics.fmean(1 - agreement.dice for agreement in chosen)
            yield [name, *cells, f"{kept} of {len(chosen)}", f"{lost:.5f}"]


def _cell(agreements: Sequence[Agreement]) -> str:
    least = min(agreement.dice for agreement in agreements)
    change = max((agreement.change for agreement in agreements), key=abs)
    return f"{least:.4f}, {change:+.4f}"


def _verdicts(results: Results) -> Iterator[str]:
    """Yield what the figures say."""
    keeping = {
        name
        for name in VARIANTS
        if (found := [a for a in results.masks if a.variant == name]) and all(a.is_kept for a in found)
    }
    for subject, task in results.tasks.items():
        totals = {
            variant: sum(_median(t.seconds[part].wall for t in timings) for part in task.gflop)
            for variant, timings in _by_variant(results.timings, subject).items()
        }
        if EAGER in totals:
            yield ""
            yield f"`{subject}`, all three parts, against {_seconds(totals[EAGER])} s of the modules:"
            yield ""
            alone = {name for name in totals if not VARIANTS[name].needs and not VARIANTS[name].compiles}
            yield _fastest("fastest of all", totals, set(totals))
            yield _fastest("fastest that keeps every mask of thorax-fast", totals, keeping)
            yield _fastest("fastest with torch alone", totals, alone)
            yield _fastest("and of these that keeps every mask", totals, alone & keeping)


def _fastest(what: str, totals: Mapping[str, float], among: set[str]) -> str:
    chosen = {name: seconds for name, seconds in totals.items() if name in among}
    if not chosen:
        return f"- {what}: none was measured"
    name = min(chosen, key=chosen.__getitem__)
    return f"- {what}: {name}, {_seconds(chosen[name])} s ({totals[EAGER] / chosen[name]:.1f} times as fast)"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(row)} |"
