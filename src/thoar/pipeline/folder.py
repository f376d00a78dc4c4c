"""The folder of one case's results: what may go where, all of it or nothing."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from thoar.core.errors import InputError, ThoarError, UsageError, foreseen
from thoar.io.atomic import atomic_bytes
from thoar.pipeline.outputs import is_result

RUN_RECORD = "run.json"


def check_output(out: Path, *, overwrite: bool) -> None:
    """Refuse a folder that holds results already, unless they may be replaced.

    Raises:
        UsageError: if it does, or if the path is a file or leads through one.
    """
    nearest = next((place for place in (out, *out.parents) if place.exists()), out)
    if nearest.exists() and not nearest.is_dir():
        raise UsageError(f"{nearest}: is a file; give a folder for the results")
    held = sorted(file.name for file in out.iterdir() if _is_ours(file)) if out.is_dir() else []
    if held and not overwrite:
        raise UsageError(
            f"{out}: holds results already ({', '.join(held[:5])}); choose another folder, or replace them "
            "with --overwrite"
        )


def refuse_inside_input(out: Path, read_from: Path) -> None:
    """Refuse to write where the input lies: inputs are never touched, nor do results count as input.

    Raises:
        UsageError: if the folder is the input's own, or results would replace the input.
    """
    ours = out.resolve()
    if read_from.is_dir() and ours.is_relative_to(read_from.resolve()):
        raise UsageError(f"{out}: lies in the input {read_from}, which is never touched; choose another -o")
    if read_from.resolve().parent == ours and _is_ours(read_from.resolve()):
        raise UsageError(
            f"{read_from}: is the input, and results would replace it; inputs are never touched: "
            "choose another -o"
        )


@contextmanager
def new_folder_in(out: Path) -> Iterator[Path]:
    """Give a folder beside the results, and take it away again; errors name the results' folder instead.

    Raises:
        InputError: if the folder cannot be written.
        ResourceError: if the disk is full.
    """
    with (
        written_in(out, out),
        tempfile.TemporaryDirectory(dir=out, prefix=".thoar-") as name,
        _naming(out, Path(name)),
    ):
        yield Path(name)


@contextmanager
def written_in(folder: Path, out: Path) -> Iterator[None]:
    """Make a folder for what is written meanwhile; the system's refusals become errors that name ``out``.

    Raises:
        InputError: if it cannot be written.
        ResourceError: if the disk is full.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise foreseen(error, out) or InputError(
            f"{out}: results cannot be written ({error.strerror or error}); check the path"
        ) from error


@contextmanager
def _naming(out: Path, folder: Path) -> Iterator[None]:
    try:
        yield
    except ThoarError as error:
        if str(folder) not in str(error):
            raise
        raise type(error)(str(error).replace(str(folder), str(out))) from error


def publish(folder: Path, out: Path) -> None:
    """Move finished files into place, the run record last; an older one goes first, with what it lists."""
    for name in [RUN_RECORD, *_listed(out / RUN_RECORD)]:
        (out / name).unlink(missing_ok=True)
    for file in sorted(folder.iterdir(), key=lambda file: (file.name == RUN_RECORD, file.name)):
        file.replace(out / file.name)


def write_json(path: Path, content: object) -> None:
    """Write a record as JSON for people to read, too."""
    text = msgspec.json.format(msgspec.json.encode(content), indent=2)
    with written_in(path.parent, path):
        atomic_bytes(path, text)


def _is_ours(file: Path) -> bool:
    return file.name == RUN_RECORD or is_result(file.name)


class _Outputs(msgspec.Struct, frozen=True):
    outputs: dict[str, str]


def _listed(record: Path) -> list[str]:
    """Return the names of the results that an older run record lists; none where it cannot be read."""
    try:
        outputs = msgspec.json.decode(record.read_bytes(), type=_Outputs).outputs
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return []
    return [name for name in outputs if is_result(name)]
