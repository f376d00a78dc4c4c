"""``best`` against ``paper``: a quarter of their channels, the same phantoms and minutes, three seeds.

    .venv/bin/python benchmarks/recipes.py WORK [--seeds 0 1 2] [--minutes 10] [--jobs 2]

Every run is three commands a user could type (``thoar train``, ``segment``, ``evaluate``), one thread each.
How many epochs fill the minutes is measured first, per recipe, by a short trial. With two jobs, both recipes
of a seed run side by side, so that whatever else the machine does slows both. What WORK holds already is
kept: the data, the trials, every run that came to its end. After every run the results, ``recipes.json`` and
``recipes.md``, are written anew.
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
from budget import MARGIN, Pace, Trained, epochs_that_fit, length_of, pace_of, settings_of, train
from costs import Cost, command
from provenance import code, processor

from thoar.core.configuration import Configuration, configuration_from, load_toml
from thoar.io.atomic import atomic_bytes

HERE = Path(__file__).parent
CONFIGS = HERE.parent / "src" / "thoar" / "configs"
RECIPES = ("paper", "best")
DATA = {"training": ("24", "31024"), "test": ("8", "31008")}
"""Cases and seed of each data set; both of 4 mm voxels. No setting was chosen by them."""
BLOCKS = (
    "{channels=8,convolutions=2,stride_zyx=[1,2,2]}",
    "{channels=16,convolutions=2,stride_zyx=[2,1,1]}",
    "{channels=32,convolutions=3,dilation=3}",
    "{channels=64,convolutions=3,dilation=6}",
)
COMMON = (
    "preparation.spacing_zyx_mm=[4.0,4.0,4.0]",
    "network.stem_channels=4",
    f"network.blocks=[{','.join(BLOCKS)}]",
    "train.cases_per_epoch=12",
    "train.validation_cases=0",
    "train.threads=1",
)
"""What both are told: a quarter of the channels, and coarse cells of 8×8×8 mm as in ``ablations.toml``."""
OWN: Mapping[str, tuple[str, ...]] = {"paper": (), "best": ("train.averaging=0.99", "train.warmup_steps=20")}
"""What fits a recipe to a run of minutes."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One recipe with one seed.

    Attributes:
        recipe: its name.
        seed: of weights, order and augmentation.
        minutes: the budget.
        epochs: of each stage, as planned.
        length: what became of the plan.
        train: the cost of training.
        dice: per organ the mean over the test cases.
        hausdorff95_mm: per organ the median over the test cases; None where most were missed.
        missed: per organ the number of test cases in which nothing was drawn.
        code: what computed it.
    """

    recipe: str
    seed: int
    minutes: float
    epochs: dict[str, int]
    length: Trained
    train: Cost
    dice: dict[str, float]
    hausdorff95_mm: dict[str, float | None]
    missed: dict[str, int]
    code: dict[str, str]

    @property
    def mean_dice(self) -> float:
        """Over the organs."""
        return statistics.mean(self.dice.values())


def main() -> None:
    """Make the data, measure the paces, do what runs are missing, write the page."""
    arguments = parsed()
    work: Path = arguments.work.resolve()
    make_data(work)
    paces = {recipe: known_pace(work, recipe, minutes=arguments.minutes) for recipe in RECIPES}
    lock = threading.Lock()

    def one(task: tuple[int, str]) -> None:
        seed, recipe = task
        run = finished(work, recipe, seed, minutes=arguments.minutes)
        run = run or do_run(work, recipe, seed, minutes=arguments.minutes, pace=paces[recipe])
        print(f"{run.recipe}, seed {run.seed}: mean Dice {run.mean_dice:.3f}", flush=True)
        with lock:
            write(arguments.output, work, minutes=arguments.minutes)

    with ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(one, [(seed, recipe) for seed in arguments.seeds for recipe in RECIPES]))


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("work", type=Path, help="Folder of data and runs; some hundred MB.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--minutes", type=float, default=10.0, help="Of training, each run.")
    parser.add_argument("--jobs", type=int, default=2, help="Runs at a time, one thread each.")
    parser.add_argument("-o", "--output", type=Path, default=HERE, help="Folder of the page.")
    return parser.parse_args()


def place_of(work: Path, name: str, *, minutes: float) -> Path:
    """Return where something of a budget is kept."""
    return work / f"{minutes:g}-minutes" / name


def make_data(work: Path) -> None:
    """Make the training and the test phantoms, unless they are there; note what made them."""
    for name, (cases, seed) in DATA.items():
        if not (work / f"{name}.json").is_file():
            options = ("--cases", cases, "--seed", seed, "--spacing-zyx-mm", "4", "4", "4", "--overwrite")
            command(["phantom", work / name, *options], work / f"{name}.log")
            atomic_bytes(work / f"{name}.json", msgspec.json.encode(code()))


def settings(recipe: str) -> tuple[str, ...]:
    """Return everything that is changed in a recipe but its epochs."""
    return (*COMMON, *OWN[recipe])


def resolved(recipe: str) -> Configuration:
    """Return a recipe as it is run, but for its epochs."""
    return configuration_from(load_toml(CONFIGS / f"{recipe}.toml"), overrides=settings(recipe))


def known_pace(work: Path, recipe: str, *, minutes: float) -> Pace:
    """Return a recipe's pace on this machine, measured once for all runs of a budget and kept."""
    path = place_of(work, f"pace-{recipe}", minutes=minutes).with_suffix(".json")
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        pace = pace_of(recipe, work / "training", work / f"trial-{recipe}", overrides=settings(recipe))
        atomic_bytes(path, msgspec.json.encode(pace))
    return msgspec.json.decode(path.read_bytes(), type=Pace)


