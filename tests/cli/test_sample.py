import sys
from pathlib import Path

import pytest

from thoar.cli import app
from thoar.cli.sample import user_cache


def test_a_wheel_that_does_not_exist_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["sample", str(tmp_path / "out"), "--wheel", str(tmp_path / "gone.whl")]
    with pytest.raises(SystemExit) as left:
        app.main([*arguments, "--cache", str(tmp_path / "cache")])
    assert left.value.code == 3
    assert "gone.whl" in capsys.readouterr().err


def test_a_folder_with_other_files_is_wrong_use(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(SystemExit) as left:
        app.main(["sample", str(tmp_path), "--overwrite", "--cache", str(tmp_path / "cache")])
    assert left.value.code == 2


@pytest.mark.parametrize(
    ("system", "below_home"),
    [
        ("linux", ".cache/thoar"),
        ("darwin", "Library/Caches/thoar"),
        ("win32", "AppData/Local/thoar/Cache"),
    ],
)
def test_cache_folder_is_the_platforms(
    system: str, below_home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    assert user_cache() == tmp_path / below_home


def test_cache_folder_follows_xdg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_cache() == tmp_path / "thoar"
