"""The page of whole scans by the clock."""

from collections.abc import Iterable, Iterator, Sequence

from whole_scans.figure import label_of
from whole_scans.goals import FLIPS, Goal, encoder_share, goals_of
from whole_scans.results import NNUNET, NNUNET_WHOLE, Measurement, Results

STAGES = ("read", "prepare", "encode", "locate", "draw", "paste", "write")
THEIR_STAGES = ("read", "preprocess", "network", "export")

ABOUT = """\
Every row is the median of its rounds, and every round a process of its own; contenders take turns, so that a
busy machine slows all alike. Times are by the clock with the model loaded: of ours from the scan's file to
the last result (label map, read back and compared, picture, run record), of nnU-Net from the file to its
label map. A process of ours segments its scan twice and the second time counts; "first" also sets up what
torch sets up once. "Paste" is what is left of it when the last organ is drawn: organs are pasted while others
are drawn. Peak memory is the process's largest resident set, Python and libraries included.

`paper` has the first random weights: nobody has trained it here. It computes everything, and is then told the
answer: its coarse map is the reference's cells, its drawing in a box the reference itself, so that boxes,
growing, cleaning, pasting and files are those of a good model. `fast` is the shipped model and finds its
organs itself. "Plain modules" is the network as `thoar.network` has it, in float32: the reference truth that
the faster engine is tested against. GFLOP are 10⁹ multiplications and additions of convolutions; what is
computed twice to save memory counts once. The peak is that of the fastest of several products of the same
precision and threads."""

THEIR_ABOUT = f"""\
nnU-Net is its own predictor (reader, preprocessing, sliding window of half a patch, resampling of logits,
export), in one process, with the plan that its own planner makes for 40 scans of SegTHOR's size, and random
weights whose last layer draws nothing, so that the mask is as quick to write as any. Its mirrored copies are
off; with them, as it comes, the network's time is {FLIPS} times as long ("with flips"). Where fewer patches
were computed than there are, the others took the last one's result: reading, preprocessing, weighting, adding
up, export and **all memory are measured**, and the network's time is *calculated* as patches × the mean of
those computed, without the first. It has no bfloat16 on a CPU."""

SCANS = {
    "sample": "LIDC-IDRI-0001 (`thoar sample`), .nii.gz",
    "sample-nii": "the same, uncompressed",
    "sample-dicom": "the same, uncompressed DICOM",
    "x178": "synthetic body, slices of 2.5 mm",
    "x300": "the same body, slices of 1.5 mm",
    "x600": "the same body, slices of 1 mm; its neck and trunk go on",
    "tiny": "the same body on voxels of 10×5.2×5.2 mm",
}


def page(results: Results, *, picture: str | None) -> Iterable[str]:
    """Yield the lines of the Markdown page.

    Args:
        results: to show.
        picture: name of the figure's file, beside the page.
    """
    about = results.about
    commit = f"commit {about.code['commit']}{', sources changed' * (about.code['changed'] == 'yes')}"
    yield "# Whole scans by the clock"
    yield ""
    yield "Made by `benchmarks/inference.py`; do not edit."
    yield ""
    yield f"- Machine: {about.processor}; device: {about.device}; {about.threads} threads."
    yield f"- Code: {commit}, {about.code['date']}, torch {about.code['torch']}."
    if about.peer:
        yield f"- nnU-Net: {about.peer}."
    for call in results.calls:
        yield (
            f"- `inference.py {call.command}`: {call.began} to {call.ended} UTC; load average before "
            f"{call.load_before}, after {call.load_after}."
        )
    for scan in results.scans:
        yield f"- `{scan}`: {_spelled(_shape(results, scan))}, {SCANS[scan]}."
    yield ""
    yield from _goals(goals_of(results))
    yield from _ours(results)
    if {NNUNET, NNUNET_WHOLE} & set(results.contenders):
        yield from _theirs(results)
    if picture:
        yield from _growth(picture)
    yield from _peaks(results)


def _goals(goals: Sequence[Goal]) -> Iterator[str]:
    yield "## Goals"
    yield ""
    yield "| | wanted | found | |"
    yield "|---|---|---|---|"
    for goal in goals:
        yield f"| {goal.said} | {goal.wanted} | {goal.shown} | {goal.verdict} |"
    yield ""


def _ours(results: Results) -> Iterator[str]:
    yield "## Ours"
    yield ""
    yield ABOUT
    yield ""
    on_gpu = results.about.device.startswith("cuda")
    last = ("GPU MB",) if on_gpu else ("CPU s",)
    heads = (
        "scan",
        "",
        "total s",
        "first s",
        *STAGES,
        "peak MB",
        *last,
        "TFLOP",
        "encoder GFLOP/s",
        "of the peak",
    )
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for scan in results.scans:
        for contender in results.contenders:
            found = results.of(contender, scan)
            if found is not None and found.patches is None:
                yield f"| {' | '.join(_our_cells(results, found, on_gpu=on_gpu))} |"
    yield ""
    missing = [
        f"{label_of(m.contender)} on `{m.scan}` found {', '.join(m.found) or 'nothing'}"
        for m in results.measurements
        if m.patches is None and len(m.found) < 4  # noqa: PLR2004 (SegTHOR's organs)
    ]
    if missing:
        yield f"Not every organ had a contour: {'; '.join(dict.fromkeys(missing))}."
        yield ""


