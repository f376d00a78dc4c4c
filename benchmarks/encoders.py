"""Which network for ``fast``: candidates timed side by side, and trained on the same cases for as many steps.

    .venv/bin/python benchmarks/encoders.py times [NAME ...] [--threads 2] [--repeats 5] [--cpu]
    .venv/bin/python benchmarks/encoders.py train DATA WORK [NAME ...] [--threads 2] [--set train.seed=1]

``times`` goes through all candidates again and again, so that a busy machine slows all of them alike, and
prints medians, by the clock or (``--cpu``, best with one thread) of processor time. ``train`` takes one
candidate after the other and prints its Dice on the held-out cases. WORK keeps the prepared cases and the
runs; a candidate that has one there already is not trained again.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from thoar.core.box import Box, Index3
from thoar.core.configuration import Configuration, configuration_from, load_toml
from thoar.datasets.manifest import read_dataset
from thoar.network.network import CoarseToFineNetwork, build_network
from thoar.training.run import Setting, train
from thoar.training.split import held_out
from thoar.training.stages import Event

EXTENT_ZYX_MM = (336, 264, 360)
"""The sample CT after preparation: its body's box."""
BOXES_ZYX_MM: Mapping[str, Index3] = {
    "esophagus": (252, 104, 96),
    "heart": (150, 144, 168),
    "trachea": (138, 104, 112),
    "aorta": (300, 176, 120),
}
"""The organs' boxes there, with the margins that inference adds."""
BUDGET = (
    "train.cases_per_epoch=20",
    "train.coarse_epochs=2",
    "train.joint_epochs=4",
    "train.validation_cases=8",
    "train.validate_every=99",  # the last epoch of a stage is validated all the same
    "train.learning_rate=2e-3",
    "train.averaging=0.98",
)
"""A small run: 40 coarse and 80 joint steps."""
Z, PLANE, ALL, NONE = (2, 1, 1), (1, 2, 2), (2, 2, 2), (1, 1, 1)


def candidate(
    *widths: int,
    convolutions: tuple[int, ...] = (2, 2, 2, 2),
    strides: tuple[Index3, ...] = (PLANE, ALL, NONE, NONE),
    decoder: tuple[int, ...] = (),
    shortcut: int = 1,
    spacing_zyx_mm: tuple[float, float, float] = (3.0, 2.0, 2.0),
) -> dict[str, Any]:
    """Return a candidate's sections of the configuration; the stem's width comes first."""
    stem, *channels = widths
    dilations = [1] * (len(channels) - 2) + [3, 6]
    keys = ("channels", "convolutions", "stride_zyx", "dilation")
    rows = zip(channels, convolutions, strides, dilations, strict=True)
    return {
        "preparation": {"spacing_zyx_mm": spacing_zyx_mm},
        "network": {
            "stem_channels": stem,
            "blocks": [dict(zip(keys, row, strict=True)) for row in rows],
            "shortcut_kernel": shortcut,
            "decoder_channels": decoder,
            "average": "logits",
        },
    }


