"""A run's folder: one run at a time, ended and gone on with, and what is damaged, full or forbidden there."""

import errno
import logging
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from thoar.cli.app import main
from thoar.core.configuration import Configuration
from thoar.core.errors import ConfigError, InputError, ResourceError, UsageError
from thoar.datasets.manifest import Dataset
from thoar.training.events import Event, Outcome
from thoar.training.folder import is_finished
from thoar.training.record import read_record

Train = Callable[..., Outcome]
Bits = Callable[[Path], dict[str, str]]
FIRST_EPOCH = 3
"""Steps of it."""
as_root = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or shutil.which("mount") is None,
    reason="mounts a file system",
)


def at_step(number: int, do: Callable[[], object]) -> Callable[[Event], None]:
    """Return a watcher that does something after so many steps."""
    seen = [0]

    def watch(event: Event) -> None:
        seen[0] += event.kind == "step"
        if event.kind == "step" and seen[0] == number:
            do()

    return watch


@pytest.mark.parametrize("resume", [False, True])
def test_second_run_in_a_folder_is_refused_with_process_and_host_and_the_first_goes_on(
    tmp_path: Path, train_small: Train, small_run: Path, bits: Bits, resume: bool
) -> None:
    said = []

    def again() -> None:
        with pytest.raises(UsageError) as refused:
            train_small(tmp_path, resume=resume)
        said.append(str(refused.value))

    assert train_small(tmp_path, watch=at_step(2, again)) == "finished"
    assert f"process {os.getpid()} on {platform.node()} is training there" in said[0]
    assert bits(tmp_path) == bits(small_run)


def test_half_a_save_of_a_run_in_progress_is_not_taken_for_the_remains_of_a_killed_one(
    tmp_path: Path, train_small: Train
) -> None:
    saving = tmp_path / ".last.thoar-new"

    def again() -> None:
        saving.mkdir()
        with pytest.raises(UsageError):
            train_small(tmp_path)
        assert saving.is_dir()

    train_small(tmp_path, watch=at_step(1, again), only=1)


def command(recipe: Path, dataset: Dataset, run: Path, *more: str) -> list[str]:
    words = ["--quiet", "train", str(recipe), "--data", str(dataset.root), "-o", str(run), "--device", "cpu"]
    endless = ["--set", "train.coarse_epochs=10000", "--set", "train.validate_every=10000"]
    return [*words, *endless, *more]


def left_with(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert isinstance(left.value.code, int)
    return left.value.code


def once_logged(run: Path, do: Callable[[], object]) -> threading.Thread:
    """Do something once the run has finished an epoch."""

    def wait_and_do() -> None:
        deadline = time.monotonic() + 60
        while not (run / "metrics.csv").exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        do()

    thread = threading.Thread(target=wait_and_do)
    thread.start()
    return thread


def test_stop_file_ends_the_run_with_exit_code_9_and_it_goes_on_from_there(
    tmp_path: Path, small_recipe: Path, small_dataset: Dataset
) -> None:
    run = tmp_path / "run"
    stopper = once_logged(run, (run / "stop").touch)
    assert left_with(command(small_recipe, small_dataset, run)) == 9
    stopper.join()
    record = read_record(run)
    assert record is not None
    assert record.outcome == "stopped"
    assert not (run / "stop").exists()
    again = command(small_recipe, small_dataset, run, "--resume", "--max-time", "0.5s")
    assert left_with(again) == 9
    later = read_record(run)
    assert later is not None
    assert later.steps > record.steps
    assert later.seconds > record.seconds


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="needs SIGUSR1")
def test_signal_that_clusters_send_ends_the_run_with_a_checkpoint(
    tmp_path: Path, small_recipe: Path, small_dataset: Dataset
) -> None:
    run = tmp_path / "run"
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        sender = once_logged(run, lambda: os.kill(os.getpid(), signal.SIGUSR1))
        assert left_with(command(small_recipe, small_dataset, run)) == 128 + signal.SIGUSR1
        sender.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert (run / "last" / "progress.json").is_file()
    assert '"outcome": "stopped"' in (run / "run.json").read_text()