def _our_cells(results: Results, found: Measurement, *, on_gpu: bool) -> list[str]:
    share, encode_s = encoder_share(results, found), found.seconds.get("encode")
    return [
        f"`{found.scan}`",
        label_of(found.contender),
        f"{found.total_s:.2f}",
        "–" if found.first_s is None else f"{found.first_s:.2f}",
        *(f"{found.seconds[stage]:.2f}" if stage in found.seconds else "–" for stage in STAGES),
        _mb(found),
        f"{(found.gpu_mib or 0) * 2**20 / 1e6:.0f}" if on_gpu else f"{found.cost.cpu_s:.1f}",
        f"{sum(found.gflop.values()) / 1e3:.2f}",
        f"{found.gflop['encode'] / encode_s:.0f}" if encode_s else "–",
        "–" if share is None else f"{share:.0%}",
    ]


def _theirs(results: Results) -> Iterator[str]:
    yield "## nnU-Net"
    yield ""
    yield THEIR_ABOUT
    yield ""
    heads = (
        "scan",
        "",
        "total s",
        *THEIR_STAGES,
        "with flips s",
        "patches",
        "computed",
        "s a patch",
        "GFLOP/s",
    )
    yield f"| {' | '.join((*heads, 'peak MB', 'TFLOP'))} |"
    yield "|---" * (len(heads) + 2) + "|"
    for scan in results.scans:
        for contender in (NNUNET, NNUNET_WHOLE):
            found = results.of(contender, scan)
            if found is not None:
                yield f"| {' | '.join(_their_cells(found))} |"
    yield ""
    for scan in results.scans:
        few, whole = results.of(NNUNET, scan), results.of(NNUNET_WHOLE, scan)
        if few is not None and whole is not None:
            apart = few.total_s / whole.total_s - 1
            yield (
                f"On `{scan}`, the time calculated from a few patches is {apart:+.1%} away from what all of "
                f"them took by the clock ({whole.total_s:.0f} s)."
            )
            yield ""


def _their_cells(found: Measurement) -> list[str]:
    patches = found.patches
    if patches is None:
        raise ValueError("nnU-Net without patches")
    mark = "*" if found.is_calculated else ""
    with_flips_s = found.total_s + (FLIPS - 1) * found.seconds["network"]
    return [
        f"`{found.scan}`",
        label_of(found.contender),
        f"{mark}{found.total_s:.0f}{mark}",
        *(
            f"{mark}{found.seconds[stage]:.0f}{mark}" if stage == "network" else f"{found.seconds[stage]:.1f}"
            for stage in THEIR_STAGES
        ),
        f"*{with_flips_s:.0f}*",
        f"{patches.number}",
        f"{patches.computed}",
        f"{patches.patch_s:.2f}",
        f"{patches.patch_gflop / patches.patch_s:.0f}",
        _mb(found),
        f"{sum(found.gflop.values()) / 1e3:.1f}",
    ]


def _growth(picture: str) -> Iterator[str]:
    yield "## How cost grows with the scan"
    yield ""
    yield f"![Time and peak memory over the number of voxels of the scan]({picture})"
    yield ""
    yield "Hollow marks: times calculated from a few patches. What a network sees depends on the body, not on"
    yield "the slices' thickness: 445, 450 and 600 mm of it on the three synthetic grids."
    yield ""


def _peaks(results: Results) -> Iterator[str]:
    yield "## What the processor can do"
    yield ""
    for precision, peak in results.peaks.items():
        others = ", ".join(f"{name} {rate:.0f}" for name, rate in peak.others.items())
        yield f"- {precision}: {peak.gflop_per_s:.0f} GFLOP/s by {peak.by}; {others}."
    if results.starts is not None:
        yield (
            f"- `thoar --help` takes {results.starts.help_s:.2f} s, `thoar segment` on a tiny scan "
            f"{results.starts.cold_s:.2f} s besides its stages; from a process's start until the shipped "
            f"model is loaded, {results.starts.loaded_s:.2f} s pass."
        )


def _mb(found: Measurement) -> str:
    return f"{found.cost.peak_mib * 2**20 / 1e6:.0f}"


def _shape(results: Results, scan: str) -> Sequence[int]:
    return next(m.shape_zyx for m in results.measurements if m.scan == scan)


def _spelled(shape_zyx: Sequence[int]) -> str:
    return "×".join(map(str, shape_zyx))