NARROW = (8, 16, 32, 32, 32)
CANDIDATES: Mapping[str, dict[str, Any]] = {
    "first": candidate(12, 24, 48, 64, 96, convolutions=(2, 2, 3, 3), shortcut=3),
    "first, shortcuts 1": candidate(12, 24, 48, 64, 96, convolutions=(2, 2, 3, 3)),
    "stem 16": candidate(16, 24, 48, 64, 96, convolutions=(2, 2, 3, 3)),
    "stem 8": candidate(8, 24, 48, 64, 96, convolutions=(2, 2, 3, 3)),
    "24 wide": candidate(8, 24, 48, 64, 64),
    "16 wide": candidate(8, 16, 48, 64, 64),
    "small": candidate(8, 16, 48, 64, 64, decoder=NARROW),
    "taken": candidate(8, 16, 48, 64, 64, decoder=(8, 16, 48, 48, 48)),
    "small, stem 16": candidate(16, 16, 48, 64, 64, decoder=(16, 16, 32, 32, 32)),
    "small, shortcuts 3": candidate(8, 16, 48, 64, 64, decoder=NARROW, shortcut=3),
    "small, block 1 of 1": candidate(8, 16, 48, 64, 64, decoder=NARROW, convolutions=(1, 2, 2, 2)),
    "small, 32 wide": candidate(16, 32, 32, 64, 64, decoder=(16, 32, 32, 32, 32)),
    "deep": candidate(8, 16, 48, 64, 96, convolutions=(2, 2, 3, 3), decoder=(8, 16, 32, 48, 48)),
    "1.5 mm": candidate(
        *(8, 16, 32, 48, 64, 64),
        convolutions=(2, 2, 2, 2, 2),
        strides=(PLANE, PLANE, Z, NONE, NONE),
        decoder=(8, 16, 24, 32, 32, 32),
        spacing_zyx_mm=(3.0, 1.5, 1.5),
    ),
    "2.5 mm slices": candidate(8, 16, 48, 64, 64, decoder=NARROW, spacing_zyx_mm=(2.5, 2.0, 2.0)),
}


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    commands = parser.add_subparsers(dest="command", required=True)
    timing = commands.add_parser("times", help="time candidates on random voxels")
    timing.add_argument("--repeats", type=int, default=5)
    timing.add_argument("--cpu", action="store_true", help="processor time instead of the clock's")
    training = commands.add_parser("train", help="train candidates for a small number of steps")
    training.add_argument("data", type=Path)
    training.add_argument("work", type=Path)
    training.add_argument("--set", dest="overrides", action="append", default=[], metavar="SECTION.KEY=VALUE")
    for command in (timing, training):
        command.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CANDIDATES)}")
        command.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    unknown = set(given.names) - set(CANDIDATES)
    if unknown:
        parser.error(f"no candidate is called {', '.join(sorted(unknown))}")
    names = given.names or list(CANDIDATES)
    if given.command == "times":
        clock = time.process_time if given.cpu else time.perf_counter
        print_times(names, threads=given.threads, repeats=given.repeats, clock=clock)
    else:
        overrides = [*BUDGET, f"train.threads={given.threads}", *given.overrides]
        print_scores(names, given.data, given.work, overrides=overrides)


def configuration_of(name: str, overrides: list[str]) -> Configuration:
    """Return the recipe ``fast`` with a candidate's network."""
    recipe = load_toml(Path(str(files("thoar"))) / "configs" / "fast.toml")
    return configuration_from({**recipe, **CANDIDATES[name], "name": name}, overrides=overrides)


