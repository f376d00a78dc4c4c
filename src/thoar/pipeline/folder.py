"""The folder of one case's results: what may go where, all of it or nothing."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from thoar.core.errors import InputError, ThoarError, UsageError, foreseen
from thoar.io.atomic import atomic_bytes
from thoar.io.digest import sha256_of
from thoar.pipeline.outputs import is_result
from thoar.pipeline.workplace import clear_abandoned, clear_files, is_abandoned, workplace, workplaces

RUN_RECORD = "run.json"
_NEW = "new"


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
            f"{out}: holds results already ({', '.join(held[:5])}); choose another folder, keep finished "
            "ones with --resume, or replace them with --overwrite"
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

    What killed runs left there goes, too.

    Raises:
        InputError: if the folder cannot be written.
        ResourceError: if the disk is full.
    """
    with written_in(out, out), workplace(out) as place, _naming(out, place / _NEW):
        clear_abandoned(out)
        (place / _NEW).mkdir()
        yield place / _NEW


@contextmanager
def only_run_in(out: Path) -> Iterator[None]:
    """Keep other runs out of a folder for the results of many cases; what killed runs left there goes.

    Raises:
        UsageError: if another run works there.
        InputError: if the folder cannot be written.
        ResourceError: if the disk is full.
    """
    with ExitStack() as entered:
        with written_in(out, out):
            place = entered.enter_context(workplace(out))
            clear_abandoned(out)
            others = [other for other in workplaces(out) if other != place]
            if others:
                raise UsageError(
                    f"{out}: another run is at work there; wait for it, or choose another folder (if there "
                    f"is none, remove {others[0].name} from it)"
                )
            clear_files(out)
        yield


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


def recover(out: Path) -> None:
    """Bring to an end what killed runs began: finished results get into place, what is unfinished goes."""
    for place in workplaces(out):
        if is_abandoned(place):
            if _is_finished(place / _NEW, out):
                publish(place / _NEW, out)
            shutil.rmtree(place, ignore_errors=True)


def _is_finished(folder: Path, out: Path) -> bool:
    """Say whether all that a run record lists lies beside it or in place, and nothing else is in the way."""
    record = folder / RUN_RECORD
    return (
        record.is_file()
        and not (out / RUN_RECORD).exists()
        and all(
            is_unchanged((out if (out / name).exists() else folder) / name, digest)
            for name, digest in _listed(record).items()
        )
    )


def is_unchanged(file: Path, digest: str) -> bool:
    """Say whether a file is there and has that SHA-256."""
    return file.is_file() and sha256_of(file) == digest


def write_json(path: Path, content: object) -> None:
    """Write a record as JSON for people to read, too."""
    text = msgspec.json.format(msgspec.json.encode(content), indent=2)
    with written_in(path.parent, path):
        atomic_bytes(path, text)


def _is_ours(file: Path) -> bool:
    return file.name == RUN_RECORD or is_result(file.name)


class _Outputs(msgspec.Struct, frozen=True):
    outputs: dict[str, str]


def _listed(record: Path) -> dict[str, str]:
    """Return the results that a run record lists, with their SHA-256; none where it cannot be read."""
    try:
        outputs = msgspec.json.decode(record.read_bytes(), type=_Outputs).outputs
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return {name: digest for name, digest in outputs.items() if is_result(name)}
