"""``thoar model add-organ`` and ``remove-organ``: one organ more or fewer, the others as they were."""

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thoar.cli.recipe import recipe_values, seconds
from thoar.cli.run_reports import report_run
from thoar.cli.train_watch import signals_caught, watcher
from thoar.core.errors import EXIT_SIGNALLED, EXIT_UNFINISHED, UsageError

if TYPE_CHECKING:
    from thoar.core.configuration import Configuration
    from thoar.datasets.manifest import Dataset
    from thoar.inference.bundle import Bundle
    from thoar.training.events import Outcome
    from thoar.training.run import Setting

ModelName = Annotated[
    str, typer.Option("--model", metavar="MODEL", help="A shipped name, or the folder of a bundle or a run.")
]


def add_organ(
    organ: Annotated[str, typer.Argument(metavar="NAME", help="The organ, as the data set calls it.")],
    *,
    model_name: ModelName,
    data: Annotated[Path, typer.Option(help="A data set that labels it.")],
    out: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="OUT", help="Folder for the new model and the run it took."),
    ],
    recipe: Annotated[
        str, typer.Option(metavar="CONFIG", help="What to change of the settings the model was trained with.")
    ] = "add-organ",
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="As in train.joint_epochs=3; repeatable."),
    ] = None,
    optional: Annotated[
        bool, typer.Option("--optional", help="Draw the organ only when --organs asks for it.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    seed: Annotated[int | None, typer.Option(help="Of every random choice; train.seed.")] = None,
    max_time: Annotated[
        str | None, typer.Option(help="Stop with a checkpoint after, say, 90s, 40m or 2h (exit code 9).")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where OUT stopped.")] = False,
    cache: Annotated[
        Path | None, typer.Option(help="Folder for prepared cases, which runs may share.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Threads that prepare cases.", min=1)] = 1,
) -> None:
    """Train one organ's decoders on a model's frozen encoder; nothing else of the model changes."""
    from thoar.datasets.manifest import labelled, read_dataset
    from thoar.inference.bundle import read_bundle
    from thoar.inference.shipped import find_model
    from thoar.training.adaptation import finish_adding
    from thoar.training.run import Setting

    began = time.monotonic()
    limit_s = math.inf if max_time is None else seconds(max_time)
    model, dataset = read_bundle(find_model(model_name)), labelled(read_dataset(data))
    settings = [*(overrides or []), *([] if seed is None else [f"train.seed={seed}"])]
    configuration = _configuration(model, recipe, settings)
    with signals_caught() as caught, watcher() as watch:
        setting = Setting(
            device=device,
            cache=cache,
            workers=workers,
            watch=watch,
            should_stop=lambda: bool(caught) or time.monotonic() - began > limit_s,
        )
        outcome = _train(organ, model, dataset, configuration, out=out, setting=setting, resume=resume)
    if outcome == "finished":
        pairs = dataset.label_set.symmetric_pairs
        made = finish_adding(model, out, optional=optional, pairs=pairs)
        typer.echo(f"finished; the model is {out} ({', '.join(made.manifest.label_set.names)})")
    else:
        typer.echo(f"stopped with what is done so far in {out}; go on with --resume", err=True)
    if caught:
        raise typer.Exit(EXIT_SIGNALLED + caught[0])
    if outcome != "finished":
        raise typer.Exit(EXIT_UNFINISHED)


def remove_organ(
    organ: Annotated[str, typer.Argument(metavar="NAME", help="The organ to leave out.")],
    *,
    model_name: ModelName,
    out: Annotated[Path, typer.Option("-o", "--output", metavar="OUT", help="Folder of the new model.")],
) -> None:
    """Write a model without one of its organs."""
    from thoar.inference.bundle import read_bundle
    from thoar.inference.organs import with_only, write_model
    from thoar.inference.shipped import find_model

    whole = read_bundle(find_model(model_name))
    label_set = whole.manifest.label_set
    label_set.organ(organ)
    if out.exists():
        raise UsageError(f"{out}: exists already; choose another folder for the model")
    left = with_only(whole, [name for name in label_set.names if name != organ])
    write_model(out, left)
    typer.echo(f"{out}: {', '.join(left.manifest.label_set.names)}")


def _configuration(model: "Bundle", recipe: str, overrides: list[str]) -> "Configuration":
    from thoar.training.adaptation import adapted_configuration

    values, source = recipe_values(recipe)
    return adapted_configuration(model, values, overrides=overrides, source=source)


def _train(
    organ: str,
    model: "Bundle",
    dataset: "Dataset",
    configuration: "Configuration",
    *,
    out: Path,
    setting: "Setting",
    resume: bool,
) -> "Outcome":
    """Train the organ alone, into a folder below the new model's."""
    from thoar.training.adaptation import TRAINING, adding
    from thoar.training.run import train
    from thoar.training.split import held_out

    start, settings = adding(model, organ, dataset, configuration), configuration.train
    cases = [case for case in dataset.cases if organ in case.organs]
    outcome = train(
        configuration,
        held_out(cases, validation_cases=settings.validation_cases, seed=settings.seed),
        out / TRAINING,
        label_set=start.label_set,
        labels=dataset.label_set,
        setting=setting,
        resume=resume,
        initial=start.initial,
    )
    report_run(out / TRAINING)
    return outcome