def test_stop_file_ends_the_preparation_too(tmp_path: Path, train_small: Train) -> None:
    def watch(event: Event) -> None:
        if event.kind == "prepared":
            (tmp_path / "stop").touch()

    assert train_small(tmp_path, watch=watch) == "preparing"
    assert train_small(tmp_path) == "finished"


def test_patience_ends_the_joint_stage_early_and_the_result_is_final(
    tmp_path: Path, train_small: Train, bits: Bits, caplog: pytest.LogCaptureFixture
) -> None:
    settings = (
        "train.joint_epochs=20",
        "train.patience=2",
        "train.learning_rate=1e-12",
        "train.averaging=0.0",
    )
    assert train_small(tmp_path, *settings) == "finished"
    assert "ended after epoch 4: no better score in 2 validations (train.patience)" in caplog.text
    rows = (tmp_path / "metrics.csv").read_text().splitlines()[1:]
    assert {int(row.split(",")[0]) for row in rows} == {0, 1, 2, 3}
    assert (tmp_path / "validation.json").is_file()
    before = bits(tmp_path)
    assert train_small(tmp_path, *settings, resume=True) == "finished"
    assert bits(tmp_path) == before
    record = read_record(tmp_path)
    assert record is not None
    assert (record.outcome, record.epochs_done, record.epochs) == ("finished", 4, 21)


def flip_last_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def overwrite(path: Path) -> None:
    path.write_bytes(b'{"data_key": "\xff"}')


DAMAGES = {
    "flipped bit in the weights": ("state.safetensors", flip_last_byte),
    "half the weights": ("state.safetensors", cut),
    "half the progress": ("progress.json", cut),
    "progress that is no text": ("progress.json", overwrite),
    "half the configuration": ("configuration.toml", cut),
    "no configuration": ("configuration.toml", Path.unlink),
}


