"""``thoar dataset``: data sets made of what clinics have, and what is said of them before training."""

import typer

from thoar.cli.dataset_check import check
from thoar.cli.dataset_export import exports
from thoar.cli.dataset_import import imports
from thoar.cli.dataset_plan import plan

dataset = typer.Typer(
    help="Make data sets of what clinics have, check and plan them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
dataset.add_typer(imports, name="import")
dataset.command("check")(check)
dataset.command("plan")(plan)
dataset.add_typer(exports, name="export")
