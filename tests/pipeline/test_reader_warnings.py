import logging
import threading
from pathlib import Path

import pytest

from thoar.pipeline.reader_warnings import warnings_about

LOG = logging.getLogger("thoar.io.somewhere")


@pytest.mark.parametrize(
    ("path", "file", "kept"),
    [
        ("clinic/Doe Jane/scan.nii.gz", "clinic/Doe Jane/scan.nii.gz", "scan.nii.gz"),
        ("/data/Doe Jane/series", "/data/Doe Jane/series/below/001.dcm", "series/below/001.dcm"),
        (".", "001.dcm", "001.dcm"),
    ],
)
def test_only_the_name_of_the_input_is_kept(path: str, file: str, kept: str) -> None:
    with warnings_about({Path(path): Path(path).name}) as said:
        LOG.warning("%s: off by %.1f", Path(file), 0.5)
    assert said == [f"{kept}: off by 0.5"]


def test_only_warnings_of_this_thread_and_this_time_are_kept() -> None:
    LOG.warning("before")
    with warnings_about({Path("a.nii"): "a.nii"}) as said:
        other = threading.Thread(target=lambda: LOG.warning("another scan"))
        other.start()
        other.join()
        LOG.info("not dubious")
        LOG.warning("this scan")
    LOG.warning("after")
    assert said == ["this scan"]
