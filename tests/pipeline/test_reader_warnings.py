import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path

import pytest

from thoar.pipeline.reader_warnings import warnings_about, with_names

LOG = logging.getLogger("thoar.io.somewhere")
PATIENCE_S = 20.0


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


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("/in/a/b.nii: cut short", "a/b.nii: cut short"),
        ("cannot write /out/a/c.nii (see /in/b.nii)", "cannot write a/c.nii (see b.nii)"),
        ("/in: holds nothing", "/in: holds nothing"),
        ("/work/in/b.nii: is another", "/work/in/b.nii: is another"),
        ("main/in/b.nii: is another", "main/in/b.nii: is another"),
    ],
)
def test_files_are_named_from_a_folder_without_a_name(text: str, kept: str) -> None:
    assert with_names(text, {Path("/in"): "", Path("/out"): "", Path("in"): "", Path(): ""}) == kept


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


def test_a_thread_that_works_for_this_one_may_say_so() -> None:
    with ThreadPoolExecutor(1) as threads, warnings_about({}) as said:
        threads.submit(copy_context().run, LOG.warning, "this scan").result()
        threads.submit(LOG.warning, "another scan").result()
    assert said == ["this scan"]


def test_a_warning_is_kept_though_another_stops_to_listen_while_it_is_said() -> None:
    """A handler taken from a logger's list while another thread goes through it hides the next one."""
    enough, gone, here = threading.Event(), threading.Event(), threading.Event()

    def listen() -> None:
        with warnings_about({}):
            here.set()
            enough.wait(PATIENCE_S)
        gone.set()

    class Between(logging.Handler):
        def emit(self, _: logging.LogRecord) -> None:
            enough.set()
            assert gone.wait(PATIENCE_S)

    between = Between()
    with ThreadPoolExecutor(1) as threads:
        other = threads.submit(listen)
        assert here.wait(PATIENCE_S)
        logging.getLogger("thoar").addHandler(between)
        try:
            with warnings_about({}) as said:
                LOG.warning("this scan")
        finally:
            logging.getLogger("thoar").removeHandler(between)
        other.result()
    assert said == ["this scan"]


def test_nobody_listens_any_more_afterwards() -> None:
    before = list(logging.getLogger("thoar").handlers)
    with warnings_about({}), warnings_about({}):
        assert len(logging.getLogger("thoar").handlers) == len(before) + 1
    assert logging.getLogger("thoar").handlers == before
