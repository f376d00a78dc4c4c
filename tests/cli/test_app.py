import errno
import importlib
import json
import logging
import os
import pkgutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

import thoar.cli
from thoar.cli import app, info
from thoar.core import errors


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        app.main(arguments)
    return int(left.value.code or 0)


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Put a command that raises in the place of ``thoar info``."""

    def put(error: BaseException) -> None:
        def broken() -> None:
            raise error

        monkeypatch.setattr(info, "info", broken)

    return put


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.UsageError("asked\nfor nonsense"), 2),
        (errors.InputError("no file"), 3),
        (errors.LabelError("id 7"), 3),
        (errors.ConfigError("no key"), 4),
        (errors.ModelError("no model"), 5),
        (errors.ResourceError("no room"), 6),
        (MemoryError(), 6),
        (OSError(errno.ENOSPC, "No space left on device", "x.nii"), 6),
        (PermissionError(errno.EACCES, "Permission denied", "x.nii"), 3),
        (errors.PeerError("no pip"), 7),
        (errors.PartialFailureError("2 of 3 cases failed"), 8),
    ],
)
def test_a_foreseen_error_is_one_line_and_its_own_exit_code(
    error: Exception,
    code: int,
    raising: Callable[[BaseException], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    raising(error)
    assert run("info") == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_a_table_in_an_error_keeps_its_rows(
    raising: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    raising(errors.InputError("holds 2 series;\npick one\n  UID   images\n  1.2.3     40"))
    assert run("info") == 3
    assert capsys.readouterr().err == "error: holds 2 series; pick one\n  UID   images\n  1.2.3     40\n"


def test_every_class_of_error_has_an_exit_code_tested_above() -> None:
    assert sorted(errors.EXIT_CODES.values()) == [2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("error", [ZeroDivisionError("by zero"), FileNotFoundError(errno.ENOENT, "none")])
def test_an_unforeseen_error_shows_its_traceback_and_asks_for_a_report(
    error: Exception, raising: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    raising(error)
    assert run("info") == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "please report it" in err


def test_interrupting_leaves_with_130(
    raising: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    raising(KeyboardInterrupt())
    assert run("info") == 130
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to catch")
def test_ended_command_leaves_with_143_and_nothing_half_made(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "thoar", "phantom", str(tmp_path / "out"), "--cases", "500"]
    with subprocess.Popen([*program, "--workers", "2"], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("1/500")  # the first case is done, the next under way
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 143
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments", [("nonsense",), ("info", "--nonsense"), ("info", "extra"), ("--nonsense",)]
)
def test_wrong_use_leaves_with_2(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 2
    assert capsys.readouterr().err


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"thoar {thoar.__version__}\n"


@pytest.mark.parametrize(
    ("flags", "heard"),
    [
        ((), ["warning", "info"]),
        (("--quiet",), ["warning"]),
        (("--verbose",), ["warning", "info", "debug"]),
    ],
)
@pytest.mark.parametrize("before", [True, False])
def test_quiet_and_verbose_work_before_and_after_the_command(
    flags: tuple[str, ...],
    heard: list[str],
    before: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def speaking() -> None:
        for level in ("debug", "info", "warning"):
            getattr(logging.getLogger("thoar.io.any"), level)("own %s", level)
            getattr(logging.getLogger("pydicom"), level)(
                "PHI^SECRET" if level != "warning" else "own outside"
            )

    monkeypatch.setattr(info, "info", speaking)
    assert run(*flags, "info") == 0 if before else run("info", *flags) == 0
    err = capsys.readouterr().err
    assert sorted(w for w in ("debug", "info", "warning") if f"own {w}" in err) == sorted(heard)
    assert "PHI^SECRET" not in err


def test_what_follows_two_dashes_is_no_option() -> None:
    assert app._program_options_first(["info", "--", "--quiet"]) == ["info", "--", "--quiet"]


def test_help_lists_the_commands_that_exist_and_no_others(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    shown = capsys.readouterr().out
    modules = {m.name for m in pkgutil.iter_modules(thoar.cli.__path__)}
    for name in app.COMMANDS:
        assert (f" {name} " in shown) == (name in modules)


def test_every_command_is_a_function_or_program_named_like_its_module() -> None:
    modules = {m.name for m in pkgutil.iter_modules(thoar.cli.__path__)}
    for name in modules & set(app.COMMANDS):
        command = getattr(importlib.import_module(f"thoar.cli.{name}"), name)
        assert isinstance(command, typer.Typer) or command.__name__ == name


HEAVY = (
    "PIL",
    "SimpleITK",
    "highdicom",
    "jaxtyping",
    "matplotlib",
    "msgspec",
    "nibabel",
    "numpy",
    "pydicom",
    "scipy",
    "skimage",
    "torch",
)


def imported_by(arguments: list[str]) -> set[str]:
    """Return the modules that a command line has imported when it ends."""
    program = (
        "import sys\n"
        "from thoar.cli.app import main\n"
        "try:\n"
        f"    main({arguments!r})\n"
        "except SystemExit:\n"
        "    print(*sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["segment", "--help"],
        ["convert", "--help"],
        ["--version"],
        ["info"],
        ["info", "--json"],
        ["nonsense"],
    ],
)
def test_neither_torch_nor_numpy_is_imported_before_a_command_needs_it(arguments: list[str]) -> None:
    assert set(HEAVY) & imported_by(arguments) == set()


def test_packages_are_not_searched_for_versions_before_one_is_asked_for() -> None:
    assert "importlib.metadata" not in imported_by(["--help"])
    assert "importlib.metadata" in imported_by(["--version"])


def test_help_asked_for_before_a_command_still_lists_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help", "info") == 0
    assert " segment " in capsys.readouterr().out


def test_a_command_is_made_without_the_others() -> None:
    ours = {name for name in imported_by(["info"]) if name.startswith("thoar.cli.")}
    assert ours == {"thoar.cli.app", "thoar.cli.info"}


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "thoar", "info", "--json"], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["thoar"] == thoar.__version__


REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "command-line.md"


@pytest.mark.parametrize("word", [*(f"`thoar {name}" for name in app.COMMANDS), "130, 143"])
def test_every_command_is_in_the_reference(word: str) -> None:
    assert word in REFERENCE.read_text(encoding="utf-8")


@pytest.mark.parametrize("code", [0, errors.EXIT_BUG, *errors.EXIT_CODES.values()])
def test_every_exit_code_is_in_the_reference(code: int) -> None:
    assert f"\n| {code} | " in REFERENCE.read_text(encoding="utf-8")
