"""What slabs take is known from shapes, and a ladder of settings takes less of it."""

from dataclasses import replace

import pytest
import torch

from thoar.core.box import Box
from thoar.core.configuration import Block, Network
from thoar.inference.slabs.ladder import APART, AS_CHOSEN, HALVED, ladder
from thoar.inference.slabs.memory import (
    FINISHED_BYTES,
    HEAP_BYTES,
    PASTED_BYTES,
    RESULT_BYTES,
    drawing_need,
    encoding_need,
)
from thoar.inference.slabs.network import by_slabs
from thoar.training.live import LiveStorages

SCAN = (48, 128, 144)
PLACE = Box(start_zyx=(8, 16, 24), stop_zyx=(40, 96, 104))
SLAB = 2**18
WIDE_SCAN = (200, 280, 352)
LIKE_THE_PAPERS = Network(
    stem_channels=8,
    blocks=(
        Block(channels=16, convolutions=2, stride_zyx=(1, 2, 2)),
        Block(channels=32, convolutions=2, stride_zyx=(2, 2, 2)),
        Block(channels=32, convolutions=2, stride_zyx=(1, 2, 2), dilation=3),
        Block(channels=48, convolutions=2, dilation=6),
    ),
)


@pytest.fixture(scope="module")
def rungs(make_network, float32):
    """Return every setting of a network by slabs that are small beside its maps."""
    return ladder(by_slabs(make_network(LIKE_THE_PAPERS), float32(SLAB)), float32(SLAB))


@pytest.mark.parametrize("setting", [AS_CHOSEN, APART, HALVED])
def test_what_is_alive_at_once_while_encoding_is_predicted(rungs, make_scan, setting):
    network, live = rungs[setting], LiveStorages()
    image, need = make_scan(*SCAN), encoding_need(rungs[setting], SCAN)
    with torch.inference_mode(), live:
        levels = network.encode(image)
        kept = live.bytes - image.nbytes
        network.locate(levels)
    assert need.peak - HEAP_BYTES == pytest.approx(live.peak_bytes - image.nbytes, rel=0.15)
    assert need.kept - HEAP_BYTES == pytest.approx(kept, rel=0.05)


@pytest.mark.parametrize("setting", [AS_CHOSEN, APART, HALVED])
def test_what_is_alive_at_once_while_drawing_is_predicted(rungs, make_scan, setting):
    network, live = rungs[setting], LiveStorages()
    need = drawing_need(network.fine["heart"], PLACE.shape_zyx, network.strides_zyx)
    with torch.inference_mode(), live:
        levels = network.encode(make_scan(*SCAN))
        before = live.peak_bytes = live.bytes
        drawn = network.draw(levels, "heart", PLACE)
    alone = need.peak - (FINISHED_BYTES + PASTED_BYTES) * drawn.numel()
    assert alone == pytest.approx(live.peak_bytes - before, rel=0.15)
    assert need.kept == RESULT_BYTES * drawn.numel()


def test_a_finer_scan_keeps_larger_results(rungs):
    fine, strides = rungs[AS_CHOSEN].fine["heart"], rungs[AS_CHOSEN].strides_zyx
    plain, finer = (drawing_need(fine, PLACE.shape_zyx, strides, finer=n) for n in (1.0, 3.0))
    assert finer.kept == 3 * plain.kept
    assert finer.peak > plain.peak


def test_every_member_of_an_ensemble_keeps_its_levels(make_network, make_ensemble, float32):
    one, two = (encoding_need(by_slabs(n(), float32(SLAB)), SCAN) for n in (make_network, make_ensemble))
    assert two.kept - HEAP_BYTES == 2 * (one.kept - HEAP_BYTES)
    assert two.peak == one.peak + one.kept - HEAP_BYTES


def test_an_image_that_is_copied_is_kept_besides(rungs):
    plain, copied = (encoding_need(rungs[AS_CHOSEN], SCAN, image_bytes=n) for n in (0, 1000))
    assert (copied.kept, copied.peak) == (plain.kept + 1000, plain.peak + 1000)


def test_every_rung_takes_less(make_network, float32):
    rungs = ladder(by_slabs(make_network(), float32(SLAB)), float32(SLAB))
    chosen, apart, halved = (encoding_need(network, WIDE_SCAN).peak for network in rungs.values())
    assert list(rungs) == [AS_CHOSEN, APART, HALVED]
    assert halved < 0.7 * apart < apart < 0.9 * chosen


def test_shortcuts_apart_change_nothing_but_rounding(rungs, make_scan, seen_by, difference):
    image = make_scan(*SCAN)
    chosen, apart = (seen_by(rungs[name], image, PLACE) for name in (AS_CHOSEN, APART))
    assert max(difference(apart[name], chosen[name]) for name in chosen) < 1e-4


def test_maps_in_float16_change_little_and_leave_the_network_as_it_was(rungs, make_scan, seen_by, difference):
    image = make_scan(*SCAN)
    before = seen_by(rungs[AS_CHOSEN], image, PLACE)
    halved = seen_by(rungs[HALVED], image, PLACE)
    after = seen_by(rungs[AS_CHOSEN], image, PLACE)
    assert 0 < max(difference(halved[name], before[name]) for name in before) < 0.02
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert halved["level 1"].dtype == torch.float16


def test_maps_that_wait_in_half_precision_already_are_not_rounded_further(make_network, float32):
    bfloat16 = replace(float32(SLAB), name="bfloat16", compute=torch.bfloat16, stored=torch.bfloat16)
    assert list(ladder(by_slabs(make_network(), bfloat16), bfloat16)) == [AS_CHOSEN, APART]
