"""The paper's claims (S24), one change at a time, small and honest: same cases, same steps, several seeds.

    .venv/bin/python benchmarks/ablations.py WORK [--seeds 0 1 2] [--jobs 2] [--set train.joint_epochs=1]

Every run is three commands a user could type (``thoar train``, ``segment``, ``evaluate``), one thread each.
What WORK holds already is kept: the data, and every run that came to its end. After every run the results,
``ablations.json`` and ``ablations.md``, are written anew; they name the hardware, the code and the phantoms.
"""

import argparse
import math
import shutil
import statistics
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import torch
from costs import Cost, command
from provenance import code, processor

from thoar.datasets.manifest import read_dataset
from thoar.evaluation.results import read_results
from thoar.imaging.prepare import prepare
from thoar.inference.bundle import read_bundle
from thoar.inference.predictor import Predictor
from thoar.io.atomic import atomic_bytes
from thoar.io.formats import read_volume

HERE = Path(__file__).parent
RECIPE = HERE / "ablations.toml"
DATA = {"training": ("24", "24"), "test": ("8", "2424")}
"""Cases and seed of each data set; both of 4 mm voxels."""

VARIANTS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "baseline": ("body crop and mask, boxes, one encoder, mining by weights, mean of logits", ()),
    "no crop": ("the whole field of view, air outside the body (S2, S3)", ("body.crop=false",)),
    "whole volume": ("fine decoders see the whole volume (S14)", ("localisation.min_box_cells=1000",)),
    "separate encoders": ("one for the coarse, one for the fine (S4)", ("network.encoders=separate",)),
    "no mining": ("plain Dice (S18)", ("loss.mining=none",)),
    "top-k mining": ("Dice and cross-entropy of the hardest 10 % (S18)", ("loss.mining=topk",)),
    "mean of sigmoids": (
        "as the paper prints it (S9); threshold 0.3, heart 0.5",
        ("network.average=sigmoids", "localisation.threshold=0.3", "localisation.organ_threshold.heart=0.5"),
    ),
}
"""What differs from the baseline: in words, and as ``--set`` of ``thoar train``."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One variant with one seed.

    Attributes:
        variant: its name.
        seed: of weights, order and augmentation.
        train: the cost of training.
        segment: the cost of segmenting the test cases.
        seconds: of processor time per test case: ``encode`` (with the coarse heads), ``draw`` (all organs).
        reduction: mean over the test cases of the voxels before per voxel after the body crop.
        dice: per organ the mean over the test cases.
        hausdorff95_mm: per organ the median over the test cases; None where most were missed.
        missed: per organ the number of test cases in which nothing was drawn.
        overrides: of the recipe, as given to ``thoar train``.
        code: what computed it.
    """

    variant: str
    seed: int
    train: Cost
    segment: Cost
    seconds: dict[str, float]
    reduction: float
    dice: dict[str, float]
    hausdorff95_mm: dict[str, float | None]
    missed: dict[str, int]
    overrides: tuple[str, ...]
    code: dict[str, str]

    @property
    def mean_dice(self) -> float:
        """Over the organs."""
        return statistics.mean(self.dice.values())


def main() -> None:
    """Make the data, do what runs are missing, write the table."""
    arguments = parsed()
    work: Path = arguments.work.resolve()
    torch.set_num_threads(1)
    make_data(work)
    wanted = [(variant, seed) for seed in arguments.seeds for variant in arguments.variants]
    lock = threading.Lock()

    def one(task: tuple[str, int]) -> None:
        run = finished(work, *task, more=arguments.overrides)
        run = run or do_run(work, *task, more=arguments.overrides)
        print(f"{run.variant}, seed {run.seed}: mean Dice {run.mean_dice:.3f}", flush=True)
        with lock:
            write(arguments.output, work)

    with ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(one, wanted))


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("work", type=Path, help="Folder of data and runs; some hundred MB.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--jobs", type=int, default=2, help="Runs at a time, one thread each.")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("-o", "--output", type=Path, default=HERE, help="Folder of the table.")
    return parser.parse_args()


def make_data(work: Path) -> None:
    """Make the training and the test phantoms, unless they are there; note what made them."""
    for name, (cases, seed) in DATA.items():
        if not (work / f"{name}.json").is_file():
            options = ("--cases", cases, "--seed", seed, "--spacing-zyx-mm", "4", "4", "4", "--overwrite")
            command(["phantom", work / name, *options], work / f"{name}.log")
            atomic_bytes(work / f"{name}.json", msgspec.json.encode(code()))


