import hashlib
import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save, save_file

from thoar.core.configuration import Block, Configuration, Network, Train
from thoar.core.errors import LabelError, ModelError
from thoar.core.labels import LabelSet, Organ
from thoar.inference.bundle import (
    CARD,
    CONFIGURATION,
    parts_of,
    read_bundle,
    write_bundle,
)
from thoar.inference.localisation import OrganLocalisation, uncalibrated
from thoar.inference.manifest import MANIFEST, Manifest, Source, TrainedOn, read_manifest
from thoar.network.network import build_network

ORGANS = LabelSet(organs=(Organ(name="heart", id=2), Organ(name="left lung", id=7)))
SETTINGS = Configuration(
    name="small",
    network=Network(
        stem_channels=2,
        blocks=(
            Block(channels=3, convolutions=2, stride_zyx=(1, 2, 2)),
            Block(channels=4, convolutions=2, stride_zyx=(2, 2, 2)),
            Block(channels=5, convolutions=2, stride_zyx=(1, 2, 2), dilation=3),
        ),
    ),
    train=Train(seed=9),
)
LOCATED = {
    "heart": OrganLocalisation(threshold=0.45, margin_before_zyx=(1, 2, 3), margin_after_zyx=(3, 2, 1)),
    "left lung": uncalibrated(SETTINGS.localisation, "left lung"),
}
HEART = "fine_heart.safetensors"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def bundle(whole: Path, tmp_path: Path) -> Path:
    """A bundle that a test may damage."""
    return Path(shutil.copytree(whole, tmp_path / "model"))


def written(folder: Path, **options: Any) -> Path:
    torch.manual_seed(1)
    write_bundle(
        folder,
        network=build_network(SETTINGS.network, ORGANS.names),
        configuration=SETTINGS,
        label_set=ORGANS,
        localisation=LOCATED,
        **options,
    )
    return folder


