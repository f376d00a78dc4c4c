"""Kill training runs at random instants: whatever falls where, they end with the same bits as one left alone.

``make proof-resume`` kills a hundred times with SIGKILL, a third of them in the instants of a save.
"""

import argparse
import datetime as dt
import hashlib
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import tomli_w

from thoar.cli.app import main as thoar
from thoar.core.geometry import Geometry
from thoar.core.labels import LabelSet, Organ
from thoar.core.volume import LabelVolume, Volume
from thoar.datasets.manifest import Case, Dataset, write_dataset
from thoar.io.formats import write_labels, write_volume

COARSE_EPOCHS, JOINT_EPOCHS = 4, 6
RECIPE = {
    "name": "killed",
    "preparation": {"spacing_zyx_mm": [6.0, 6.0, 6.0]},
    "network": {
        "stem_channels": 4,
        "blocks": [
            {"channels": 6, "convolutions": 1},
            {"channels": 8, "convolutions": 1, "stride_zyx": [2, 2, 2]},
            {"channels": 8, "convolutions": 1},
        ],
    },
    "localisation": {"min_box_cells": 2, "organ_threshold": {}},
    "augmentation": {"short_scan_cells": 6},
    "train": {
        "coarse_epochs": COARSE_EPOCHS,
        "joint_epochs": JOINT_EPOCHS,
        "learning_rate": 5e-3,
        "averaging": 0.9,
        "batch_cases": 2,
        "prefetch": 1,
        "validation_cases": 1,
        "threads": 1,
    },
}
ORGANS = LabelSet(organs=(Organ(name="heart", id=2), Organ(name="trachea", id=3)))
LONGEST_WINDOW_S = 0.02
"""So long after a save was seen to begin at most, a kill that was aimed at it falls."""
SAVES_PASSED = 3
"""So many saves at most are let pass before it."""
AIMS = ("anywhere", "at a save", "anywhere", "between renames", "anywhere", "anywhere")
"""Of the kills, in turn."""
RENAMES = 14
"""A kill between renames falls after one of so many: those of an epoch's two saves."""
PRELOADED = (
    "thoar.cli.train",
    "thoar.training.run",
    "thoar.reports.run_report",
    "torch._inductor",
    "torch.utils.tensorboard",
)
LEFT_BY_SAVES = tuple(
    f".{name}.thoar-{kind}" for name in ("last", "best") for kind in ("new", "old", "waste")
)


@dataclass(frozen=True, kw_only=True)
class Work:
    """Where the proof happens: a folder with data and recipe, and what a run left alone gave.

    Attributes:
        folder: of data, recipe and runs.
        results: of the run left alone.
        seconds: that it took.
    """

    folder: Path
    results: dict[str, str]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Death:
    """One kill.

    Attributes:
        aim: what it was aimed at.
        place: where it fell.
        epochs_lost: finished before it and done again after it.
        damage: what is wrong with the checkpoint that is gone on from; empty if nothing.
    """

    aim: str
    place: str
    epochs_lost: int
    damage: str


@dataclass(kw_only=True)
class Proof:
    """What was found.

    Attributes:
        deaths: every kill.
        resumed: of them, how many a later start of the run went on from.
        runs: that came to their end.
        faults: what must not be; empty if all is well.
    """

    deaths: list[Death] = field(default_factory=list)
    resumed: int = 0
    runs: int = 0
    faults: list[str] = field(default_factory=list)


