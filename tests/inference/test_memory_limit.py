"""A scan is predicted, kept within a limit, or refused with the limit that would do."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from thoar.core.configuration import Block, Configuration, Localisation, Network, Preparation
from thoar.core.errors import ResourceError
from thoar.core.geometry import Geometry
from thoar.core.labels import SEGTHOR
from thoar.core.volume import Volume
from thoar.datasets.scans import read_scan
from thoar.imaging.prepare import prepare
from thoar.inference.ensemble import read_model
from thoar.inference.localisation import uncalibrated
from thoar.inference.memory import Allowance, MemoryUse, free_bytes, resident_bytes, with_writing
from thoar.inference.predictor import Predictor
from thoar.inference.slabs.ladder import ladder
from thoar.inference.slabs.memory import Need
from thoar.network.network import CoarseToFineNetwork, build_network

CPU = torch.device("cpu")
SETTINGS = Configuration(
    preparation=Preparation(spacing_zyx_mm=(3.0, 2.0, 2.0)),
    network=Network(
        stem_channels=4,
        blocks=(
            Block(channels=6, convolutions=2, stride_zyx=(1, 2, 2)),
            Block(channels=8, convolutions=2, stride_zyx=(2, 2, 2)),
            Block(channels=8, convolutions=2, stride_zyx=(1, 2, 2), dilation=3),
        ),
    ),
    localisation=Localisation(threshold=0.3, organ_threshold={}),
)
MIB = 2**20


def network() -> CoarseToFineNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_network(SETTINGS.network, SEGTHOR.names)


@pytest.fixture
def make_predictor() -> Callable[..., Predictor]:
    def make(**limits: int) -> Predictor:
        return Predictor(
            network=network(),
            configuration=SETTINGS,
            label_set=SEGTHOR,
            localisation={name: uncalibrated(SETTINGS.localisation, name) for name in SEGTHOR.names},
            device="cpu",
            precision="float32",
            **limits,
        )

    return make


@pytest.fixture(scope="module")
def scan() -> Volume:
    z, y, x = np.indices((24, 64, 72))
    voxels = np.where(((y - 32) / 28) ** 2 + ((x - 36) / 30) ** 2 < 1, 3 * z, -1000).astype(np.int16)
    return Volume(voxels=voxels, geometry=Geometry.axial(voxels.shape, (3.0, 2.0, 2.0)))


def test_what_was_predicted_is_told_with_the_limit(make_predictor, scan):
    use = make_predictor(max_ram_bytes=2**40).predict(scan).memory
    assert use is not None
    assert use.setting == "as chosen"
    assert use.limit_bytes == 2**40
    assert resident_bytes() / 2 < use.predicted_bytes < resident_bytes() + 600 * MIB


def test_a_scan_that_cannot_fit_is_refused_with_a_limit_that_does(make_predictor, scan):
    with pytest.raises(ResourceError) as refused:
        make_predictor(max_ram_bytes=MIB).predict(scan)
    said = str(refused.value)
    assert "(24, 64, 72) voxels (z, y, x) at 3.0, 2.0, 2.0 mm" in said
    assert "--max-ram allows 0.00 GiB" in said
    (enough,) = re.findall(r"--max-ram ([0-9.]+)GiB would do", said)
    assert make_predictor(max_ram_bytes=int(float(enough) * 2**30)).predict(scan).memory is not None


def test_locating_alone_keeps_the_limit_too(make_predictor, scan):
    prepared = prepare(scan, preparation=SETTINGS.preparation, body=SETTINGS.body, multiple_zyx=(2, 8, 8))
    with pytest.raises(ResourceError, match="--max-ram"):
        make_predictor(max_ram_bytes=MIB).locate(prepared)


def test_limits_do_not_change_what_is_drawn(make_predictor, scan):
    free, kept = make_predictor().predict(scan), make_predictor(max_ram_bytes=2**40).predict(scan)
    for name in SEGTHOR.names:
        np.testing.assert_array_equal(free.mask(name), kept.mask(name))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what is free")
def test_without_a_limit_it_is_what_the_machine_has(make_predictor, scan):
    use = make_predictor().predict(scan).memory
    free = free_bytes()
    assert free is not None
    assert use.limit_bytes == pytest.approx(free + resident_bytes(), rel=0.5)


def allowance(limit_bytes: int, settings=("fast", "slow", "slowest")) -> Allowance:
    networks = dict.fromkeys(settings)
    networks = {name: network() for name in networks}
    return Allowance(networks, device=CPU, max_ram_bytes=resident_bytes() + limit_bytes)


def needs(allowed: Allowance, peaks_mib: dict[str, int], kept_mib: int = 0):
    """Return what every setting takes."""
    of = {id(net): peaks_mib[name] * MIB for name, net in allowed._networks.items()}
    return lambda net: Need(kept=kept_mib * MIB, peak=of[id(net)])


@pytest.mark.parametrize(
    ("limit_mib", "setting"), [(1000, "fast"), (850, "slow"), (500, "slowest"), (300, None)]
)
def test_the_fastest_setting_that_fits_is_taken(limit_mib, setting):
    allowed = allowance(limit_mib * MIB)
    need = needs(allowed, {"fast": 900, "slow": 700, "slowest": 400})
    if setting is None:
        with pytest.raises(ResourceError, match=r"^a box: takes .* would do. A model with a coarser grid"):
            allowed.network_for(need, what=lambda: "a box")
        return
    allowed.network_for(need, what=lambda: "a box")
    assert allowed.use.setting == setting


def test_what_an_earlier_step_keeps_counts_and_the_slowest_setting_is_told():
    allowed = allowance(1000 * MIB)
    allowed.network_for(needs(allowed, {"fast": 900, "slow": 1, "slowest": 1}, 600), what=lambda: "scan")
    before: MemoryUse = allowed.use
    allowed.network_for(needs(allowed, {"fast": 500, "slow": 300, "slowest": 1}), what=lambda: "box")
    assert (before.setting, allowed.use.setting) == ("fast", "slow")
    with pytest.raises(ResourceError, match="heart"):
        allowed.network_for(
            needs(allowed, {"fast": 500, "slow": 500, "slowest": 500}), what=lambda: "heart in a box"
        )


def test_a_small_network_on_a_large_scan_takes_what_writing_takes():
    need = Need(kept=5, peak=10)
    assert with_writing(need, 0).kept == 5
    assert with_writing(need, 10**9).peak > 4 * 10**9
    assert with_writing(Need(kept=5, peak=10**12), 10**9).peak == 10**12


SAMPLE = Path(__file__).parents[3] / "shared" / "data" / "pyradiomics_lung1" / "lung1_image.nrrd"


@pytest.mark.slow
def test_the_shipped_model_draws_the_same_in_every_setting() -> None:
    if not SAMPLE.exists():
        pytest.skip("the real CT is not here")
    bundle = read_model("thorax-fast")
    volume, masks = read_scan(SAMPLE).volume, {}
    for setting in ("as chosen", "shortcuts apart", "maps in float16"):
        predictor = Predictor.from_bundle(bundle, device="cpu", precision="float32")
        assert predictor.precision is not None
        predictor.network = ladder(predictor.network, predictor.precision)[setting]
        predictor.precision = None  # the network as it is, and no other
        found = predictor.predict(volume)
        masks[setting] = {name: found.mask(name) for name in found.label_set.names}
    for setting, seen in masks.items():
        for name, mask in seen.items():
            chosen = masks["as chosen"][name]
            assert mask.any()
            assert 2 * (mask & chosen).sum() / (mask.sum() + chosen.sum()) > 0.999, (setting, name)