def edit_manifest(bundle: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads((bundle / MANIFEST).read_bytes())
    change(content)
    (bundle / MANIFEST).write_text(json.dumps(content))


def replace(bundle: Path, name: str, content: bytes) -> None:
    """Replace a file and its checksum, as an author of a false bundle would."""
    (bundle / name).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    edit_manifest(bundle, lambda manifest: manifest["sha256"].update({name: digest}))


def refused(bundle: Path, *, naming: str) -> str:
    with pytest.raises(ModelError) as caught:
        read_bundle(bundle)
    assert naming in str(caught.value)
    return str(caught.value)


def test_a_bundle_comes_back_as_it_was_written(whole: Path) -> None:
    torch.manual_seed(1)
    network = build_network(SETTINGS.network, ORGANS.names)
    read = read_bundle(whole)
    assert read.configuration == SETTINGS
    assert read.manifest.label_set == ORGANS
    assert read.manifest.localisation == LOCATED
    assert read.manifest.parameters == sum(p.numel() for p in network.parameters())
    for name, weights in parts_of(network).items():
        for key, value in parts_of(read.network)[name].items():
            assert torch.equal(value, weights[key])


def test_what_is_read_is_ready_to_use(whole: Path) -> None:
    network = read_bundle(whole).network
    assert not network.training
    assert {(p.dtype, p.device.type, p.requires_grad) for p in network.parameters()} == {
        (torch.float32, "cpu", True)
    }
    levels = network.encode(torch.rand(1, 1, 8, 32, 32))
    assert torch.isfinite(network.locate(levels).probability).all()


def test_reading_draws_no_random_number(whole: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    read_bundle(whole)
    assert torch.equal(torch.rand(4), expected)


def test_half_a_bundle_is_half_as_large_and_the_same_after_a_second_round(tmp_path: Path) -> None:
    for name in ("half", "again", "single"):
        (tmp_path / name).mkdir()
    half = read_bundle(written(tmp_path / "half", half=True))
    single = read_bundle(written(tmp_path / "single"))
    write_bundle(
        tmp_path / "again",
        network=half.network,
        configuration=half.configuration,
        label_set=half.manifest.label_set,
        localisation=half.manifest.localisation,
        half=True,
    )
    assert load_file(tmp_path / "half" / HEART)["last.weight"].dtype == torch.float16
    for name, weights in parts_of(single.network).items():
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "half" / name).read_bytes()
        for key, value in weights.items():
            assert torch.equal(parts_of(half.network)[name][key], value.half().float())


def test_the_same_model_gives_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    written(tmp_path)
    for file in whole.iterdir():
        assert (tmp_path / file.name).read_bytes() == file.read_bytes()


def test_every_file_may_be_read_by_whom_the_system_lets(whole: Path) -> None:
    assert len({file.stat().st_mode for file in whole.iterdir()}) == 1


def test_a_full_disk_is_an_error_of_the_system(tmp_path: Path) -> None:
    """Not one of safetensors' own, which nobody would take for a full disk."""
    (tmp_path / HEART).symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        written(tmp_path)


def test_name_sources_and_cases_are_taken_over(whole: Path, tmp_path: Path) -> None:
    about = msgspec.structs.replace(
        read_manifest(whole), name="other", sources=(Source(name="here"),), training_cases=("a", "b")
    )
    manifest = read_manifest(written(tmp_path, about=about, card="Read me."))
    assert isinstance(manifest, Manifest)
    assert (manifest.name, manifest.sources, manifest.training_cases) == (
        "other",
        (Source(name="here"),),
        ("a", "b"),
    )
    assert (tmp_path / CARD).read_text() == "Read me."
    assert set(manifest.sha256) == {file.name for file in tmp_path.iterdir()} - {MANIFEST}


@pytest.mark.parametrize(
    "name", ["encoder.safetensors", "coarse.safetensors", HEART, "fine_left lung.safetensors", CONFIGURATION]
)
def test_a_flipped_bit_is_refused(bundle: Path, name: str) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    refused(bundle, naming=name)


def test_a_truncated_file_is_refused(bundle: Path) -> None:
    content = (bundle / HEART).read_bytes()
    (bundle / HEART).write_bytes(content[:-1])
    refused(bundle, naming=HEART)


@pytest.mark.parametrize("kept", [0, 4, 8, 60, -1])
def test_a_truncated_file_with_a_checksum_of_its_own_is_refused(bundle: Path, kept: int) -> None:
    replace(bundle, HEART, (bundle / HEART).read_bytes()[:kept])
    refused(bundle, naming=HEART)


def test_a_header_of_a_terabyte_is_refused(bundle: Path) -> None:
    replace(bundle, HEART, (2**40).to_bytes(8, "little") + b"{}")
    refused(bundle, naming=HEART)


def test_bytes_that_are_no_safetensors_are_refused(bundle: Path) -> None:
    rng = np.random.default_rng(0)
    original = (bundle / HEART).read_bytes()
    for _ in range(40):
        content = bytearray(original)
        for position in rng.integers(0, 400, 4):
            content[position] = rng.integers(256)
        replace(bundle, HEART, bytes(content))
        with suppress(
            ModelError
        ):  # a changed weight is no damage that could be seen here; nothing else passes
            read_bundle(bundle)


@pytest.mark.parametrize("name", [MANIFEST, "encoder.safetensors", HEART, CONFIGURATION])
def test_a_missing_file_is_refused(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    refused(bundle, naming=name)


@pytest.mark.parametrize("name", ["encoder.safetensors", HEART, CONFIGURATION])
def test_a_file_that_the_manifest_does_not_name_is_missed(bundle: Path, name: str) -> None:
    edit_manifest(bundle, lambda manifest: manifest["sha256"].pop(name))
    refused(bundle, naming=name)


def changed_tensors(bundle: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> Path:
    weights = load_file(bundle / HEART)
    change(weights)
    replace(bundle, HEART, save(weights))
    return bundle


def test_a_missing_tensor_is_refused_by_name(bundle: Path) -> None:
    changed_tensors(bundle, lambda weights: weights.pop("last.bias"))
    assert "last.bias" in refused(bundle, naming=HEART)


def test_an_unexpected_tensor_is_refused_by_name(bundle: Path) -> None:
    changed_tensors(bundle, lambda weights: weights.update(stranger=torch.zeros(1)))
    assert "stranger" in refused(bundle, naming=HEART)


def test_a_tensor_of_another_shape_is_refused(bundle: Path) -> None:
    changed_tensors(bundle, lambda weights: weights.update({"last.bias": torch.zeros(2)}))
    assert "last.bias has shape (2,)" in refused(bundle, naming=HEART)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_refused(bundle: Path, value: float) -> None:
    changed_tensors(bundle, lambda weights: weights["last.weight"].view(-1)[3:4].fill_(value))
    assert "last.weight" in refused(bundle, naming=HEART)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64, torch.float8_e4m3fn])
def test_weights_that_are_no_floating_point_numbers_are_refused(bundle: Path, dtype: torch.dtype) -> None:
    changed_tensors(bundle, lambda weights: weights.update({"last.bias": torch.zeros(1).to(dtype)}))
    refused(bundle, naming=HEART)


@pytest.mark.parametrize(
    "name", ["../outside.safetensors", "/etc/hostname", "a/b", "..", ".", "", "nul\0byte", "x" * 300]
)
def test_names_that_lead_elsewhere_are_refused(bundle: Path, name: str) -> None:
    (bundle.parent / "outside.safetensors").write_bytes(b"x")
    edit_manifest(
        bundle, lambda manifest: manifest["sha256"].update({name: hashlib.sha256(b"x").hexdigest()})
    )
    with pytest.raises(ModelError, match=str(bundle)):
        read_bundle(bundle)


def test_a_device_is_no_file(bundle: Path) -> None:
    (bundle / HEART).unlink()
    (bundle / HEART).symlink_to("/dev/zero")
    refused(bundle, naming=HEART)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"[]", b"{}", b"\xff\xfe", b"<html>404</html>", b'{"format": 1, "name": NaN}'],
)
def test_a_damaged_manifest_is_refused(bundle: Path, content: bytes) -> None:
    (bundle / MANIFEST).write_bytes(content)
    refused(bundle, naming=MANIFEST)