def print_times(names: list[str], *, threads: int, repeats: int, clock: Callable[[], float]) -> None:
    """Print one row per candidate: weights and medians in seconds."""
    torch.set_num_threads(threads)
    subjects = {name: _Subject(configuration_of(name, []), clock) for name in names}
    seconds: dict[str, list[tuple[float, ...]]] = {name: [] for name in names}
    for turn in range(1 + repeats):  # the first turn warms up
        for name, subject in subjects.items():
            measured = tuple(subject.measured())
            if turn:
                seconds[name].append(measured)
    print(
        "| candidate | grid | weights | encoder float32 | decoders float32 | all bfloat16 | step bfloat16 |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, subject in subjects.items():
        z, y, x = subject.image.shape[2:]
        weights = sum(p.numel() for p in subject.network.parameters()) / 1e6
        medians = (f"{statistics.median(column):.2f}" for column in zip(*seconds[name], strict=True))
        print(f"| {name} | {z}×{y}×{x} | {weights:.2f} M | {' | '.join(medians)} |", flush=True)


class _Subject:
    """A candidate with an image and boxes of the sample's size."""

    def __init__(self, configuration: Configuration, clock: Callable[[], float]) -> None:
        spacing, stride = configuration.preparation.spacing_zyx_mm, configuration.network.total_stride_zyx

        def grid(extent_zyx_mm: Index3) -> Index3:
            z, y, x = (
                -int(-e // (s * t)) * t for e, s, t in zip(extent_zyx_mm, spacing, stride, strict=True)
            )
            return (z, y, x)

        self.network: CoarseToFineNetwork = build_network(configuration.network, tuple(BOXES_ZYX_MM))
        self.image = torch.rand(1, 1, *grid(EXTENT_ZYX_MM))
        self.boxes = {organ: Box.of_shape(grid(extent)) for organ, extent in BOXES_ZYX_MM.items()}
        self.clock = clock

    def measured(self) -> Iterator[float]:
        """Yield the seconds of the table's columns."""
        self.network.eval()
        with torch.inference_mode():
            yield self._seconds(lambda: self.network.locate(self.network.encode(self.image)))
            levels = self.network.encode(self.image)
            yield self._seconds(lambda: [self.network.draw(levels, *item) for item in self.boxes.items()])
            del levels
            with torch.autocast("cpu", dtype=torch.bfloat16):
                yield self._seconds(self._inferred)
        self.network.train()
        yield self._seconds(self._trained)

    def _seconds(self, work: Callable[[], object]) -> float:
        began = self.clock()
        work()
        return self.clock() - began

    def _inferred(self) -> None:
        levels = self.network.encode(self.image)
        self.network.locate(levels)
        for organ, box in self.boxes.items():
            self.network.draw(levels, organ, box)

    def _trained(self) -> None:
        """Go forward and backward as a joint step does, decoder by decoder."""
        with torch.autocast("cpu", dtype=torch.bfloat16):
            levels = self.network.encode(self.image)
            leaves = [level.detach().requires_grad_() for level in levels]
            maps = self.network.locate(leaves)
        maps.probability.mean().backward()
        for organ, box in self.boxes.items():
            with torch.autocast("cpu", dtype=torch.bfloat16):
                drawn = self.network.draw(leaves, organ, box)
            drawn.mean().backward()
        torch.autograd.backward(levels, [leaf.grad for leaf in leaves if leaf.grad is not None])
        self.network.zero_grad()


def print_scores(names: list[str], data: Path, work: Path, *, overrides: list[str]) -> None:
    """Train the candidates and print one row each: the mean Dice of both stages and the organs'."""
    dataset = read_dataset(data)
    organs = dataset.label_set.names
    print(f"| candidate | coarse stage | mean | {' | '.join(organs)} | a coarse, a joint step |")
    print("|---|---|---|" + "---|" * (1 + len(organs)))
    for name in names:
        folder = work / "runs" / name.replace(" ", "_").replace(",", "")
        if (folder / "best").is_dir():
            print(f"| {name} | kept: {folder} |")
            continue
        prepared = work / f"prepared-{'x'.join(map(str, CANDIDATES[name]['preparation']['spacing_zyx_mm']))}"
        prepared.mkdir(parents=True, exist_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "prepared").exists():
            (folder / "prepared").symlink_to(prepared.resolve())
        diary = _Diary()
        configuration = configuration_of(name, overrides)
        settings = configuration.train
        split = held_out(dataset.cases, validation_cases=settings.validation_cases, seed=settings.seed)
        train(
            configuration,
            split,
            folder,
            label_set=dataset.label_set,
            setting=Setting(device="cpu", watch=diary),
        )
        coarse, fine = diary.scores["coarse"], diary.scores["joint"]
        cells = [f"{coarse.score:.3f}", f"{fine.score:.3f}", *(f"{fine.fine_dice[o]:.3f}" for o in organs)]
        print(
            f"| {name} | {' | '.join(cells)} | {diary.pace('coarse')}, {diary.pace('joint')} s |", flush=True
        )


class _Diary:
    """Listens to a run: the time between its steps, and the last scores of each stage."""

    def __init__(self) -> None:
        self.scores: dict[str, Any] = {}
        self._seconds: dict[str, list[float]] = {"coarse": [], "joint": []}
        self._last = time.perf_counter()

    def __call__(self, event: Event) -> None:
        now = time.perf_counter()
        if event.kind == "step" and event.step > 1:
            self._seconds[event.stage].append(now - self._last)
        if event.scores is not None:
            self.scores[event.stage] = event.scores
        self._last = now

    def pace(self, stage: str) -> str:
        """Return the median seconds of a step."""
        return f"{statistics.median(self._seconds[stage]):.2f}"


if __name__ == "__main__":
    main()