@pytest.fixture(scope="module")
def two_checkpoints(tmp_path_factory: pytest.TempPathFactory, train_small: Train) -> Path:
    """A run that was stopped in its second epoch."""
    run = tmp_path_factory.mktemp("stopped") / "run"
    assert train_small(run, only=FIRST_EPOCH + 1) == "stopped"
    return run


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_checkpoint_is_passed_over_for_the_one_before_it_with_a_warning(
    tmp_path: Path, two_checkpoints: Path, train_small: Train, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    run = shutil.copytree(two_checkpoints, tmp_path / "run")
    name, spoil = DAMAGES[damage]
    spoil(run / "last" / name)
    assert train_small(run, resume=True, only=1) == "stopped"
    assert f"going on from the checkpoint before it ({run / 'previous'})" in caplog.text
    assert (run / "last" / "state.safetensors").read_bytes() == (
        two_checkpoints / "last" / "state.safetensors"
    ).read_bytes()


def test_finished_run_is_known_by_its_record_and_must_be_of_the_configuration_asked_for(
    tmp_path: Path, small_run: Path, two_checkpoints: Path, small_configuration: Callable[..., Configuration]
) -> None:
    short = ("train.coarse_epochs=1", "train.joint_epochs=1")
    assert is_finished(small_run, small_configuration(*short))
    assert not is_finished(two_checkpoints, small_configuration(*short))
    assert not is_finished(tmp_path, small_configuration(*short))
    with pytest.raises(ConfigError, match=r"train\.seed was 3, now 4"):
        is_finished(small_run, small_configuration(*short, "train.seed=4"))


def test_two_damaged_checkpoints_are_refused_by_name(
    tmp_path: Path, two_checkpoints: Path, train_small: Train
) -> None:
    run = shutil.copytree(two_checkpoints, tmp_path / "run")
    for kind in ("last", "previous"):
        flip_last_byte(run / kind / "state.safetensors")
    with pytest.raises(InputError, match=r"previous.state\.safetensors: does not match its SHA-256"):
        train_small(run, resume=True)


def test_damaged_record_keeps_no_run_from_going_on(
    tmp_path: Path, train_small: Train, small_run: Path, bits: Bits, caplog: pytest.LogCaptureFixture
) -> None:
    train_small(tmp_path, only=2)
    (tmp_path / "run.json").write_text("{")
    assert train_small(tmp_path, resume=True) == "finished"
    assert "run.json: is no record of a training run" in caplog.text
    assert bits(tmp_path) == bits(small_run)


def test_what_killed_writers_left_is_cleared_away(tmp_path: Path, train_small: Train) -> None:
    (tmp_path / ".thoar-0123456789abcdef-metrics.csv").touch()
    train_small(tmp_path, only=1)
    assert not list(tmp_path.glob(".thoar-*"))


def test_disk_full_in_a_save_keeps_the_checkpoint_before_and_the_run_goes_on_once_there_is_room(
    tmp_path: Path, train_small: Train, small_run: Path, bits: Bits, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, saves = Path.write_bytes, [0]

    def no_room(path: Path, content: bytes) -> int:
        saves[0] += path.name == "state.safetensors"
        if path.name == "state.safetensors" and saves[0] == 2:
            write(path, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", no_room)
    with pytest.raises(ResourceError, match=r"last: the disk is full .* make room, or write elsewhere"):
        train_small(tmp_path)
    record = read_record(tmp_path)
    assert record is not None
    assert (record.outcome, record.epochs_done) == ("failed", 1)
    assert "the disk is full" in (record.error or "")
    assert '"epoch": 1' in (tmp_path / "last" / "progress.json").read_text()
    assert train_small(tmp_path, resume=True) == "finished"
    assert bits(tmp_path) == bits(small_run)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 8 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("may mount nothing here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@as_root
def test_disk_that_is_really_full_ends_the_run_with_exit_code_6s_error_and_it_goes_on_once_there_is_room(
    small_disk: Path, tmp_path: Path, train_small: Train, small_run: Path, bits: Bits
) -> None:
    run, ballast = small_disk / "run", small_disk / "ballast"

    def fill() -> None:
        with ballast.open("wb") as stream:
            free = shutil.disk_usage(small_disk).free
            stream.write(bytes(free - 20_000))

    with pytest.raises(ResourceError, match="the disk is full"):
        train_small(run, cache=tmp_path / "prepared", watch=at_step(FIRST_EPOCH + 1, fill))
    assert '"epoch": 1' in (run / "last" / "progress.json").read_text()
    ballast.unlink()
    assert train_small(run, cache=tmp_path / "prepared", resume=True) == "finished"
    assert bits(run) == bits(small_run)
    assert '"outcome": "finished"' in (run / "run.json").read_text()


@as_root
def test_folder_that_may_not_be_written_is_refused_by_name(
    small_disk: Path, small_recipe: Path, small_dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    (small_disk / "old").mkdir()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for run, more in (
        (small_disk / "new", ()),
        (small_disk / "old", ()),
        (small_disk / "old", ("--resume",)),
    ):
        assert left_with(command(small_recipe, small_dataset, run, *more)) == 3
        said = capsys.readouterr().err
        assert f"error: {run}" in said
        assert "check the path and who may read or write there" in said


@pytest.mark.parametrize("prefetch", [0, 2])
def test_case_that_is_cut_off_after_the_start_ends_the_run_by_name_and_resume_prepares_it_anew(
    tmp_path: Path, train_small: Train, caplog: pytest.LogCaptureFixture, prefetch: int
) -> None:
    def cut_all() -> None:
        for image in (tmp_path / "prepared").glob("*.image.npy"):
            cut(image)

    settings = (f"train.prefetch={prefetch}", "train.validation_cases=0")
    with pytest.raises(
        InputError, match=r"case chest-\d: .*image\.npy .*cannot be read any more .* --resume"
    ):
        train_small(tmp_path, *settings, watch=at_step(5, cut_all))
    assert '"outcome": "failed"' in (tmp_path / "run.json").read_text()
    assert train_small(tmp_path, *settings, resume=True) == "finished"
    assert "what was prepared before is damaged" in caplog.text


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_epochs(tmp_path: Path, train_small: Train) -> None:
    resident_mib: list[float] = []

    def watch(event: Event) -> None:
        if event.kind == "validated":
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            resident_mib.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)

    assert train_small(tmp_path, "train.joint_epochs=50", "train.prefetch=1", watch=watch) == "finished"
    settled = resident_mib[10:]
    assert len(settled) == 41
    slope = (settled[-1] - settled[0]) / (len(settled) - 1)
    logging.getLogger(__name__).info("%.3f MiB an epoch", slope)
    assert slope < 1