def main() -> int:
    """Kill, print the table, and say by the exit status whether anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of chance; the machine's pace has its part too")
    asked = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        work = prepared(Path(folder))
        proof = prove(work, kills=asked.kills, seed=asked.seed, say=lambda text: print(text, file=sys.stderr))
    print("\n".join(table(proof)))
    print(
        f"A run has {COARSE_EPOCHS} coarse and {JOINT_EPOCHS} joint epochs. {time.monotonic() - began:.0f} s"
    )
    print(f"SHA-256 over best/, last/ and the log of the run left alone: {summary(work.results)}")
    for fault in proof.faults:
        print(f"fault: {fault}")
    return 1 if proof.faults else 0


def prepared(folder: Path) -> Work:
    """Write data and recipe into an empty folder, and train there once without interruption."""
    write_data(folder / "data")
    (folder / "recipe.toml").write_text(tomli_w.dumps(RECIPE))
    words = [sys.executable, "-m", "thoar", *command(folder, "whole")]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 (our own words)
    record = json.loads((folder / "whole" / "run.json").read_bytes())
    began, ended = (dt.datetime.fromisoformat(record[key]).timestamp() for key in ("started", "ended"))
    return Work(folder=folder, results=results(folder / "whole"), seconds=max(1.0, ended - began))


def prove(work: Work, *, kills: int, seed: int, say: Callable[[str], None] = lambda _: None) -> Proof:
    """Kill so many times, with as many runs as that takes, until one does not end as it should."""
    rng, proof = random.Random(seed), Proof()  # noqa: S311 (no secret)
    while len(proof.deaths) < kills and not proof.faults:
        name = f"run-{seed}-{proof.runs}"
        while len(proof.deaths) < kills and (death := killed(work, name, rng, proof)) is not None:
            proof.deaths.append(death)
            say(f"kill {len(proof.deaths)}, aimed {death.aim}: {death.place}")
        finish(work, name, proof)
        proof.runs += 1
    proof.faults += [f"{death.place}: {death.damage}" for death in proof.deaths if death.damage]
    proof.faults += [
        f"{death.place}: {death.epochs_lost} epochs lost" for death in proof.deaths if death.epochs_lost > 1
    ]
    return proof


def killed(work: Work, name: str, rng: random.Random, proof: Proof) -> Death | None:
    """Start or resume a run and kill it; return None if it came to its end before that."""
    run = work.folder / name
    aim = AIMS[len(proof.deaths) % len(AIMS)]
    renames = rng.randint(1, RENAMES) if aim == "between renames" else 0
    process = started(work.folder, name, renames=renames)
    if wait_until(lambda: leads(run, process), process):
        proof.resumed = len(proof.deaths)
        if aim == "anywhere":
            _sleep(rng.uniform(0, work.seconds / 2), process)
        elif aim == "at a save":
            _await_save(run, process, passed=rng.randrange(SAVES_PASSED))
            _sleep(rng.uniform(0, LONGEST_WINDOW_S), process)
        else:
            process.join()
    process.kill()
    process.join()
    return autopsy(run, aim) if process.exitcode == -signal.SIGKILL else None


def finish(work: Work, name: str, proof: Proof) -> None:
    """Bring a run to its end, which it may have reached already, and compare it with the one left alone."""
    process = started(work.folder, name)
    process.join()
    if leads(work.folder / name, process):
        proof.resumed = len(proof.deaths)
    if process.exitcode:
        said = (work.folder / f"{name}.txt").read_text()
        proof.faults.append(f"{name}: ended with {process.exitcode}: {said[-300:]}")
        return
    found = results(work.folder / name)
    different = [file for file in work.results | found if work.results.get(file) != found.get(file)]
    if different:
        proof.faults.append(f"{name}: other bits in {', '.join(sorted(different))}")
    left = [path.name for path in (work.folder / name).iterdir() if ".thoar-" in path.name]
    if left:
        proof.faults.append(f"{name}: left {', '.join(left)}")


def command(folder: Path, name: str) -> list[str]:
    """Return the words after ``thoar`` that start a run, or resume it if its folder is there."""
    run = folder / name
    words = ["--quiet", "train", str(folder / "recipe.toml"), "--data", str(folder / "data"), "-o", str(run)]
    return [*words, "--device", "cpu", *(["--resume"] if run.exists() else [])]


def started(folder: Path, name: str, *, renames: int = 0) -> BaseProcess:
    """Start the command in a process that has its libraries loaded already; else most kills would fall there.

    Args:
        folder: of the proof.
        name: of the run.
        renames: after so many it kills itself, at an instant too short to be hit from outside; 0 for never.
    """
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(list(PRELOADED))
    given = (command(folder, name), renames, folder / f"{name}.txt")
    process = forks.Process(target=_train, args=given)
    process.start()
    return process


def _train(words: list[str], renames: int, said: Path) -> None:
    with said.open("ab") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    if renames:
        _die_after(renames)
    thoar(words)


def _die_after(renames: int) -> None:
    rename, left = os.rename, [renames]

    def dying(source: Path, target: Path) -> None:
        rename(source, target)
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)

    os.rename = dying


def leads(run: Path, process: BaseProcess) -> bool:
    """Say whether a process has taken a run's folder."""
    try:
        return json.loads((run / "run.json").read_bytes())["pid"] == process.pid
    except FileNotFoundError:
        return False


def wait_until(there: Callable[[], bool], process: BaseProcess) -> bool:
    """Wait for something; return False if the process ended before it."""
    while process.is_alive():
        if there():
            return True
        time.sleep(0.0005)
    return False


def _await_save(run: Path, process: BaseProcess, *, passed: int) -> None:
    new = [run / ".last.thoar-new", run / ".best.thoar-new"]
    for _ in range(passed):
        wait_until(lambda: any(path.exists() for path in new), process)
        wait_until(lambda: not any(path.exists() for path in new), process)
    wait_until(lambda: any(path.exists() for path in new), process)


def _sleep(seconds: float, process: BaseProcess) -> None:
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= end, process)


def autopsy(run: Path, aim: str) -> Death:
    """Say what a killed run left, without changing it."""
    checkpoint = newest(run)
    if checkpoint is None:
        return Death(aim=aim, place="before the first checkpoint", epochs_lost=logged(run), damage="")
    if damage := damage_of(checkpoint):
        return Death(aim=aim, place="in a checkpoint", epochs_lost=0, damage=damage)
    epoch = json.loads((checkpoint / "progress.json").read_bytes())["epoch"]
    saving = sorted({name.split(".")[1] for name in LEFT_BY_SAVES if (run / name).exists()})
    if checkpoint.name != "last" or (not (run / "best").exists() and (run / ".best.thoar-old").exists()):
        place = "between two renames, no last/ or best/ in place"
    elif saving:
        place = f"in a save of {'/ and '.join(saving)}/"
    elif epoch < COARSE_EPOCHS:
        place = "in the coarse stage"
    else:
        place = "in the joint stage" if epoch < COARSE_EPOCHS + JOINT_EPOCHS else "after the last epoch"
    return Death(aim=aim, place=place, epochs_lost=logged(run) - epoch, damage="")


