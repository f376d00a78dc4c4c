"""The ``thoar`` program: finds the commands, sets up logging, and turns errors into exit codes."""

import importlib
import logging
import signal
import sys
import traceback
from collections.abc import Sequence
from importlib.util import find_spec
from types import FrameType
from typing import Annotated, NoReturn

import typer

from thoar.core.errors import EXIT_BUG, EXIT_SIGNALLED, ResourceError, ThoarError, exit_code_of, foreseen
from thoar.core.versions import version_of

COMMANDS = (
    "segment",
    "convert",
    "train",
    "evaluate",
    "report",
    "dataset",
    "phantom",
    "sample",
    "model",
    "info",
)
"""In the order of ``thoar --help``. Each is a module here with a function or sub-application of its name."""

ANYWHERE = ("--quiet", "--verbose")
"""Options of the program itself that may also follow a command."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command line and leave with its exit code (docs/reference/command-line.md).

    Args:
        arguments: without the program's name; the process's own by default.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    before = signal.signal(signal.SIGTERM, _end)
    try:
        application(_command_in(given))(_program_options_first(given), prog_name="thoar")
    except ThoarError as error:
        _leave(error)
    except MemoryError as error:
        _leave(ResourceError(f"not enough memory: {error}" if str(error) else "not enough memory"))
    except Exception as error:  # noqa: BLE001 (the last place that can say something)
        _leave(foreseen(error) or error)
    finally:
        signal.signal(signal.SIGTERM, before)
    sys.exit(0)


def _end(number: int, _: FrameType | None) -> NoReturn:
    """Leave as after an error, so that worker processes and half-written folders do not stay behind."""
    sys.exit(EXIT_SIGNALLED + number)


def application(command: str | None = None) -> typer.Typer:
    """Build the program from the commands that exist, or from one of them alone, which is quicker."""
    app = typer.Typer(
        name="thoar",
        help="Contours of the thoracic organs at risk from a chest CT. Not a medical device.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_program)
    for name in COMMANDS if command is None else (command,):
        if find_spec(f"thoar.cli.{name}") is None:
            continue
        found = getattr(importlib.import_module(f"thoar.cli.{name}"), name)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
        else:
            app.command(name)(found)
    return app


def _show_version(asked: bool) -> bool:
    if asked:
        typer.echo(f"thoar {version_of('thoar')}")
        raise typer.Exit
    return asked


def _program(
    *,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing but warnings and errors.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Say every step, with times.")] = False,
    version_asked: Annotated[  # noqa: ARG001 (typer answers it by the callback)
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave."),
    ] = False,
) -> None:
    _set_up_logging(logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO)


def _set_up_logging(level: int) -> None:
    """Send thoar's messages to stderr, other libraries' only from warnings on, and none of pydicom's.

    Those quote attributes, which may be personal; what matters of them is said by thoar in its own words.
    """
    template = "%(message)s" if level > logging.DEBUG else "%(asctime)s %(name)s: %(message)s"
    logging.basicConfig(level=logging.WARNING, format=template, stream=sys.stderr, force=True)
    logging.getLogger("thoar").setLevel(level)
    for library in ("pydicom", "highdicom"):
        logging.getLogger(library).setLevel(logging.CRITICAL)


def _program_options_first(arguments: Sequence[str]) -> list[str]:
    """Move ``--quiet`` and ``--verbose`` before the command, wherever they stand."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    first = [a for a in arguments[:end] if a in ANYWHERE]
    return [*first, *(a for a in arguments[:end] if a not in ANYWHERE), *arguments[end:]]


def _command_in(arguments: Sequence[str]) -> str | None:
    """Return the command that is called; None where no command, or another option, comes first."""
    first = next((a for a in arguments if a not in ANYWHERE), None)
    return first if first in COMMANDS else None


def _printable(error: ThoarError) -> str:
    """Return a message as one line, but for the rows of a table after it, which begin with two spaces."""
    said, *rows = str(error).split("\n  ")
    return "\n  ".join([" ".join(said.split()), *rows])


def _leave(error: Exception) -> NoReturn:
    if isinstance(error, ThoarError):
        typer.echo(f"error: {_printable(error)}", err=True)
        sys.exit(exit_code_of(error))
    traceback.print_exception(error)
    typer.echo(
        f"error: this is a bug in thoar {version_of('thoar')}; please report it with the lines above",
        err=True,
    )
    sys.exit(EXIT_BUG)