def doubled_organ(manifest: dict[str, Any]) -> None:
    manifest["label_set"]["organs"] = [manifest["label_set"]["organs"][0]] * 2


MANIFEST_DAMAGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "format": lambda m: m.update(format=3),
    "stranger": lambda m: m.update(surprise=1),
    "no label set": lambda m: m.pop("label_set"),
    "no organ": lambda m: m["label_set"].update(organs=[]),
    "doubled organ": doubled_organ,
    "threshold": lambda m: m["localisation"]["heart"].update(threshold=0),
    "margin": lambda m: m["localisation"]["heart"].update(margin_before_zyx=[-9, 0, 0]),
    "no localisation": lambda m: m["localisation"].pop("heart"),
    "type": lambda m: m.update(sha256=[]),
}


@pytest.mark.parametrize("damage", MANIFEST_DAMAGES)
def test_a_manifest_that_cannot_mean_anything_is_refused(bundle: Path, damage: str) -> None:
    edit_manifest(bundle, MANIFEST_DAMAGES[damage])
    refused(bundle, naming=MANIFEST)


def test_an_unknown_format_says_which_is_known(bundle: Path) -> None:
    edit_manifest(bundle, lambda manifest: manifest.update(format=17))
    message = refused(bundle, naming=MANIFEST)
    assert "17" in message
    assert "reads 1 and 2" in message


def test_another_label_set_is_refused(bundle: Path) -> None:
    def rename(manifest: dict[str, Any]) -> None:
        manifest["label_set"]["organs"][0]["name"] = "liver"
        manifest["localisation"]["liver"] = manifest["localisation"].pop("heart")

    edit_manifest(bundle, rename)
    refused(bundle, naming="fine_liver.safetensors")


