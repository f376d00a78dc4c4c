"""One writer at a time, also between processes; a dead one's lock is free."""

import subprocess
import sys
from pathlib import Path

import pytest

from thoar.core.errors import UsageError
from thoar.io.lock import locked

HOLDER = """
import sys
from pathlib import Path
from thoar.io.lock import locked
with locked(Path(sys.argv[1]), says="held"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_lock_of_a_living_process_is_refused_and_that_of_a_killed_one_is_free(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(UsageError, match="somebody is there"), locked(file, says="somebody is there"):
        pass
    holder.kill()
    holder.communicate()
    with locked(file, says="somebody is there"):
        pass


def test_lock_is_let_go_after_an_error(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with pytest.raises(ZeroDivisionError), locked(file, says="held"):
        raise ZeroDivisionError
    with locked(file, says="held"):
        pass
