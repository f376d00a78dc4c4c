import signal
import subprocess
import sys
from pathlib import Path

import pytest

from thoar.pipeline.workplace import clear_abandoned, clear_files, is_abandoned, workplace, workplaces

WORKER = """
import sys, time
from pathlib import Path
from thoar.pipeline.workplace import workplace
with workplace(Path(sys.argv[1])) as place:
    (place / "result").write_text("half")
    print("here", flush=True)
    time.sleep(60)
"""


def test_a_workplace_is_there_while_it_is_used_and_no_longer(tmp_path: Path) -> None:
    with workplace(tmp_path) as place:
        (place / "result").write_text("half")
        assert workplaces(tmp_path) == [place]
        assert not is_abandoned(place)
    assert not list(tmp_path.iterdir())


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), workplace(tmp_path):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_is_cleared_away_and_what_is_in_use_is_not(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path)], stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"here\n"
        (theirs,) = workplaces(tmp_path)
        assert not is_abandoned(theirs)
        clear_abandoned(tmp_path)
        assert (theirs / "result").read_text() == "half"
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        with workplace(tmp_path) as ours:
            assert is_abandoned(theirs)
            clear_abandoned(tmp_path)
            assert workplaces(tmp_path) == [ours]


def test_a_folder_without_a_lock_is_abandoned(tmp_path: Path) -> None:
    (tmp_path / ".thoar-old").mkdir()
    (tmp_path / ".thoar-old" / "result").write_text("half")
    (tmp_path / "mine").mkdir()
    clear_abandoned(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_half_written_files_are_cleared_away(tmp_path: Path) -> None:
    for name in (".thoar-0123-summary.json", "summary.json", ".hidden"):
        (tmp_path / name).touch()
    clear_files(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", "summary.json"]