def test_an_organ_no_network_can_have_is_refused(bundle: Path) -> None:
    def rename(manifest: dict[str, Any]) -> None:
        manifest["label_set"]["organs"][0]["name"] = "a.b"
        manifest["localisation"]["a.b"] = manifest["localisation"].pop("heart")

    edit_manifest(bundle, rename)
    refused(bundle, naming=str(bundle))


def test_a_configuration_of_another_version_is_refused(bundle: Path) -> None:
    replace(bundle, CONFIGURATION, b"surprise = 1\n")
    refused(bundle, naming=CONFIGURATION)


def test_a_configuration_of_another_network_is_refused(bundle: Path) -> None:
    text = (bundle / CONFIGURATION).read_text().replace("stem_channels = 2", "stem_channels = 3")
    replace(bundle, CONFIGURATION, text.encode())
    refused(bundle, naming="encoder.safetensors")


def test_a_network_beyond_all_memory_is_refused_before_it_takes_any(bundle: Path) -> None:
    text = (bundle / CONFIGURATION).read_text().replace("stem_channels = 2", "stem_channels = 20000000")
    replace(bundle, CONFIGURATION, text.encode())
    refused(bundle, naming="encoder.safetensors")


def test_pickled_weights_are_refused_unread(bundle: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"last.bias": Trap()}, tmp_path / "trap.pt")
    replace(bundle, HEART, (tmp_path / "trap.pt").read_bytes())
    refused(bundle, naming=HEART)
    assert not (tmp_path / "sprung").exists()


def test_no_pickle_is_written(whole: Path) -> None:
    assert {file.suffix for file in whole.iterdir()} == {".safetensors", ".toml", ".json"}


def test_files_beside_a_bundle_do_no_harm(bundle: Path) -> None:
    save_file({"x": torch.zeros(1)}, bundle / "fine_liver.safetensors")
    (bundle / ".DS_Store").write_bytes(b"junk")
    assert read_bundle(bundle).manifest.label_set == ORGANS


@pytest.mark.parametrize("kind", ["file", "nothing", "folder"])
def test_what_is_no_bundle_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model"
    if kind == "file":
        path.write_bytes(b"weights")
    elif kind == "folder":
        path.mkdir()
    with pytest.raises(ModelError, match="is no model bundle"):
        read_bundle(path)


def test_only_the_parts_that_are_asked_for_are_read(bundle: Path) -> None:
    (bundle / "fine_left lung.safetensors").write_bytes(b"damaged")
    read = read_bundle(bundle, organs=["heart"])
    assert set(read.network.fine) == {"heart"}
    assert read.manifest.label_set == ORGANS
    assert not any(p.is_meta for p in read.network.parameters())
    refused(bundle, naming="fine_left lung.safetensors")


def test_an_organ_the_model_does_not_know_is_refused(bundle: Path) -> None:
    with pytest.raises(LabelError, match="no organ is called 'liver'"):
        read_bundle(bundle, organs=["liver"])


@pytest.mark.parametrize("name", ["../heart", "a/b", "nul\0byte"])
def test_an_organ_whose_name_leads_elsewhere_is_refused(bundle: Path, name: str) -> None:
    def rename(manifest: dict[str, Any]) -> None:
        manifest["label_set"]["organs"][0]["name"] = name
        manifest["localisation"][name] = manifest["localisation"].pop("heart")

    edit_manifest(bundle, rename)
    assert "cannot be an organ's name" in refused(bundle, naming=MANIFEST)


def test_what_a_network_has_seen_adds_up() -> None:
    first = TrainedOn(cases=("a", "b"), sources={"x": 2})
    second = TrainedOn(cases=("b", "c"), sources={"x": 1, "y": 4})
    assert first + second == TrainedOn(cases=("a", "b", "c"), sources={"x": 3, "y": 4})
