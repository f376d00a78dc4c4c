"""``thoar model export``: what it refuses, what it says and writes."""

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from thoar.cli.model_export import export
from thoar.core.configuration import Block, Configuration, Localisation, Network, Preparation
from thoar.core.errors import LabelError, ModelError, UsageError
from thoar.core.geometry import Geometry
from thoar.core.labels import LabelSet, Organ
from thoar.core.volume import Volume
from thoar.inference.bundle import write_bundle
from thoar.inference.localisation import uncalibrated
from thoar.inference.manifest import History, TrainedOn
from thoar.io.formats import write_volume
from thoar.network.network import build_network

ORGANS = LabelSet(organs=(Organ(name="heart", id=2), Organ(name="cord", id=5)))
EVERYWHERE = Localisation(threshold=0.01, organ_threshold={})
SETTINGS = Configuration(
    network=Network(stem_channels=2, blocks=tuple(Block(channels=2, convolutions=1) for _ in range(3))),
    preparation=Preparation(spacing_zyx_mm=(3.0, 3.0, 3.0)),
    localisation=EVERYWHERE,
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model of the heart that draws something anywhere, and of an optional organ."""
    return written(tmp_path / "chest")


def written(folder: Path) -> Path:
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    write_bundle(
        folder,
        network=build_network(SETTINGS.network, ORGANS.names, ("cord",)),
        configuration=SETTINGS,
        label_set=ORGANS,
        localisation={name: uncalibrated(EVERYWHERE, name) for name in ORGANS.names},
        history=History(added={"cord": TrainedOn()}, optional=("cord",)),
    )
    return folder


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    voxels = np.full((12, 30, 30), -1000, dtype=np.int16)
    voxels[:, 5:25, 5:25] = np.random.default_rng(0).integers(0, 200, (12, 20, 20))
    path = tmp_path / "Nobody at all.safetensors"
    write_volume(path, Volume(voxels=voxels, geometry=Geometry.axial((12, 30, 30), (3.0, 3.0, 3.0))))
    return path


def test_a_model_is_exported_and_its_agreement_said(
    model: Path, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export(str(model), out=tmp_path / "out", check=scan)
    said = capsys.readouterr().out
    assert "Dice with thoar in the scan of --check, onnxruntime 1." in said
    assert "\n  heart        1.0000" in said
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        "encoder_coarse.onnx",
        "fine_heart.onnx",
        "manifest.json",
        "runtime.py",
    }
    text = (tmp_path / "out" / "manifest.json").read_text()
    assert list(json.loads(text)["agreement"]["dice"]) == ["heart"]
    assert "Nobody" not in text


def test_optional_organs_are_exported_when_they_are_named(model: Path, scan: Path, tmp_path: Path) -> None:
    export(str(model), out=tmp_path / "out", check=scan, organs="cord")
    assert (tmp_path / "out" / "fine_cord.onnx").is_file()
    assert not (tmp_path / "out" / "fine_heart.onnx").exists()
    with pytest.raises(LabelError, match="no organ is called 'liver'"):
        export(str(model), out=tmp_path / "liver", check=scan, organs="liver")


def test_an_earlier_export_is_replaced_when_asked_for_and_nothing_else_ever(
    model: Path, scan: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    export(str(model), out=out, check=scan)
    with pytest.raises(UsageError, match="--overwrite"):
        export(str(model), out=out, check=scan)
    export(str(model), out=out, check=scan, organs="cord", overwrite=True)
    assert not (out / "fine_heart.onnx").exists()
    for folder in (model, tmp_path):
        with pytest.raises(UsageError, match="holds other files"):
            export(str(model), out=folder, check=scan, overwrite=True)


def test_folds_are_exported_one_by_one(scan: Path, tmp_path: Path) -> None:
    for fold in ("fold_0", "fold_1"):
        written(tmp_path / "cv" / fold / "best")
    with pytest.raises(ModelError, match="holds the 2 folds"):
        export(str(tmp_path / "cv"), out=tmp_path / "out", check=scan)
    export(str(tmp_path / "cv" / "fold_1"), out=tmp_path / "out", check=scan)


@pytest.mark.parametrize(
    ("to", "package", "extra"),
    [("onnx", "onnx", "export"), ("onnx", "onnxruntime", "export"), ("openvino", "openvino", "openvino")],
)
def test_packages_that_are_missing_are_named(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str, package: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=rf"needs {package}: pip install 'thoar\[{extra}\]'"):
        export(str(model), out=tmp_path / "out", to=to)


@pytest.mark.slow
@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_the_shipped_model_is_exported_with_every_organ_and_checked_on_what_there_is(
    to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if to == "openvino" and find_spec("openvino") is None:
        pytest.skip("needs openvino: pip install 'thoar[openvino]'")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    organs = "esophagus,heart,trachea,aorta,spinal_cord,lung_left,lung_right"
    export("thorax-fast", out=tmp_path / "out", to=to, organs=organs)
    agreement = json.loads((tmp_path / "out" / "manifest.json").read_text())["agreement"]
    assert agreement["scan"].startswith("the phantom of seed")
    assert len(agreement["dice"]) == 7
    assert min(agreement["dice"].values()) > 0.9999
