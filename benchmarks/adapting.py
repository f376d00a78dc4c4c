"""A model adapted to eight cases of a scanner it has never seen, beside itself untouched and beside none.

    .venv/bin/python benchmarks/adapting.py WORK [--seeds 0 1 2] [--jobs 2]

Every run is three commands a user could type (``thoar train``, ``segment``, ``evaluate``), one thread each.
What WORK holds already is kept: the data, and every run that came to its end. After every run the results,
``adapting.json`` and ``adapting.md``, are written anew.
"""

import argparse
import shutil
import statistics
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
from ablations import scores, spread
from costs import Cost, command
from provenance import code, processor

from thoar.io.atomic import atomic_bytes

HERE = Path(__file__).parent
MODEL = "thorax-fast"
DATA = {"training": ("8", "52008"), "test": ("10", "52010")}
"""Cases and seed of each data set, all of the shifted scanner, at 4 mm. No setting was chosen by them."""
COMMON = ("train.threads=1", "train.validation_cases=0", "train.cases_per_epoch=0")
ARMS: Mapping[str, tuple[str, ...]] = {
    "untouched": (),
    "adapted": ("train", "adapt", "--from", MODEL),
    "from scratch": (
        *("train", "fast"),
        *("--set", "train.coarse_epochs=6", "--set", "train.joint_epochs=12"),
        *("--set", "train.averaging=0.98", "--set", "train.warmup_steps=10"),
    ),
}
"""What is typed; from scratch with half as many epochs again, since organs must be found first."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One arm with one seed.

    Attributes:
        arm: its name.
        seed: of weights, order and augmentation; 0 where nothing was trained.
        train: the cost of training; None where nothing was trained.
        dice: per organ the mean over the test cases.
        hausdorff95_mm: per organ the median over the test cases; None where most were missed.
        missed: per organ the number of test cases in which nothing was drawn.
        code: what computed it.
    """

    arm: str
    seed: int
    train: Cost | None
    dice: dict[str, float]
    hausdorff95_mm: dict[str, float | None]
    missed: dict[str, int]
    code: dict[str, str]

    @property
    def mean_dice(self) -> float:
        """Over the organs."""
        return statistics.mean(self.dice.values())