def do_run(work: Path, variant: str, seed: int, *, more: Sequence[str]) -> Run:
    """Train, segment and evaluate one variant with one seed."""
    place = place_of(work, variant, seed)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    overrides = (*VARIANTS[variant][1], *more)
    data, run = work / "test", place / "run"
    train = command(
        ["train", RECIPE, "--data", work / "training", "-o", run, "--seed", seed, *on_cpu(overrides)],
        place / "train.log",
    )
    segment = command(
        ["segment", data, "-o", place / "masks", "--model", run, "--formats", "nifti", *on_cpu()],
        place / "segment.log",
    )
    command(["evaluate", place / "masks", data, "-o", place / "results.json"], place / "evaluate.log")
    records = [msgspec.json.decode(path.read_bytes()) for path in sorted(place.glob("masks/*/run.json"))]
    result = Run(
        variant=variant,
        seed=seed,
        train=train,
        segment=segment,
        seconds=seconds_of(run / "best", data),
        reduction=statistics.mean(record["preparation"]["reduction"] for record in records),
        **scores(place / "results.json"),
        overrides=overrides,
        code=code(),
    )
    for leftover in ("run/prepared", "run/last", "run/tensorboard"):
        shutil.rmtree(place / leftover, ignore_errors=True)
    atomic_bytes(place / "result.json", msgspec.json.encode(result))
    return result


def on_cpu(overrides: Iterable[str] = ()) -> list[str]:
    """Return the options that all variants share, and a variant's own settings."""
    return ["--device", "cpu", *(word for override in overrides for word in ("--set", override))]


def seconds_of(model: Path, data: Path) -> dict[str, float]:
    """Return the processor time of a test case's two parts, on average: encoding it, drawing all organs."""
    predictor = Predictor.from_bundle(read_bundle(model), device="cpu")
    settings = predictor.configuration
    located: list[float] = []
    whole: list[float] = []
    for case in read_dataset(data).cases:
        prepared = prepare(
            read_volume(case.image),
            preparation=settings.preparation,
            body=settings.body,
            multiple_zyx=settings.network.total_stride_zyx,
        )
        began = time.thread_time()
        predictor.locate(prepared)
        between = time.thread_time()
        predictor.predict_prepared(prepared)
        located.append(between - began)
        whole.append(time.thread_time() - between)
    encode_s = statistics.mean(located)
    return {"encode": encode_s, "draw": statistics.mean(whole) - encode_s}


def scores(path: Path) -> dict[str, dict]:
    """Return Dice, HD95 and misses per organ from a results file."""
    summaries = read_results(path).summaries
    return {
        "dice": {organ: by_name["dice"].mean for organ, by_name in summaries.items()},
        "hausdorff95_mm": {
            organ: finite(by_name["hausdorff95_mm"].median) for organ, by_name in summaries.items()
        },
        "missed": {organ: by_name["hausdorff95_mm"].n_infinite for organ, by_name in summaries.items()},
    }


def finite(value: float) -> float | None:
    """Return a number, or None for what JSON cannot spell."""
    return value if math.isfinite(value) else None


def place_of(work: Path, variant: str, seed: int) -> Path:
    """Return a run's folder."""
    return work / "runs" / f"{variant.replace(' ', '-')}-{seed}"


def finished(work: Path, variant: str, seed: int, *, more: Sequence[str] = ()) -> Run | None:
    """Return a run that came to its end, or None; a run of other settings does not count."""
    path = place_of(work, variant, seed) / "result.json"
    run = msgspec.json.decode(path.read_bytes(), type=Run) if path.is_file() else None
    return run if run is not None and run.overrides == (*VARIANTS[variant][1], *more) else None


def write(folder: Path, work: Path) -> None:
    """Write both results of all runs that came to their end."""
    results = sorted(work.glob("runs/*/result.json"))
    runs = [msgspec.json.decode(path.read_bytes(), type=Run) for path in results]
    data = msgspec.json.decode((work / "training.json").read_bytes())
    plain = {"processor": processor(), "data": data, "runs": msgspec.to_builtins(runs)}
    folder.mkdir(parents=True, exist_ok=True)
    atomic_bytes(folder / "ablations.json", msgspec.json.format(msgspec.json.encode(plain)) + b"\n")
    atomic_bytes(folder / "ablations.md", ("\n".join(page(runs, data)) + "\n").encode())


