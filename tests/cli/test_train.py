import logging

import pytest

from thoar.cli import train
from thoar.training.stages import Event


@pytest.mark.parametrize(
    ("level", "said"), [(logging.INFO, "prepared 1 of 4 cases\n"), (logging.WARNING, "")]
)
@pytest.mark.parametrize("terminal", [False, True])
def test_progress_is_shown_unless_quiet(
    level: int,
    said: str,
    terminal: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(train.sys.stderr, "isatty", lambda: terminal, raising=False)
    logging.getLogger("thoar").setLevel(level)
    with train._watcher() as watch:
        watch(Event(kind="prepared", step=1, steps=4))
    shown = capsys.readouterr().err
    assert shown == said if said == "" or not terminal else "prepared 1 of 4" in shown
