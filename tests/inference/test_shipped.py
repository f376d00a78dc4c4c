import shutil
from pathlib import Path

import pytest

from thoar.core.errors import ModelError
from thoar.inference import shipped
from thoar.inference.manifest import MANIFEST
from thoar.inference.shipped import find_members, find_model, real_name, shipped_models


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


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of shipped models of a package that has none."""
    monkeypatch.setattr(shipped, "files", lambda _: tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "models"


def test_thorax_is_the_fast_model_everywhere_where_it_is_shipped_alone(package: Path) -> None:
    fast = made(package / "thorax-fast")
    assert find_model("thorax") == find_model("thorax", accelerated=True) == fast


def test_thorax_is_the_paper_s_model_on_a_gpu_where_that_is_shipped(package: Path) -> None:
    fast, paper = made(package / "thorax-fast"), made(package / "thorax-paper")
    assert find_model("thorax") == fast
    assert find_model("thorax", accelerated=True) == paper
    assert find_model("thorax-paper") == paper
    assert real_name("thorax", accelerated=True) == "thorax-paper"
    assert real_name("run/best", accelerated=True) == "run/best"


def test_model_that_is_not_shipped_is_refused_with_the_way_to_train_it(package: Path) -> None:
    made(package / "thorax-fast")
    with pytest.raises(ModelError, match=r"ships no thorax-paper \(it ships thorax-fast\).*--recipe paper"):
        find_model("thorax-paper")


def test_folder_of_one_s_own_may_be_called_as_a_model_that_is_not_shipped(package: Path) -> None:
    own = made(package.parent / "thorax-paper")
    assert find_model("thorax-paper").resolve() == own.resolve()


def test_a_cross_validation_stands_for_all_its_folds_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 2, 0):
        made(tmp_path / "cv" / f"fold_{number}" / "best")
    (tmp_path / "cv" / "fold_of_old").mkdir()
    (tmp_path / "cv" / "prepared").mkdir()
    folders = find_members(tmp_path / "cv")
    assert [folder.parent.name for folder in folders] == ["fold_0", "fold_2", "fold_10"]
    with pytest.raises(ModelError, match=r"holds the 3 folds .*name one of them, as in .*fold_0"):
        find_model(tmp_path / "cv")


def test_a_fold_without_a_model_is_named(tmp_path: Path) -> None:
    made(tmp_path / "cv" / "fold_0" / "best")
    (tmp_path / "cv" / "fold_1").mkdir()
    with pytest.raises(ModelError, match="fold_1: has no model yet"):
        find_members(tmp_path / "cv")


def test_the_only_fold_is_a_model_like_any_other(tmp_path: Path) -> None:
    bundle = made(tmp_path / "cv" / "fold_3" / "best")
    assert find_members(tmp_path / "cv") == (bundle,)
    assert find_model(tmp_path / "cv") == bundle
