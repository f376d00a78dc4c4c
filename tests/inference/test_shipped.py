import shutil
from pathlib import Path

import pytest

from thoar.core.errors import ModelError
from thoar.inference import shipped
from thoar.inference.bundle import MANIFEST
from thoar.inference.shipped import find_model, shipped_models


def made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_text("{}")
    return folder


def test_a_bundle_is_its_own_folder(tmp_path: Path) -> None:
    folder = made(tmp_path / "model")
    assert find_model(folder) == find_model(str(folder)) == folder


def test_a_run_stands_for_its_best_bundle_and_else_for_its_last(tmp_path: Path) -> None:
    run = tmp_path / "run"
    last, best = made(run / "last"), made(run / "best")
    assert find_model(run) == best
    shutil.rmtree(best)
    assert find_model(run) == last


def test_a_shipped_model_goes_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "files", lambda _: tmp_path)
    assert shipped_models() == {}
    folder = made(tmp_path / "models" / "chest")
    (tmp_path / "models" / "unfinished").mkdir()
    assert shipped_models() == {"chest": folder}
    assert find_model("chest") == folder


@pytest.mark.parametrize("kind", ["missing", "empty", "file"])
def test_anything_else_is_refused_by_name_and_says_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(shipped, "files", lambda _: tmp_path)
    made(tmp_path / "models" / "chest")
    path = tmp_path / "model"
    if kind == "empty":
        path.mkdir()
    elif kind == "file":
        path.write_bytes(b"weights")
    with pytest.raises(ModelError, match=r"shipped model \(chest\)") as caught:
        find_model(path)
    assert str(path) in str(caught.value)


def test_a_shipped_model_can_be_asked_for_in_a_folder_of_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "files", lambda _: tmp_path)
    folder = made(tmp_path / "models" / "chest")
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "chest").mkdir(parents=True)
    monkeypatch.chdir(elsewhere)
    assert find_model("chest") == folder
