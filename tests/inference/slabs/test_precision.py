"""What the names of precisions mean, and how far the maps of each are from float32's."""

import re

import pytest
import torch

from thoar.core.box import Box
from thoar.core.errors import UsageError
from thoar.inference.slabs.encoder import Stem
from thoar.inference.slabs.network import by_slabs
from thoar.inference.slabs.precision import PRECISIONS, Precision, choose_precision, has_fast_bfloat16

CPU = torch.device("cpu")
EVERYTHING = (slice(None),) * 5
PLACE = Box(start_zyx=(4, 8, 16), stop_zyx=(10, 32, 40))
SCAN = (14, 40, 56)


def capable_of(monkeypatch, *names):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(names, True))


def test_auto_is_float32_where_bfloat16_is_slow(monkeypatch):
    capable_of(monkeypatch, "avx2", "avx512_f", "avx512_bw")
    assert not has_fast_bfloat16(CPU)
    assert choose_precision("auto", CPU) == choose_precision("float32", CPU)
    assert choose_precision("auto", CPU).name == "float32"


def test_a_processor_of_which_nothing_is_known_computes_in_float32(monkeypatch):
    capable_of(monkeypatch)
    assert choose_precision("auto", CPU).compute == torch.float32


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN")
@pytest.mark.parametrize("name", ["avx512_bf16", "amx_bf16"])
def test_auto_is_bfloat16_where_that_is_fast(monkeypatch, name):
    capable_of(monkeypatch, "avx2", name)
    found = choose_precision("auto", CPU)
    assert (found.name, found.compute, found.stored) == ("bfloat16", torch.bfloat16, torch.bfloat16)


def test_another_device_than_a_processor_or_cuda_computes_in_float32():
    assert choose_precision("auto", torch.device("meta")).name == "float32"


@pytest.mark.parametrize("name", ["double", "", "Float32", "auto,float32"])
def test_an_unknown_name_is_refused_with_the_choices(name):
    with pytest.raises(
        UsageError, match=re.escape(f"--precision {name}: is none of auto, float32, bfloat16")
    ):
        choose_precision(name, CPU)


@pytest.mark.parametrize("name", PRECISIONS)
def test_every_choice_is_known_on_the_processor(name):
    assert isinstance(choose_precision(name, CPU), Precision)


def test_float16_is_stored_on_the_processor_and_computed_in_on_a_gpu():
    cpu, gpu = (choose_precision("float16", torch.device(kind)) for kind in ("cpu", "cuda"))
    assert (cpu.compute, cpu.stored) == (torch.float32, torch.float16)
    assert (gpu.compute, gpu.stored) == (torch.float16, torch.float16)
    assert gpu.slab_bytes > cpu.slab_bytes


@pytest.mark.parametrize(
    ("name", "stem", "others"),
    [
        ("float32", torch.float32, torch.float32),
        ("bfloat16", torch.bfloat16, torch.bfloat16),
        ("float16", torch.float32, torch.float16),
    ],
)
def test_levels_lie_in_the_numbers_that_are_stored(make_network, make_scan, seen_by, name, stem, others):
    seen = seen_by(by_slabs(make_network(), choose_precision(name, CPU)), make_scan(*SCAN), PLACE)
    assert seen["level 0"].dtype == stem  # of what is given out: nothing is stored
    assert {seen[f"level {i}"].dtype for i in range(1, 5)} == {others}
    assert {seen[name].dtype for name in ("coarse", "head 0", "heart", "aorta")} == {torch.float32}


@pytest.mark.parametrize(("name", "most"), [("bfloat16", 0.05), ("float16", 0.005)])
def test_maps_of_half_precision_are_near_those_of_the_modules(
    any_network, make_scan, seen_by, difference, name, most
):
    image = make_scan(*SCAN)
    expected = seen_by(any_network, image, PLACE)
    found = seen_by(by_slabs(any_network, choose_precision(name, CPU)), image, PLACE)
    for part, reference in expected.items():
        assert difference(found[part], reference) < most
        error = (found[part].float() - reference).norm() / reference.norm()
        assert error < most / 2
    assert difference(found["level 2"], expected["level 2"]) > 1e-4, "these are no halves"


def with_precision(like, slab_bytes):
    return Precision(name=like.name, compute=like.compute, stored=like.stored, slab_bytes=slab_bytes)


def test_in_bfloat16_the_stem_is_computed_in_float32_and_rounded_once(make_network, make_scan, float32):
    network, image = make_network(), make_scan(*SCAN)
    half = with_precision(choose_precision("bfloat16", CPU), 2**40)
    with torch.inference_mode():
        stem = by_slabs(network, half).encode(image)[0]
        single = by_slabs(network, float32(2**40)).encode(image)[0]
        assert isinstance(stem, Stem)
        assert stem.image.dtype == stem.kernel.weight.dtype == stem.norm.mean.dtype == torch.float32
        assert torch.equal(stem[EVERYTHING], single[EVERYTHING].bfloat16())


def test_in_bfloat16_one_hounsfield_unit_is_still_seen(make_network, make_scan):
    image = make_scan(*SCAN)
    water = torch.full_like(image, 0.5)
    water[..., 20:40] += 1 / 2000  # bfloat16 knows 0.5 by steps of 1/256
    assert len(water.bfloat16().unique()) == 1
    with torch.inference_mode():
        features = by_slabs(make_network(), choose_precision("bfloat16", CPU)).encode(water)[0][EVERYTHING]
    inside, outside = features[:, :, 5:9, 10:30, 25:35], features[:, :, 5:9, 10:30, 5:15]
    assert (inside - outside).abs().max() > 0


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_half_precision_does_not_depend_on_the_slabs_but_for_rounding(
    make_network, make_scan, seen_by, difference, name
):
    network, image = make_network(), make_scan(*SCAN)
    like = choose_precision(name, CPU)
    one, other = (seen_by(by_slabs(network, with_precision(like, n)), image, PLACE) for n in (1, 2**40))
    for part in one:
        assert difference(one[part], other[part]) < 0.02