def do_run(work: Path, recipe: str, seed: int, *, minutes: float, pace: Pace) -> Run:
    """Train, segment and evaluate one recipe with one seed."""
    place = place_of(work, f"{recipe}-{seed}", minutes=minutes)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    stages = resolved(recipe).train
    share = stages.coarse_epochs / (stages.coarse_epochs + stages.joint_epochs)
    epochs = epochs_that_fit(pace, budget_s=60 * minutes, coarse_share=share)
    run, data = place / "run", work / "test"
    cost = train(
        recipe,
        work / "training",
        run,
        overrides=[*settings(recipe), *settings_of(epochs)],
        seed=seed,
        max_s=60 * minutes,
    )
    words = ["segment", data, "-o", place / "masks", "--model", run, "--formats", "nifti", "--device", "cpu"]
    command(words, place / "segment.log")
    command(["evaluate", place / "masks", data, "-o", place / "results.json"], place / "evaluate.log")
    result = Run(
        recipe=recipe,
        seed=seed,
        minutes=minutes,
        epochs=epochs,
        length=length_of(run),
        train=cost,
        **scores(place / "results.json"),
        code=code(),
    )
    for leftover in ("prepared", "last", "previous", "tensorboard"):
        shutil.rmtree(run / leftover, ignore_errors=True)
    atomic_bytes(place / "result.json", msgspec.json.encode(result))
    return result


def finished(work: Path, recipe: str, seed: int, *, minutes: float) -> Run | None:
    """Return a run of this budget that came to its end, or None."""
    path = place_of(work, f"{recipe}-{seed}", minutes=minutes) / "result.json"
    return msgspec.json.decode(path.read_bytes(), type=Run) if path.is_file() else None


def write(folder: Path, work: Path, *, minutes: float) -> None:
    """Write both results of all runs of a budget that came to their end."""
    results = sorted(place_of(work, "", minutes=minutes).glob("*/result.json"))
    runs = [msgspec.json.decode(path.read_bytes(), type=Run) for path in results]
    data = msgspec.json.decode((work / "training.json").read_bytes())
    plain = {"processor": processor(), "data": data, "runs": msgspec.to_builtins(runs)}
    folder.mkdir(parents=True, exist_ok=True)
    atomic_bytes(folder / "recipes.json", msgspec.json.format(msgspec.json.encode(plain)) + b"\n")
    atomic_bytes(folder / "recipes.md", ("\n".join(page(runs, data, minutes=minutes)) + "\n").encode())


