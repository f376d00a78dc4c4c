"""``thoar train``: a folder of cases to a model."""

import logging
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from thoar.cli.recipe import read_recipe, recipe_values, seconds
from thoar.cli.run_reports import report_folds, report_run
from thoar.cli.train_folds import Plan, keep_splits, plans_of
from thoar.cli.train_watch import signals_caught, watcher
from thoar.core.errors import EXIT_SIGNALLED, EXIT_UNFINISHED, UsageError

_log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from thoar.core.configuration import Configuration
    from thoar.core.labels import LabelSet
    from thoar.datasets.manifest import Dataset
    from thoar.inference.bundle import Bundle
    from thoar.training.events import Outcome
    from thoar.training.run import Setting
    from thoar.training.world import World


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG", help="A shipped recipe (paper, best, fast, tiny, adapt) or a TOML file."
        ),
    ],
    *,
    data: Annotated[Path, typer.Option(help="A data set: dataset.toml, or SegTHOR's layout.")],
    out: Annotated[Path, typer.Option("-o", "--output", metavar="RUN", help="Folder of the run.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="As in train.joint_epochs=3; repeatable."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    seed: Annotated[int | None, typer.Option(help="Of every random choice; train.seed.")] = None,
    max_time: Annotated[
        str | None, typer.Option(help="Stop with a checkpoint after, say, 90s, 40m or 2h (exit code 9).")
    ] = None,
    begin_with: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="MODEL",
            help="Begin with this model: its weights, its settings where CONFIG (as in adapt) says nothing.",
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where RUN stopped.")] = False,
    fold: Annotated[
        str | None,
        typer.Option(
            metavar="K|all", help="Cross-validation: train without fold K, from 0, into RUN/fold_K."
        ),
    ] = None,
    folds: Annotated[
        int | None, typer.Option(help="How many folds; those that RUN has already, else 5.", min=2)
    ] = None,
    split: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Folds of your own, in the form of nnU-Net's splits_final.json."),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder for prepared cases, which runs may share; RUN/prepared by default."),
    ] = None,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="Refuse operations that may differ between two runs.")
    ] = False,
    workers: Annotated[int, typer.Option(help="Threads that prepare cases.", min=1)] = 1,
) -> None:
    """Train a network: the coarse stage, then coarse and fine together."""
    from thoar.datasets.manifest import labelled, read_dataset
    from thoar.training.run import Setting

    began = time.monotonic()
    limit_s = math.inf if max_time is None else seconds(max_time)
    settings = [*(overrides or []), *([] if seed is None else [f"train.seed={seed}"])]
    model, configuration = _beginning(recipe, settings, begin_with)
    _set_determinism(deterministic)
    dataset = labelled(read_dataset(data))
    initial, label_set = _start(model, dataset, configuration)
    with _world(device) as (world, own_device), signals_caught() as caught, _indeterminism_explained():
        plans = plans_of(dataset.cases, configuration.train, out, fold=fold, folds=folds, split=split)
        with watcher(quiet=not world.leads) as watch:
            work = _Work(
                configuration=configuration,
                dataset=dataset,
                setting=Setting(
                    device=own_device,
                    cache=cache or (out / "prepared" if fold is not None else None),
                    workers=workers,
                    world=world,
                    watch=watch,
                    should_stop=lambda: bool(caught) or time.monotonic() - began > limit_s,
                ),
                label_set=label_set,
                initial=initial,
                resume=resume,
            )
            if world.leads:
                keep_splits(plans, out)
            outcome = _train_all(work, plans)
        if world.leads:
            _conclude(out, plans, outcome)
    if caught:
        _leave(caught[0])
    if outcome != "finished":
        raise typer.Exit(EXIT_UNFINISHED)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What all runs of one command share."""

    configuration: "Configuration"
    dataset: "Dataset"
    setting: "Setting"
    label_set: "LabelSet"
    initial: "Bundle | None"
    resume: bool


def _train_all(work: _Work, plans: list[Plan]) -> "Outcome":
    """Do one run after the other; finished ones are left alone by ``--resume``.

    What depends on the state of a folder is decided by the leading process, which changes it.
    """
    from thoar.training.folder import is_finished
    from thoar.training.run import train as train_run

    world, several = work.setting.world, len(plans) > 1
    for plan in plans:
        begun = work.resume and (not several or plan.folder.is_dir())
        done = begun and several and world.leads and is_finished(plan.folder, work.configuration)
        if world.any(done):
            continue
        if several and world.leads:
            _log.info("fold_%d, of %d folds", plan.fold, len(plans))
        outcome = train_run(
            work.configuration,
            plan.split,
            plan.folder,
            label_set=work.label_set,
            labels=work.dataset.label_set,
            setting=replace(work.setting, fold=plan.fold),
            resume=world.any(world.leads and begun),
            initial=work.initial,
        )
        if work.setting.world.leads:
            report_run(plan.folder)
        if outcome != "finished":
            return outcome
    return "finished"


def _conclude(out: Path, plans: list[Plan], outcome: "Outcome") -> None:
    """Say how it ended, and sum up the folds that there are."""
    if plans[0].fold is not None:
        from thoar.training.cross_validation import summarise_folds

        summarise_folds(out)
        report_folds(out)
    if outcome == "finished":
        report = out / "report.html"
        typer.echo(
            f"finished; the model is {out} (thoar segment INPUT -o OUT --model {out})"
            + (f", the report {report}" if report.exists() else "")
        )
    elif outcome == "stopped":
        typer.echo(f"stopped with a checkpoint in {out}; go on with --resume", err=True)
    else:
        typer.echo(f"stopped while preparing cases, which {out} keeps; go on with --resume", err=True)


@contextmanager
def _world(device: str) -> "Iterator[tuple[World, str]]":
    """Join the other processes where ``torchrun`` started this one; each takes the GPU of its number."""
    from thoar.inference.device import choose_device
    from thoar.training.world import ALONE, joined

    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        for one in device.split(","):
            choose_device(one)
        yield ALONE, device
        return
    if "," in device or ":" in device:
        raise UsageError(f"--device {device}: torchrun gives each process its own; name only cuda or cpu")
    chosen = choose_device(device)
    own = f"cuda:{os.environ['LOCAL_RANK']}" if chosen.type == "cuda" else str(chosen)
    with joined(int(os.environ["RANK"]), size, device=choose_device(own)) as world:
        yield world, own


def _set_determinism(deterministic: bool) -> None:
    """Let torch refuse what may differ between two runs; cuBLAS must be told before it starts."""
    import torch

    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic)


def _beginning(
    recipe: str, overrides: list[str], begin_with: str | None
) -> "tuple[Bundle | None, Configuration]":
    """Return the model to begin with, if any, and the run's configuration."""
    if begin_with is None:
        return None, read_recipe(recipe, overrides)
    from thoar.inference.bundle import read_bundle
    from thoar.inference.shipped import find_model
    from thoar.training.adaptation import adapted_configuration

    values, source = recipe_values(recipe)
    model = read_bundle(find_model(begin_with))
    return model, adapted_configuration(model, values, overrides=overrides, source=source)


def _start(
    model: "Bundle | None", dataset: "Dataset", configuration: "Configuration"
) -> "tuple[Bundle | None, LabelSet]":
    """Return the weights to begin with, if any, and the organs of the run's network."""
    if model is None:
        return None, dataset.label_set
    from thoar.training.adaptation import adapting

    start = adapting(model, dataset, configuration)
    return start.initial, start.label_set


@contextmanager
def _indeterminism_explained() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        raise UsageError(
            f"--deterministic: this device cannot do all of it ({str(error).splitlines()[0]}); "
            "use --device cpu, or train without"
        ) from error


def _leave(number: int) -> NoReturn:
    raise typer.Exit(EXIT_SIGNALLED + number)
