"""Organs added to a model and removed from it: what else it knows stays as it was."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from thoar.core.configuration import Block, Configuration, Localisation, Network, Preparation
from thoar.core.errors import LabelError, ModelError
from thoar.core.labels import LabelSet, Organ
from thoar.core.volume import Volume
from thoar.inference.bundle import CARD, Bundle, parts_of, read_bundle, write_bundle
from thoar.inference.localisation import uncalibrated
from thoar.inference.manifest import MANIFEST, Manifest, TrainedOn, read_manifest
from thoar.inference.organs import with_only, with_organ, with_pairs, write_model
from thoar.inference.predictor import Predictor
from thoar.inference.segmentation import Segmentation
from thoar.network.network import build_network

SETTINGS = Configuration(
    name="small",
    preparation=Preparation(spacing_zyx_mm=(3.0, 2.0, 2.0)),
    network=Network(
        stem_channels=4,
        blocks=(
            Block(channels=4, convolutions=2, stride_zyx=(1, 2, 2)),
            Block(channels=6, convolutions=2, stride_zyx=(2, 2, 2)),
            Block(channels=8, convolutions=3, stride_zyx=(1, 2, 2), dilation=3),
        ),
    ),
    localisation=Localisation(threshold=0.45, organ_threshold={}, margin_cells=1, organ_margin_cells={}),
)
HEART, AORTA = Organ(name="heart", id=2), Organ(name="aorta", id=4)
CORD = Organ(name="spinal_cord", id=2, tg263="SpinalCord")
SEEN = TrainedOn(cases=("a", "b"), sources={"clinic": 2})
NEW = TrainedOn(cases=("c",), sources={"clinic": 1})


def bundle(folder: Path, organs: Sequence[Organ], *, added: dict[str, TrainedOn]) -> Bundle:
    """Write a bundle of a network that nobody trained, and read it; its encoder is always the same."""
    label_set = LabelSet(organs=tuple(organs))
    torch.manual_seed(1)
    encoder = build_network(SETTINGS.network, ["any"]).encoder
    network = build_network(SETTINGS.network, label_set.names, tuple(added))
    network.encoder = encoder
    manifest = Manifest(
        name="small",
        thoar_version="0",
        label_set=label_set,
        localisation={},
        training_cases=SEEN.cases,
        training_sources=SEEN.sources,
        parameters=0,
        added=added,
        sha256={},
    )
    folder.mkdir()
    write_bundle(
        folder,
        network=network,
        configuration=SETTINGS,
        label_set=label_set,
        localisation={o.name: uncalibrated(SETTINGS.localisation, o.name) for o in organs},
        about=manifest,
        card="A card.",
    )
    return read_bundle(folder)


@pytest.fixture
def model(tmp_path: Path) -> Bundle:
    return bundle(tmp_path / "model", [HEART, AORTA], added={})


@pytest.fixture
def cord(tmp_path: Path) -> Bundle:
    """The spinal cord alone, on the same encoder."""
    return bundle(tmp_path / "cord", [CORD], added={CORD.name: NEW})


@pytest.fixture
def scan(make_phantom: Callable[..., Any]) -> Volume:
    return make_phantom((24, 48, 56), {}).volume


def segmented(model: Bundle, scan: Volume, organs: Sequence[str] | None = None) -> Segmentation:
    return Predictor.from_bundle(model, device="cpu").predict(scan, organs=organs)


def assert_same(one: Segmentation, other: Segmentation, name: str) -> None:
    """Compare boxes, probabilities, masks, flags and coarse maps, bit for bit."""
    first, second = one.organ(name), other.organ(name)
    assert first.box_zyx == second.box_zyx is not None
    assert first.probability is not None
    assert second.probability is not None
    assert first.probability.tobytes() == second.probability.tobytes()
    assert first.flags == second.flags
    assert np.array_equal(one.mask(name), other.mask(name))
    assert one.coarse.probability[name].tobytes() == other.coarse.probability[name].tobytes()


def test_adding_an_organ_leaves_the_others_as_they_were_bit_for_bit(
    model: Bundle, cord: Bundle, scan: Volume, tmp_path: Path
) -> None:
    before = segmented(model, scan)
    write_model(tmp_path / "joined", with_organ(model, cord))
    after = segmented(read_bundle(tmp_path / "joined"), scan)
    assert after.label_set.names == ("heart", "aorta", "spinal_cord")
    for name in ("heart", "aorta"):
        assert_same(before, after, name)
    assert_same(segmented(cord, scan), after, "spinal_cord")


def test_no_file_of_the_others_changes(model: Bundle, cord: Bundle, tmp_path: Path) -> None:
    write_model(tmp_path / "joined", with_organ(model, cord))
    new = {"coarse_spinal_cord.safetensors", "fine_spinal_cord.safetensors"}
    old = {file.name for file in model.folder.iterdir()}
    assert {file.name for file in (tmp_path / "joined").iterdir()} == old | new
    for name in old - {MANIFEST}:
        assert (tmp_path / "joined" / name).read_bytes() == (model.folder / name).read_bytes()


def test_removing_what_was_added_gives_the_model_back(model: Bundle, cord: Bundle, tmp_path: Path) -> None:
    left = with_only(with_organ(model, cord, optional=True), ["heart", "aorta"])
    write_model(tmp_path / "left", left)
    assert read_manifest(tmp_path / "left") == model.manifest
    for name in model.manifest.sha256:
        assert (tmp_path / "left" / name).read_bytes() == (model.folder / name).read_bytes()


def test_removing_an_organ_keeps_the_channels_of_the_others(model: Bundle, scan: Volume) -> None:
    left = with_only(model, ["aorta"])
    before, after = segmented(model, scan), segmented(left, scan)
    assert after.label_set.names == ("aorta",)
    np.testing.assert_allclose(
        after.coarse.probability["aorta"], before.coarse.probability["aorta"], rtol=1e-6
    )
    assert before.organ("aorta").box_zyx == after.organ("aorta").box_zyx
    heads = list(parts_of(left.network)["coarse.safetensors"].values())
    assert {len(head) for head in heads} == {2}


def test_only_the_added_organs_files_are_read_for_it(model: Bundle, cord: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "joined"
    write_model(folder, with_organ(model, cord))
    (folder / "fine_heart.safetensors").write_bytes(b"damaged")
    alone = read_bundle(folder, organs=["spinal_cord"])
    assert alone.network.drawn == ("spinal_cord",)
    (folder / "coarse_spinal_cord.safetensors").write_bytes(b"damaged")
    aorta = read_bundle(folder, organs=["aorta"])
    assert (aorta.network.drawn, aorta.network.located) == (("aorta",), ("heart", "aorta"))


def test_an_organ_alone_is_what_it_is_among_all(
    model: Bundle, cord: Bundle, scan: Volume, tmp_path: Path
) -> None:
    write_model(tmp_path / "joined", with_organ(model, cord))
    every = segmented(read_bundle(tmp_path / "joined"), scan)
    for name in every.label_set.names:
        alone = segmented(read_bundle(tmp_path / "joined", organs=[name]), scan)
        assert alone.label_set.names == (name,)
        assert_same(alone, every, name)


def test_an_added_organ_gets_an_id_of_its_own(model: Bundle, cord: Bundle) -> None:
    joined = with_organ(model, cord).manifest.label_set
    assert [(organ.name, organ.id) for organ in joined.organs] == [
        ("heart", 2),
        ("aorta", 4),
        ("spinal_cord", 5),
    ]
    assert joined.organ("spinal_cord").tg263 == "SpinalCord"


def test_twins_are_known_as_such_once_both_are_there(model: Bundle, cord: Bundle) -> None:
    pairs = [("heart", "spinal_cord"), ("heart", "lung"), ("spinal_cord", "heart")]
    joined = with_organ(model, cord, pairs=pairs[:2]).manifest.label_set
    assert joined.symmetric_pairs == (("heart", "spinal_cord"),)
    assert with_pairs(joined, pairs) == joined


def test_the_manifest_says_what_each_part_has_seen(model: Bundle, cord: Bundle, tmp_path: Path) -> None:
    write_model(tmp_path / "joined", with_organ(model, cord, optional=True))
    manifest = read_manifest(tmp_path / "joined")
    assert manifest.history.trained_on == SEEN
    assert manifest.added == {"spinal_cord": NEW}
    assert manifest.seen == SEEN + NEW
    assert manifest.own_coarse == manifest.optional == ("spinal_cord",)
    assert manifest.usual == ("heart", "aorta")
    assert (tmp_path / "joined" / CARD).read_text() == "A card."


def test_organs_that_alone_are_left_are_not_optional(model: Bundle, cord: Bundle) -> None:
    left = with_only(with_organ(model, cord, optional=True), ["spinal_cord"])
    assert left.manifest.usual == ("spinal_cord",)
    assert left.network.located == ("spinal_cord",)


def test_an_organ_that_the_model_knows_is_not_added_again(model: Bundle, cord: Bundle) -> None:
    with pytest.raises(LabelError, match="knows spinal_cord already"):
        with_organ(with_organ(model, cord), cord)


def test_an_organ_of_another_encoder_is_refused(model: Bundle, cord: Bundle) -> None:
    with torch.no_grad():
        next(cord.network.encoder.parameters())[0] += 1e-6
    with pytest.raises(ModelError, match="another model's encoder"):
        with_organ(model, cord)


def test_an_organ_of_other_voxels_is_refused(model: Bundle, cord: Bundle) -> None:
    other = msgspec.structs.replace(SETTINGS, preparation=Preparation())
    with pytest.raises(ModelError, match="voxels"):
        with_organ(model, dataclasses.replace(cord, configuration=other))


def test_what_has_no_coarse_decoder_of_its_own_is_not_added(model: Bundle) -> None:
    with pytest.raises(ModelError, match="is no organ to be added"):
        with_organ(model, with_only(model, ["aorta"]))


def test_an_organ_the_model_does_not_know_cannot_stay(model: Bundle) -> None:
    with pytest.raises(LabelError, match="no organ is called 'liver'"):
        with_only(model, ["heart", "liver"])


DAMAGES = {
    "an added stranger": {"added": {"liver": {}}},
    "an optional stranger": {"optional": ["liver"]},
    "nothing but optional organs": {"optional": ["heart", "aorta"]},
    "an added organ before another": {"added": {"heart": {}}},
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_manifest_with_organs_that_cannot_be_is_refused(model: Bundle, damage: str) -> None:
    path = model.folder / MANIFEST
    content = msgspec.json.decode(path.read_bytes())
    path.write_bytes(msgspec.json.encode(content | DAMAGES[damage]))
    with pytest.raises(ModelError, match=str(model.folder)):
        read_bundle(model.folder)


def test_a_manifest_of_format_1_is_read(model: Bundle) -> None:
    path = model.folder / MANIFEST
    content = msgspec.json.decode(path.read_bytes())
    for name in ("added", "optional"):
        del content[name]
    path.write_bytes(msgspec.json.encode(content | {"format": 1}))
    manifest = read_bundle(model.folder).manifest
    assert (manifest.own_coarse, manifest.usual) == ((), ("heart", "aorta"))