def newest(run: Path) -> Path | None:
    """Return the checkpoint that a resumed run goes on from; None before the first."""
    last, new, old = run / "last", run / ".last.thoar-new", run / ".last.thoar-old"
    if not last.exists() and old.exists():
        return new if new.exists() else old
    return last if last.exists() else None


def damage_of(checkpoint: Path) -> str:
    """Return what a checkpoint's own SHA-256 sums say against it."""
    try:
        sums = json.loads((checkpoint / "manifest.json").read_bytes())["sha256"]
        sums["state.safetensors"] = json.loads((checkpoint / "progress.json").read_bytes())["state_sha256"]
    except (OSError, ValueError) as error:
        return f"damaged: {error}"
    wrong = [name for name, wanted in sums.items() if sha256(checkpoint / name) != wanted]
    return f"damaged: {', '.join(wrong)}" if wrong else ""


def logged(run: Path) -> int:
    """Return the number of epochs in a run's log."""
    log = run / "metrics.csv"
    return len({row.split(",")[0] for row in log.read_text().splitlines()[1:]}) if log.exists() else 0


def results(run: Path) -> dict[str, str]:
    """Return the SHA-256 of all that a run must give again: its bundles, and its log but for what it cost."""
    files = [path for kind in ("best", "last") for path in (run / kind).iterdir()]
    rows = [
        r for r in (run / "metrics.csv").read_text().splitlines() if ",time/" not in r and ",memory/" not in r
    ]
    log = {"metrics.csv": hashlib.sha256("\n".join(rows).encode()).hexdigest()}
    return {str(path.relative_to(run)): sha256(path) for path in sorted(files)} | log


def sha256(path: Path) -> str:
    """Return a file's SHA-256; of nothing where it is not there."""
    return hashlib.sha256(path.read_bytes() if path.exists() else b"").hexdigest()


def summary(found: dict[str, str]) -> str:
    """Return one SHA-256 over those of the bundles' files."""
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def table(proof: Proof) -> list[str]:
    """Return the table, in Markdown."""
    places = sorted({death.place for death in proof.deaths})
    lines = [
        "| where it fell | kills | epochs lost, at most | damaged checkpoints met |",
        "|---|---|---|---|",
    ]
    for place, deaths in [
        *((place, [death for death in proof.deaths if death.place == place]) for place in places),
        ("all", proof.deaths),
    ]:
        lost = max((death.epochs_lost for death in deaths), default=0)
        lines.append(f"| {place} | {len(deaths)} | {lost} | {sum(bool(d.damage) for d in deaths)} |")
    aimed = sum(death.aim != "anywhere" for death in proof.deaths)
    found = f"resumed: {proof.resumed}, runs brought to their end: {proof.runs}, faults: {len(proof.faults)}"
    return [*lines, "", f"kills: {len(proof.deaths)} ({aimed} aimed at saves), {found}"]


def write_data(folder: Path) -> None:
    """Write five small chests: a body, a heart and a trachea."""
    cases = [_case(folder, number) for number in range(5)]
    write_dataset(folder, Dataset(root=folder, label_set=ORGANS, cases=tuple(cases)))


def _case(folder: Path, number: int) -> Case:
    z, y, x = np.meshgrid(*(np.arange(n) for n in (16, 24, 32)), indexing="ij")
    heart = ((z - 6 - number % 3) / 4) ** 2 + ((y - 10) / 4) ** 2 + ((x - 17 - number % 2) / 5) ** 2 < 1
    trachea = (abs(y - 15) < 2) & (abs(x - 16) < 2) & (z > 8)  # noqa: PLR2004
    hu = np.where(((y - 12) / 11) ** 2 + ((x - 16) / 15) ** 2 < 1, 30, -1000)
    hu[heart], hu[trachea] = 120, -980
    labels = (2 * heart + 3 * trachea).astype(np.uint8)
    noise = np.random.default_rng(number).normal(0, 10, hu.shape)
    geometry = Geometry.axial((16, 24, 32), (6.0, 6.0, 6.0))
    name = f"chest-{number}"
    image, label = folder / name / f"{name}.nii.gz", folder / name / "GT.nii.gz"
    image.parent.mkdir(parents=True)
    write_volume(image, Volume(voxels=(hu + noise).astype(np.int16), geometry=geometry))
    write_labels(label, LabelVolume(voxels=labels, geometry=geometry, label_set=ORGANS))
    return Case(id=name, image=image, label=label, organs=ORGANS.names, group=name)


if __name__ == "__main__":
    sys.exit(main())
