import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from thoar.core.configuration import Block, Configuration, Localisation, Network, Preparation
from thoar.core.errors import ModelError
from thoar.core.labels import SEGTHOR
from thoar.inference.bundle import read_bundle, write_bundle
from thoar.inference.ensemble import manifests_of, read_model
from thoar.inference.localisation import OrganLocalisation
from thoar.inference.manifest import MANIFEST, History, TrainedOn
from thoar.inference.predictor import Predictor, segment
from thoar.network.network import build_network

SETTINGS = Configuration(
    name="small",
    preparation=Preparation(spacing_zyx_mm=(3.0, 2.0, 2.0)),
    network=Network(
        stem_channels=2,
        blocks=(
            Block(channels=3, convolutions=1, stride_zyx=(1, 2, 2)),
            Block(channels=4, convolutions=1, stride_zyx=(2, 2, 2)),
            Block(channels=4, convolutions=1),
        ),
    ),
    localisation=Localisation(reject_dice=0.0, min_component_cells=1),
)


def write_fold(run: Path, number: int, *, settings: Configuration = SETTINGS, thresholds=(0.4, 0.5)) -> Path:
    """Write an untrained model as the best of a fold, with a margin and a threshold of its own."""
    (run / "best").mkdir(parents=True)
    torch.manual_seed(number)
    margins = [(1, 1, 1), (1, 1, 1)]
    margins[number % 2] = (1 + number, 2, 1)
    located = OrganLocalisation(
        threshold=thresholds[number % 2], margin_before_zyx=margins[0], margin_after_zyx=margins[1]
    )
    write_bundle(
        run / "best",
        network=build_network(settings.network, SEGTHOR.names),
        configuration=settings,
        label_set=SEGTHOR,
        localisation=dict.fromkeys(SEGTHOR.names, located),
        history=History(
            trained_on=TrainedOn(
                cases=("always", f"case-{number}"), sources={"ours": 4 + number, f"s{number}": 1}
            )
        ),
    )
    return run / "best"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("folds") / "cv"
    for number in range(2):
        write_fold(folder / f"fold_{number}", number)
    return folder


@pytest.fixture
def cv(kept: Path, tmp_path: Path) -> Path:
    """A cross-validation that a test may change."""
    return Path(shutil.copytree(kept, tmp_path / "cv"))


def test_a_bundle_and_a_run_are_read_as_they_are(kept: Path) -> None:
    for path in (kept / "fold_0", kept / "fold_0" / "best"):
        bundle = read_model(path)
        assert bundle.folder == kept / "fold_0" / "best"
        assert bundle.manifest.name == "small"
        assert list(manifests_of(bundle)) == [MANIFEST]


def test_folds_are_read_as_one_model_of_mean_thresholds_and_largest_margins(kept: Path) -> None:
    manifest = read_model(kept).manifest
    heart = manifest.localisation["heart"]
    assert manifest.name == "small (2 folds)"
    assert heart.threshold == pytest.approx(0.45)
    assert (heart.margin_before_zyx, heart.margin_after_zyx) == ((1, 2, 1), (2, 2, 1))
    alone = [read_bundle(kept / f"fold_{n}" / "best").manifest for n in range(2)]
    assert manifest.parameters == sum(one.parameters for one in alone)


def test_model_of_folds_says_all_that_its_members_have_seen(kept: Path) -> None:
    seen = read_model(kept).manifest.history.trained_on
    assert seen.cases == ("always", "case-0", "case-1")
    assert seen.sources == {"ours": 5, "s0": 1, "s1": 1}


def test_model_of_folds_names_every_member_s_manifest(kept: Path) -> None:
    named = manifests_of(read_model(kept))
    assert list(named) == ["fold_0/best/manifest.json", "fold_1/best/manifest.json"]
    for name, digest in named.items():
        assert digest == hashlib.sha256((kept / name).read_bytes()).hexdigest()


def test_model_of_folds_segments_as_any_model_does(kept: Path, make_phantom: Callable) -> None:
    phantom = make_phantom((24, 48, 64), {})
    found = segment(phantom.volume, model=kept, organs=["heart", "trachea"], device="cpu")
    assert found.label_set.names == ("heart", "trachea")
    alone = [segment(phantom.volume, model=kept / f"fold_{n}", device="cpu") for n in range(2)]
    mean = np.mean([one.coarse.probability["heart"] for one in alone], axis=0)
    assert np.allclose(found.coarse.probability["heart"], mean, atol=1e-6)
    whole = Predictor.from_bundle(read_model(kept), device="cpu").predict(phantom.volume)
    for name in ("heart", "trachea"):
        assert np.array_equal(whole.mask(name), found.mask(name))


def test_folds_of_another_kind_are_refused_by_name(cv: Path) -> None:
    other = msgspec.structs.replace(SETTINGS, preparation=Preparation(spacing_zyx_mm=(4.0, 2.0, 2.0)))
    write_fold(cv / "fold_2", 2, settings=other)
    with pytest.raises(ModelError, match=r"fold_2/best: has another preparation than .*fold_0/best"):
        read_model(cv)


def test_damaged_member_is_refused(cv: Path) -> None:
    path = cv / "fold_1" / "best" / "coarse.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(ModelError, match=r"fold_1/best/coarse\.safetensors: does not match"):
        read_model(cv)


def test_fold_that_has_seen_the_coarse_stage_alone_spoils_the_whole(cv: Path) -> None:
    path = cv / "fold_1" / "best" / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"fine_trained": False}))
    with pytest.raises(ModelError, match="has seen the coarse stage alone"):
        Predictor.from_bundle(read_model(cv), device="cpu")