def main() -> None:
    """Make the data, do what runs are missing, write the page."""
    arguments = parsed()
    work: Path = arguments.work.resolve()
    make_data(work)
    lock = threading.Lock()

    def one(task: tuple[str, int]) -> None:
        run = finished(work, *task) or do_run(work, *task)
        print(f"{run.arm}, seed {run.seed}: mean Dice {run.mean_dice:.3f}", flush=True)
        with lock:
            write(arguments.output, work)

    one(("untouched", 0))
    with ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(one, [(arm, seed) for seed in arguments.seeds for arm in ARMS if ARMS[arm]]))


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("work", type=Path, help="Folder of data and runs; some hundred MB.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="Runs at a time, one thread each.")
    parser.add_argument("-o", "--output", type=Path, default=HERE, help="Folder of the page.")
    return parser.parse_args()


def make_data(work: Path) -> None:
    """Make the training and the test phantoms, unless they are there; note what made them."""
    for name, (cases, seed) in DATA.items():
        if not (work / f"{name}.json").is_file():
            options = ("--cases", cases, "--seed", seed, "--scanner", "shifted", "--overwrite")
            options += ("--spacing-zyx-mm", "4", "4", "4")
            command(["phantom", work / name, *options], work / f"{name}.log")
            atomic_bytes(work / f"{name}.json", msgspec.json.encode(code()))


def do_run(work: Path, arm: str, seed: int) -> Run:
    """Train, segment and evaluate one arm with one seed."""
    place = place_of(work, arm, seed)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    run, data = place / "run", work / "test"
    cost, model = None, MODEL
    if ARMS[arm]:
        cost, model = command(training(work, arm, run, seed=seed), place / "train.log"), str(run)
    words = [
        "segment",
        data,
        "-o",
        place / "masks",
        "--model",
        model,
        "--formats",
        "nifti",
        "--device",
        "cpu",
    ]
    command(words, place / "segment.log")
    command(["evaluate", place / "masks", data, "-o", place / "results.json"], place / "evaluate.log")
    result = Run(arm=arm, seed=seed, train=cost, **scores(place / "results.json"), code=code())
    for leftover in ("last", "previous", "tensorboard"):
        shutil.rmtree(run / leftover, ignore_errors=True)
    atomic_bytes(place / "result.json", msgspec.json.encode(result))
    return result


def training(work: Path, arm: str, run: Path, *, seed: int) -> list[object]:
    """Return the command that trains an arm."""
    options: list[object] = ["--data", work / "training", "-o", run, "--cache", work / "prepared"]
    options += ["--device", "cpu", "--seed", seed]
    return [*ARMS[arm], *options, *(word for setting in COMMON for word in ("--set", setting))]


def place_of(work: Path, arm: str, seed: int) -> Path:
    """Return the folder of an arm's run."""
    return work / "runs" / f"{arm.replace(' ', '-')}-{seed}"


def finished(work: Path, arm: str, seed: int) -> Run | None:
    """Return a run that came to its end, or None."""
    path = place_of(work, arm, seed) / "result.json"
    return msgspec.json.decode(path.read_bytes(), type=Run) if path.is_file() else None


def write(folder: Path, work: Path) -> None:
    """Write both results of all runs that came to their end."""
    found = [msgspec.json.decode(path.read_bytes(), type=Run) for path in work.glob("runs/*/result.json")]
    runs = sorted(found, key=lambda run: (list(ARMS).index(run.arm), run.seed))
    data = msgspec.json.decode((work / "training.json").read_bytes())
    plain = {"processor": processor(), "data": data, "runs": msgspec.to_builtins(runs)}
    folder.mkdir(parents=True, exist_ok=True)
    atomic_bytes(folder / "adapting.json", msgspec.json.format(msgspec.json.encode(plain)) + b"\n")
    atomic_bytes(folder / "adapting.md", ("\n".join(page(runs, data)) + "\n").encode())


def page(runs: Sequence[Run], data: Mapping[str, str]) -> Iterable[str]:
    """Yield the lines of the Markdown page."""
    organs = list(runs[0].dice)
    codes = sorted({f"{r.code['commit']}{' with changes' * (r.code['changed'] == 'yes')}" for r in runs})
    yield f"# `{MODEL}` adapted to eight cases of another scanner"
    yield ""
    yield "Made by `.venv/bin/python benchmarks/adapting.py WORK`; do not edit. Mean ± sample standard"
    yield "deviation over the seeds of the mean over the test cases (HD95: of the median)."
    yield ""
    yield f"- Data: {DATA['training'][0]} phantoms to train on and {DATA['test'][0]} to test with (seeds"
    yield f"  {DATA['training'][1]} and {DATA['test'][1]}, `--scanner shifted`, 4 mm voxels); their generator"
    yield f"  is `src/thoar/phantoms` as of {data['date']} (commit {data['commit']}, by content"
    yield f"  {data['phantoms_sha256']})."
    yield f"- {max(run.code['date'] for run in runs)}, code {', '.join(codes)}; {processor()}, torch"
    yield f"  {runs[0].code['torch']}; one thread a run."
    yield ""
    yield from score_tables(runs, organs)
    yield ""
    yield "Missed: organs of all seeds' test cases in which nothing was drawn (Dice 0)."
    yield ""
    yield "| seed | " + " | ".join(ARMS) + " |"
    yield "|---|" + "---|" * len(ARMS)
    yield from seed_rows(runs)
    yield ""
    yield "What was typed, with `--seed` and"
    yield f"{' '.join(f'`--set {setting}`' for setting in COMMON)}:"
    yield ""
    for arm, words in ARMS.items():
        if words:
            yield f"- {arm}: `thoar {' '.join(words)} …`"


def score_tables(runs: Sequence[Run], organs: Sequence[str]) -> Iterable[str]:
    """Yield the table of overlap and costs, and that of distances."""
    yield f"| Dice | seeds | {' | '.join(organs)} | mean | missed | CPU min |"
    yield "|---|---|" + "---|" * (len(organs) + 3)
    for arm, group in grouped(runs):
        cells = [spread([run.dice[organ] for run in group]) for organ in organs]
        cells += [spread([run.mean_dice for run in group])]
        cells += [str(sum(sum(run.missed.values()) for run in group))]
        minutes = [run.train.cpu_s / 60 for run in group if run.train is not None]
        cells += [spread(minutes, digits=1) if minutes else "–"]
        yield f"| {arm} | {len(group)} | {' | '.join(cells)} |"
    yield ""
    yield f"| HD95 mm | {' | '.join(organs)} |"
    yield "|---|" + "---|" * len(organs)
    for arm, group in grouped(runs):
        yield f"| {arm} | {' | '.join(distance(group, organ) for organ in organs)} |"


def distance(group: Sequence[Run], organ: str) -> str:
    """Return mean ± spread of an organ's HD95; where one is infinite, say so."""
    known = [value for run in group if (value := run.hausdorff95_mm[organ]) is not None]
    return spread(known, digits=1) if len(known) == len(group) else f"∞ in {len(group) - len(known)}"


def grouped(runs: Sequence[Run]) -> Iterable[tuple[str, list[Run]]]:
    """Yield every arm that has runs, with its runs."""
    for arm in ARMS:
        group = [run for run in runs if run.arm == arm]
        if group:
            yield arm, group


def seed_rows(runs: Sequence[Run]) -> Iterable[str]:
    """Yield the mean Dice of every seed."""
    by_task = {(run.arm, run.seed): run.mean_dice for run in runs}
    for seed in sorted({run.seed for run in runs}):
        values = [by_task.get((arm, seed if ARMS[arm] else 0)) for arm in ARMS]
        yield f"| {seed} | {' | '.join('–' if v is None else f'{v:.3f}' for v in values)} |"


if __name__ == "__main__":
    main()