def page(runs: Sequence[Run], data: Mapping[str, str], *, minutes: float) -> Iterable[str]:
    """Yield the lines of the Markdown page."""
    organs = list(runs[0].dice)
    codes = sorted({f"{r.code['commit']}{' with changes' * (r.code['changed'] == 'yes')}" for r in runs})
    yield "# `best` against `paper`, small"
    yield ""
    yield "Made by `.venv/bin/python benchmarks/recipes.py WORK`; do not edit. Mean ± sample standard"
    yield "deviation over the seeds of the mean over the test cases (HD95: of the median)."
    yield ""
    yield "- Both recipes with a quarter of their channels, on 4 mm voxels; everything else is their own."
    yield f"- The same budget: {minutes:g} minutes by the clock a run, preparation included, one thread;"
    yield f"  epochs fitted to {MARGIN:.0%} of it by a trial, in each recipe's own proportion of stages."
    yield f"- Data: {DATA['training'][0]} training and {DATA['test'][0]} test phantoms (seeds"
    yield f"  {DATA['training'][1]} and {DATA['test'][1]}); their generator is `src/thoar/phantoms` as of"
    yield f"  {data['date']} (commit {data['commit']}, by content {data['phantoms_sha256']})."
    yield f"- {max(run.code['date'] for run in runs)}, code {', '.join(codes)}; {processor()}, torch"
    yield f"  {runs[0].code['torch']}."
    yield ""
    yield f"| Dice | seeds | {' | '.join(organs)} | mean | missed |"
    yield "|---|---|" + "---|" * (len(organs) + 2)
    for recipe, group in grouped(runs):
        cells = [spread([run.dice[organ] for run in group]) for organ in organs]
        cells += [spread([run.mean_dice for run in group])]
        missed = sum(sum(run.missed.values()) for run in group)
        yield f"| `{recipe}` | {len(group)} | {' | '.join(cells)} | {missed} |"
    yield ""
    yield f"| HD95 mm | {' | '.join(organs)} |"
    yield "|---|" + "---|" * len(organs)
    for recipe, group in grouped(runs):
        cells = [lengths([run.hausdorff95_mm[organ] for run in group]) for organ in organs]
        yield f"| `{recipe}` | {' | '.join(cells)} |"
    yield ""
    yield "Missed: organs of all seeds' test cases in which nothing was drawn (Dice 0)."
    yield ""
    yield "| seed | " + " | ".join(f"`{recipe}`" for recipe in RECIPES) + " | difference |"
    yield "|---|---|---|---|"
    yield from seed_rows(runs)
    yield ""
    yield "| | epochs: coarse + joint | steps taken | cut off | train: min | CPU min | peak MiB |"
    yield "|---|---|---|---|---|---|---|"
    for recipe, group in grouped(runs):
        yield f"| `{recipe}` | {' | '.join(costs(group))} |"
    yield ""
    yield "Cut off: runs that the clock ended before their plan did: their rate did not fall to its end."
    yield "`paper` computes in float32, `best` in bfloat16 with 1×1×1 shortcuts. `paper` wants well over a"
    yield "thousand steps: this says which of them gets further in a budget, not where they end."
    yield ""
    yield f"Both with {' '.join(f'`--set {setting}`' for setting in COMMON)}."
    yield f"`best` also with {' '.join(f'`--set {setting}`' for setting in OWN['best'])}, for a run so short."


def grouped(runs: Sequence[Run]) -> Iterable[tuple[str, list[Run]]]:
    """Yield every recipe that has runs, with its runs."""
    for name in RECIPES:
        group = [run for run in runs if run.recipe == name]
        if group:
            yield name, group


def lengths(values: Sequence[float | None]) -> str:
    """Return mean ± spread of lengths; where one is infinite, say so.

    >>> lengths([4.0, None])
    '∞ in 1 of 2'
    """
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return f"∞ in {len(values) - len(known)} of {len(values)}"
    return spread(known, digits=1)


def seed_rows(runs: Sequence[Run]) -> Iterable[str]:
    """Yield the mean Dice of every seed that both recipes have."""
    by_task = {(run.recipe, run.seed): run.mean_dice for run in runs}
    for seed in sorted({run.seed for run in runs}):
        pair = [by_task.get((recipe, seed)) for recipe in RECIPES]
        cells = ["–" if value is None else f"{value:.3f}" for value in pair]
        known = [value for value in pair if value is not None]
        difference = f"{known[1] - known[0]:+.3f}" if len(known) == len(RECIPES) else "–"
        yield f"| {seed} | {' | '.join(cells)} | {difference} |"


def costs(group: Sequence[Run]) -> list[str]:
    """Return the cells of a recipe's row in the table of costs."""
    stages = group[0].epochs
    return [
        f"{stages['coarse']} + {stages['joint']}",
        spread([run.length.steps for run in group], digits=0),
        str(sum(run.length.outcome != "finished" for run in group)),
        spread([run.train.wall_s / 60 for run in group], digits=1),
        spread([run.train.cpu_s / 60 for run in group], digits=1),
        spread([run.train.peak_mib for run in group], digits=0),
    ]


if __name__ == "__main__":
    main()
