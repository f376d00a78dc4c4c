"""``thoar model``: what its commands say and write."""

from pathlib import Path

import pytest
import torch

from thoar.cli.model import list_models, show_model
from thoar.cli.model_organs import add_organ, remove_organ
from thoar.core.configuration import Block, Configuration, Network
from thoar.core.errors import LabelError, UsageError
from thoar.core.labels import LabelSet, Organ
from thoar.inference import shipped
from thoar.inference.bundle import write_bundle
from thoar.inference.localisation import uncalibrated
from thoar.inference.manifest import History, TrainedOn, read_manifest
from thoar.network.network import build_network

ORGANS = LabelSet(
    organs=(
        Organ(name="heart", id=2, tg263="Heart"),
        Organ(name="cord", id=5, tg263="SpinalCord"),
        Organ(name="liver", id=6),
    )
)
SETTINGS = Configuration(
    network=Network(stem_channels=2, blocks=tuple(Block(channels=2, convolutions=1) for _ in range(3)))
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model of the heart to which two organs were added, one of them optional."""
    folder = tmp_path / "models" / "chest"
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    write_bundle(
        folder,
        network=build_network(SETTINGS.network, ORGANS.names, ("cord", "liver")),
        configuration=SETTINGS,
        label_set=ORGANS,
        localisation={name: uncalibrated(SETTINGS.localisation, name) for name in ORGANS.names},
        history=History(added={"cord": TrainedOn(), "liver": TrainedOn()}, optional=("liver",)),
    )
    return folder


def test_the_list_tells_optional_organs_from_the_others(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shipped, "files", lambda _: model.parents[1])
    list_models()
    assert "chest: heart, cord; with --organs also liver; 0.0 M parameters" in capsys.readouterr().out


def test_info_marks_optional_organs(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_model(str(model))
    said = capsys.readouterr().out
    assert "5 cord (SpinalCord)\n" in said
    assert "6 liver (), optional\n" in said


@pytest.mark.parametrize(("organ", "left"), [("heart", ("cord", "liver")), ("cord", ("heart", "liver"))])
def test_an_organ_is_removed(model: Path, tmp_path: Path, organ: str, left: tuple[str, ...]) -> None:
    remove_organ(organ, model_name=str(model), out=tmp_path / "left")
    assert read_manifest(tmp_path / "left").label_set.names == left
    assert not (tmp_path / "left" / f"fine_{organ}.safetensors").exists()
    assert read_manifest(model).label_set == ORGANS


def test_an_organ_that_is_not_there_cannot_be_removed(model: Path, tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="no organ is called 'lung'"):
        remove_organ("lung", model_name=str(model), out=tmp_path / "left")
    with pytest.raises(UsageError, match="exists already"):
        remove_organ("heart", model_name=str(model), out=model)


def test_an_organ_is_added_only_to_what_lacks_it(model: Path, tmp_path: Path) -> None:
    write_empty_dataset(tmp_path / "data")
    with pytest.raises(LabelError, match="knows heart already"):
        add_organ("heart", model_name=str(model), data=tmp_path / "data", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def write_empty_dataset(folder: Path) -> None:
    folder.mkdir()
    for name in ("scan.nii.gz", "label.nii.gz"):
        (folder / name).write_bytes(b"")
    (folder / "dataset.toml").write_text(
        '[[cases]]\nid = "a"\nimage = "scan.nii.gz"\nlabel = "label.nii.gz"\norgans = ["heart"]\n'
    )
