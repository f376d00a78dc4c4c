"""An organ added to the shipped model: what it drew before, it draws after, bit for bit."""

from pathlib import Path

import msgspec
import pytest

from thoar.core.labels import LabelSet, Organ
from thoar.core.volume import Volume
from thoar.datasets.manifest import Case, Dataset
from thoar.inference.bundle import Bundle, read_bundle
from thoar.inference.ensemble import read_model
from thoar.inference.organs import with_organ, write_model
from thoar.inference.predictor import Predictor
from thoar.inference.shipped import find_model
from thoar.training.adaptation import adding

LIVER = LabelSet(organs=(Organ(name="liver", id=1, tg263="Liver"),))


@pytest.fixture(scope="module")
def shipped() -> Bundle:
    return read_bundle(find_model("thorax"))


@pytest.fixture(scope="module")
def grown(shipped: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model with a liver that nobody trained, to be drawn when asked for."""
    case = Case(id="a", image=Path("a.nii"), label=Path("b.nii"), organs=("liver",), group="a")
    settings = shipped.configuration
    frozen = msgspec.structs.replace(
        settings, train=msgspec.structs.replace(settings.train, encoder_rate=0.0)
    )
    start = adding(shipped, "liver", Dataset(root=Path(), label_set=LIVER, cases=(case,)), frozen)
    folder = tmp_path_factory.mktemp("grown") / "model"
    write_model(folder, with_organ(shipped, start.initial, optional=True))
    return folder


def test_boxes_probabilities_and_masks_stay_bit_for_bit(shipped: Bundle, grown: Path, chest: Volume) -> None:
    before = Predictor.from_bundle(shipped, device="cpu").predict(chest)
    after = Predictor.from_bundle(read_bundle(grown), device="cpu").predict(chest)
    assert after.label_set.names == (*before.label_set.names, "liver")
    found = [result for result in before.organs if result.probability is not None]
    assert len(found) >= 3
    for result in found:
        twin = after.organ(result.organ.name)
        assert twin.box_zyx == result.box_zyx
        assert twin.probability is not None
        assert result.probability is not None
        assert twin.probability.tobytes() == result.probability.tobytes()
        assert twin.flags == result.flags
        one, other = (s.coarse.probability[result.organ.name] for s in (before, after))
        assert one.tobytes() == other.tobytes()


def test_an_optional_organ_is_read_and_drawn_only_when_asked_for(grown: Path) -> None:
    assert read_model(grown).network.drawn == ("esophagus", "heart", "trachea", "aorta")
    assert read_model(grown, organs=["liver", "heart"]).network.drawn == ("heart", "liver")
    assert read_model(grown, organs=["liver"]).manifest.label_set.organ("liver").id == 8
