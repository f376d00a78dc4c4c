import hashlib
import logging
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thoar.core.errors import InputError, ResourceError
from thoar.io.formats import read_volume
from thoar.pipeline import reading as reading_module
from thoar.pipeline.inputs import InputCase
from thoar.pipeline.reading import read_case, reading_begun


@pytest.fixture
def case(tmp_path: Path, write_scan) -> InputCase:
    return InputCase(id="patient", path=write_scan(tmp_path / "in" / "patient.nii.gz"))


def test_a_read_case_holds_its_scan_and_its_digest(case: InputCase) -> None:
    read = read_case(case)
    assert np.array_equal(read.scan.volume.voxels, read_volume(case.path).voxels)
    assert read.sha256 == hashlib.sha256(case.path.read_bytes()).hexdigest()
    assert read.seconds > 0
    assert read.said == ()


def test_a_digest_that_is_known_is_not_made_again(case: InputCase, monkeypatch) -> None:
    monkeypatch.delattr(reading_module, "digest_of")
    assert read_case(case, sha256="known").sha256 == "known"


def test_what_the_reader_warns_of_is_kept_without_its_folder(case: InputCase, monkeypatch) -> None:
    read_scan = reading_module.read_scan

    def doubtful(path: Path, options: Any) -> Any:
        logging.getLogger("thoar.io.somewhere").warning("%s: its header is dubious", path)
        return read_scan(path, options)

    monkeypatch.setattr(reading_module, "read_scan", doubtful)
    with reading_begun(case) as reading:
        assert reading.result().said == ("patient.nii.gz: its header is dubious",)


def test_a_case_is_read_while_this_thread_goes_on(case: InputCase, monkeypatch) -> None:
    on, read_scan = threading.Event(), reading_module.read_scan

    def waiting(path: Path, options: Any) -> Any:
        assert on.wait(20)
        return read_scan(path, options)

    monkeypatch.setattr(reading_module, "read_scan", waiting)
    with reading_begun(case) as reading:
        assert not reading.done()
        on.set()
        assert reading.result().case == case


def test_an_error_is_told_to_who_asks_for_the_scan(case: InputCase, monkeypatch) -> None:
    case.path.write_bytes(b"no scan")
    with reading_begun(case) as reading, pytest.raises(InputError, match=str(case.path)):
        reading.result()

    def too_large(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(reading_module, "read_scan", too_large)
    with reading_begun(case) as reading, pytest.raises(ResourceError, match=str(case.path)):
        reading.result()


def test_leaving_waits_for_the_reader_and_does_not_mind_its_error(case: InputCase) -> None:
    case.path.write_bytes(b"no scan")
    with pytest.raises(KeyError), reading_begun(case):
        raise KeyError
    assert threading.active_count() == 1


def test_reading_can_begin_before_torch_is_there() -> None:
    """Else a scan could not be read while torch is loaded."""
    code = "import sys, thoar.pipeline.reading, thoar.pipeline.inputs; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