def page(runs: Sequence[Run], data: Mapping[str, str]) -> Iterable[str]:
    """Yield the lines of the Markdown page."""
    organs = list(runs[0].dice)
    overrides = sorted({override for run in runs for override in own_overrides(run)})
    codes = sorted({f"{r.code['commit']}{' with changes' * (r.code['changed'] == 'yes')}" for r in runs})
    yield "# The claims of S24, measured small"
    yield ""
    yield "Made by `.venv/bin/python benchmarks/ablations.py WORK`; do not edit. Mean ± sample standard"
    yield "deviation over the seeds of the mean over the test cases. Differences below the spread are noise."
    yield ""
    yield "- Recipe `benchmarks/ablations.toml`: a quarter of the paper's channels, 4 mm voxels; the same"
    yield f"  cases, steps and learning rates for all variants{f'; with {overrides}' if overrides else ''}."
    yield f"- Data: {DATA['training'][0]} training and {DATA['test'][0]} test phantoms; their generator is"
    yield f"  `src/thoar/phantoms` as of {data['date']} (commit {data['commit']}, by content"
    yield f"  {data['phantoms_sha256']})."
    yield f"- Code: {', '.join(codes)}; {processor()}, one thread a run, torch {runs[0].code['torch']}."
    yield ""
    yield f"| variant | seeds | {' | '.join(organs)} | mean Dice | missed |"
    yield "|---|---|" + "---|" * (len(organs) + 2)
    for name, group in grouped(runs):
        cells = [spread([run.dice[organ] for run in group]) for organ in organs]
        missed = sum(sum(run.missed.values()) for run in group)
        cells += [spread([run.mean_dice for run in group]), str(missed)]
        yield f"| {name} | {len(group)} | {' | '.join(cells)} |"
    yield ""
    yield "Missed: organs of all seeds' test cases in which nothing was drawn (Dice 0)."
    yield ""
    yield "| | training: CPU min | clock min | peak MiB | a test case: encode s | draw s | peak MiB | crop |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, group in grouped(runs):
        yield f"| {name} | {' | '.join(costs(group))} |"
    yield ""
    yield "Minutes and seconds are of processor time, but for the clock's, which other work slowed down."
    yield "Peaks are resident memory with Python and torch (350 MiB or so), the second of `thoar segment`."
    yield "Separate encoders run both in the coarse stage too, where the fine one learns nothing yet."
    yield "Crop: voxels of the resampled scan per voxel that the network sees."
    yield ""
    yield "| variant | what differs | `--set` |"
    yield "|---|---|---|"
    for name, _ in grouped(runs):
        words, sets = VARIANTS[name]
        yield f"| {name} | {words} | {' '.join(f'`{s}`' for s in sets)} |"


def own_overrides(run: Run) -> tuple[str, ...]:
    """Return what a run's command line changed beside its variant."""
    return run.overrides[len(VARIANTS[run.variant][1]) :]


def grouped(runs: Sequence[Run]) -> Iterable[tuple[str, list[Run]]]:
    """Yield every variant that has runs, with its runs."""
    for name in VARIANTS:
        group = [run for run in runs if run.variant == name]
        if group:
            yield name, group


def costs(group: Sequence[Run]) -> list[str]:
    """Return the cells of a variant's row in the table of costs."""
    return [
        spread([run.train.cpu_s / 60 for run in group], digits=1),
        spread([run.train.wall_s / 60 for run in group], digits=1),
        spread([run.train.peak_mib for run in group], digits=0),
        spread([run.seconds["encode"] for run in group], digits=2),
        spread([run.seconds["draw"] for run in group], digits=2),
        spread([run.segment.peak_mib for run in group], digits=0),
        f"{group[0].reduction:.2f}",
    ]


def spread(values: Sequence[float], *, digits: int = 3) -> str:
    """Return mean ± sample standard deviation, or the one value.

    >>> spread([0.5, 0.7], digits=2)
    '0.60 ± 0.14'
    """
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


if __name__ == "__main__":
    main()
