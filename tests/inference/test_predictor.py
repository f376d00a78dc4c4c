import itertools
import tracemalloc
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import thoar
from thoar.core.box import Box
from thoar.core.configuration import Block, Configuration, Localisation, Network, Preparation
from thoar.core.errors import GeometryError, InputError, LabelError, ModelError, ResourceError, UsageError
from thoar.core.geometry import Geometry
from thoar.core.labels import SEGTHOR, LabelSet, Organ
from thoar.core.volume import Volume
from thoar.imaging.prepare import prepare
from thoar.inference import predictor as predictor_module
from thoar.inference.bundle import write_bundle
from thoar.inference.device import choose_device
from thoar.inference.localisation import uncalibrated
from thoar.inference.predictor import Predictor
from thoar.inference.segmentation import Segmentation
from thoar.inference.slabs.precision import PrecisionName
from thoar.network.coarse import CoarseMaps
from thoar.network.network import build_network

HEART = LabelSet(organs=(Organ(name="heart", id=2),))
SMALL = Network(
    stem_channels=4,
    blocks=(
        Block(channels=4, convolutions=2, stride_zyx=(1, 2, 2)),
        Block(channels=6, convolutions=2, stride_zyx=(2, 2, 2)),
        Block(channels=8, convolutions=3, stride_zyx=(1, 2, 2), dilation=3),
        Block(channels=8, convolutions=3, dilation=6),
    ),
)
ANYWHERE = Localisation(threshold=0.45, organ_threshold={}, margin_cells=1, organ_margin_cells={})


def box(*corners: int) -> Box:
    (a, b, c), (d, e, f) = corners[:3], corners[3:]
    return Box(start_zyx=(a, b, c), stop_zyx=(d, e, f))


@pytest.fixture
def small(make_phantom):
    parts = {"heart": box(8, 18, 20, 18, 30, 40), "aorta": box(0, 32, 30, 25, 38, 36)}
    return make_phantom((25, 50, 60), parts)


def untrained(precision: PrecisionName | None = "auto") -> Predictor:
    """Return a real network that nobody trained: its masks mean nothing, but it has every real part."""
    torch.manual_seed(4)
    return Predictor(
        network=build_network(SMALL, SEGTHOR.names),
        configuration=Configuration(
            network=SMALL, preparation=Preparation(spacing_zyx_mm=(3.0, 2.0, 2.0)), localisation=ANYWHERE
        ),
        label_set=SEGTHOR,
        localisation={name: uncalibrated(ANYWHERE, name) for name in SEGTHOR.names},
        device="cpu",
        precision=precision,
    )


def assert_same_organs(one: Segmentation, other: Segmentation, names: tuple[str, ...]) -> None:
    for name in names:
        a, b = one.organ(name), other.organ(name)
        assert a.box_zyx == b.box_zyx
        assert a.flags == b.flags
        assert np.array_equal(one.coarse.mask[name], other.coarse.mask[name])
        assert np.array_equal(one.mask(name), other.mask(name))
        assert np.array_equal(one.probability(name).voxels, other.probability(name).voxels)


def test_every_organ_is_drawn_voxel_by_voxel_where_it_is(hand_made, phantom) -> None:
    found = hand_made.predictor().predict(phantom.volume)
    for name, mask in phantom.masks.items():
        assert np.array_equal(found.mask(name), mask)
        organ = found.organ(name)
        assert not organ.flags.not_found
        assert organ.flags.coarse_fine_dice == 1.0
        assert organ.volume_ml == pytest.approx(mask.sum() * 0.012)
    assert found.overlaps_ml() == {}
    assert found.geometry is phantom.volume.geometry
    assert set(found.seconds) == {"prepare", "encode", "locate", "draw", "paste"}


class NoNumbers(nn.Module):
    """A decoder that has overflown."""

    def forward(self, crops: list[Tensor]) -> Tensor:
        return torch.full((1, 1, *crops[0].shape[2:]), torch.nan)


def test_values_that_are_no_numbers_are_an_error_and_not_a_mask(hand_made, phantom) -> None:
    predictor = hand_made.predictor()
    predictor.network.fine["heart"] = NoNumbers()
    with pytest.raises(ModelError, match="heart: the network gave values that are no numbers"):
        predictor.predict(phantom.volume)


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flipped", [(False, False, False), (True, False, True), (False, True, False)])
def test_a_scan_in_another_axis_order_gives_the_same_in_the_patient(
    hand_made, phantom, axes: tuple[int, int, int], flipped: tuple[bool, bool, bool]
) -> None:
    turned = phantom.reordered(axes, flipped)
    predictor = hand_made.predictor()
    found, plain = predictor.predict(turned.volume), predictor.predict(phantom.volume)
    assert found.geometry is turned.volume.geometry
    for name, mask in turned.masks.items():
        assert np.array_equal(found.mask(name), mask)
        assert found.organ(name).flags == plain.organ(name).flags
        assert found.organ(name).volume_ml == pytest.approx(plain.organ(name).volume_ml)
    assert found.coarse.geometry.same_grid(plain.coarse.geometry)


@pytest.mark.parametrize("flipped", [(False, False, False), (True, True, True)])
def test_a_real_network_gives_the_same_in_the_patient_too(small, flipped: tuple[bool, bool, bool]) -> None:
    turned = small.reordered((2, 0, 1), flipped)
    predictor = untrained()
    found, plain = predictor.predict(turned.volume), predictor.predict(small.volume)
    backwards = tuple(axis for axis in range(3) if flipped[axis])
    for name in SEGTHOR.names:
        assert np.array_equal(found.mask(name), np.flip(plain.mask(name).transpose(2, 0, 1), backwards))


def test_an_organ_alone_is_bit_for_bit_the_organ_with_all(small) -> None:
    predictor = untrained()
    everything = predictor.predict(small.volume)
    assert not any(organ.flags.not_found for organ in everything.organs)
    for name in SEGTHOR.names:
        alone = predictor.predict(small.volume, organs=[name])
        assert alone.label_set.names == (name,)
        assert_same_organs(alone, everything, (name,))
    pair = predictor.predict(small.volume, organs=["aorta", "heart"])
    assert pair.label_set.names == ("heart", "aorta")
    assert_same_organs(pair, everything, ("aorta", "heart"))


def test_the_same_scan_gives_the_same_bits_again(small) -> None:
    predictor = untrained()
    assert_same_organs(predictor.predict(small.volume), predictor.predict(small.volume), SEGTHOR.names)


def test_only_what_is_asked_for_is_drawn(hand_made, phantom) -> None:
    hand_made.predictor().predict(phantom.volume, organs=["trachea"])
    assert set(hand_made.drawn) == {"trachea"}


def test_an_organ_whose_decoder_was_not_loaded_is_refused_and_the_others_are_drawn(small) -> None:
    predictor = untrained()
    alone = predictor.predict(small.volume, organs=["heart"])
    for name in set(predictor.network.fine) - {"heart"}:
        del predictor.network.fine[name]
    found = predictor.predict(small.volume)
    assert found.label_set.names == ("heart",)
    assert_same_organs(found, alone, ("heart",))
    with pytest.raises(LabelError, match="no organ is called 'aorta' here; there are heart"):
        predictor.predict(small.volume, organs=["aorta"])


def test_an_unknown_organ_is_refused(hand_made, phantom) -> None:
    for unknown in (["liver"], []):
        with pytest.raises(LabelError):
            hand_made.predictor().predict(phantom.volume, organs=unknown)


def test_organs_that_are_not_there_are_reported_and_not_invented(hand_made, make_phantom) -> None:
    water = make_phantom(parts={})
    found = hand_made.predictor().predict(water.volume)
    assert hand_made.drawn == []
    for organ in found.organs:
        assert organ.flags.not_found
        assert organ.box_zyx is None
        assert organ.volume_ml == 0
        assert not organ.flags.unusual_volume
    assert not found.label_volume().voxels.any()


def test_a_coarse_map_alone_makes_no_contour(hand_made, phantom, near) -> None:
    predictor = hand_made.predictor({"heart": near(400)}, label_set=HEART)
    predictor.network.fine["heart"].value = 5.0
    organ = predictor.predict(phantom.volume).organ("heart")
    assert organ.flags.not_found
    assert organ.box_zyx is None


@pytest.mark.parametrize("value", [-1000, 0, 37])
def test_a_scan_of_nothing_is_refused(hand_made, value: int) -> None:
    grid = Geometry.axial((30, 64, 64), (3.0, 2.0, 2.0))
    volume = Volume(voxels=np.full(grid.shape_zyx, value, dtype=np.int16), geometry=grid)
    with pytest.raises(InputError, match="no body found"):
        hand_made.predictor().predict(volume)


def test_two_slices_are_refused(hand_made, make_phantom) -> None:
    with pytest.raises(GeometryError):
        hand_made.predictor().predict(make_phantom((2, 96, 120), {}).volume)


def test_faces_of_the_scan_that_cut_an_organ_are_named(hand_made, phantom) -> None:
    found = hand_made.predictor().predict(phantom.volume)
    assert found.organ("aorta").flags.cut_by_scan == ("inferior", "superior")
    assert found.organ("trachea").flags.cut_by_scan == ("superior",)
    assert found.organ("heart").flags.cut_by_scan == ()
    assert all(organ.flags.touches_box == () for organ in found.organs)


def test_a_scan_turned_upside_down_names_the_face_in_the_patient(hand_made, phantom) -> None:
    turned = phantom.reordered((0, 1, 2), (True, False, False))
    found = hand_made.predictor().predict(turned.volume)
    assert found.organ("trachea").flags.cut_by_scan == ("superior",)
    assert found.mask("trachea")[0].any()


def test_a_short_scan_is_flagged(hand_made, make_phantom) -> None:
    parts = {"heart": box(4, 40, 50, 9, 60, 80)}
    for slices, short in ((22, True), (23, False), (24, False), (6, True)):
        volume = make_phantom((slices, 96, 120), parts).volume
        assert hand_made.predictor().predict(volume).short_scan is short


def test_an_organ_whose_two_masks_contradict_each_other_is_not_drawn_where_that_is_asked(
    hand_made, phantom
) -> None:
    seen = {"aorta": Box(start_zyx=(9, 0, 0), stop_zyx=(12, 100, 100))}
    strict = Configuration(
        preparation=Preparation(spacing_zyx_mm=(3.0, 2.0, 2.0)), localisation=Localisation(reject_dice=0.5)
    )
    found = hand_made.predictor(seen=seen, configuration=strict).predict(phantom.volume)
    aorta = found.organ("aorta")
    assert aorta.mask is None
    assert aorta.flags.not_found
    assert aorta.flags.coarse_fine_disagree
    assert 0 < aorta.flags.coarse_fine_dice < 0.5
    assert not found.organ("heart").flags.not_found


def test_a_box_that_the_organ_touches_grows(hand_made, phantom) -> None:
    seen = {"aorta": Box(start_zyx=(9, 0, 0), stop_zyx=(12, 100, 100))}
    found = hand_made.predictor(seen=seen).predict(phantom.volume)
    aorta = found.organ("aorta")
    assert 1 <= aorta.flags.regrown <= 3
    assert aorta.flags.coarse_fine_dice is not None
    assert aorta.flags.coarse_fine_dice < 0.5
    assert aorta.flags.coarse_fine_disagree
    assert aorta.flags.cut_by_scan == ("superior",)  # grown so far, and not to the other end
    assert aorta.flags.touches_box == ("inferior",)
    first = hand_made.predictor(
        seen=seen,
        configuration=Configuration(
            preparation=Preparation(spacing_zyx_mm=(3.0, 2.0, 2.0)), localisation=Localisation(regrow_times=0)
        ),
    ).predict(phantom.volume)
    assert first.organ("aorta").flags.regrown == 0
    assert first.mask("aorta").sum() < found.mask("aorta").sum()
    assert not (found.mask("aorta") & ~phantom.masks["aorta"]).any()


def test_an_organ_cut_by_its_first_box_is_whole_in_the_end(hand_made, make_phantom, near) -> None:
    phantom = make_phantom(parts={"heart": box(11, 40, 50, 31, 60, 80)})
    seen = {"heart": Box(start_zyx=(9, 0, 0), stop_zyx=(12, 100, 100))}
    predictor = hand_made.predictor({"heart": near(400)}, label_set=HEART, seen=seen)
    found = predictor.predict(phantom.volume)
    assert np.array_equal(found.mask("heart"), phantom.masks["heart"])
    assert found.organ("heart").flags.regrown > 0
    assert found.organ("heart").flags.touches_box == ()


def test_small_parts_are_taken_away_and_large_ones_counted(hand_made, make_phantom, near) -> None:
    large, middle, small = (
        box(12, 40, 40, 20, 50, 60),
        box(12, 40, 64, 20, 44, 72),
        box(21, 44, 44, 22, 45, 46),
    )
    voxels = make_phantom(parts={"heart": large}).volume.voxels.copy()
    for part in (middle, small):
        voxels[part.slices] = 400
    volume = Volume(voxels=voxels, geometry=make_phantom().volume.geometry)
    found = hand_made.predictor({"heart": near(400)}, label_set=HEART).predict(volume)
    flags = found.organ("heart").flags
    assert (flags.several_components, flags.removed_components) == (2, 1)
    assert found.mask("heart").sum() == large.voxels + middle.voxels


def test_an_organ_of_one_voxel_is_found(hand_made, make_phantom, near) -> None:
    phantom = make_phantom(parts={"heart": box(20, 50, 50, 21, 51, 51)})
    found = hand_made.predictor({"heart": near(400)}, label_set=HEART).predict(phantom.volume)
    assert np.array_equal(found.mask("heart"), phantom.masks["heart"])
    assert found.organ("heart").flags.unusual_volume is False  # this label set states no range


def test_an_organ_at_the_end_of_an_unevenly_padded_scan_is_found_whole(hand_made, make_phantom, near) -> None:
    shape = (37, 91, 109)
    parts = {"heart": box(33, 30, 50, 37, 50, 60)}
    phantom = make_phantom(shape, parts)
    found = hand_made.predictor({"heart": near(400)}, label_set=HEART).predict(phantom.volume)
    assert np.array_equal(found.mask("heart"), phantom.masks["heart"])
    assert found.organ("heart").flags.cut_by_scan == ("superior",)


def test_a_decoder_that_fills_its_box_draws_nothing_in_the_padding(hand_made, make_phantom, above) -> None:
    phantom = make_phantom((37, 91, 109), {"heart": box(33, 30, 50, 37, 50, 60)})
    predictor = hand_made.predictor({"heart": above(200)}, label_set=HEART)
    predictor.network.fine["heart"].middle = -0.1  # everything is the organ, padding too
    found = predictor.predict(phantom.volume)
    assert found.organ("heart").flags.several_components == 0
    assert found.organ("heart").flags.cut_by_scan == ("superior",)
    assert set(found.organ("heart").flags.touches_box) >= {"inferior"}
    assert "superior" not in found.organ("heart").flags.touches_box


def test_where_organs_overlap_the_label_map_has_the_more_probable(hand_made, make_phantom, near) -> None:
    voxels = make_phantom(parts={"heart": box(10, 40, 40, 20, 60, 60)}).volume.voxels.copy()
    voxels[10:20, 40:60, 50:60] = 430
    volume = Volume(voxels=voxels, geometry=make_phantom().volume.geometry)
    organs = LabelSet(organs=(Organ(name="heart", id=2), Organ(name="aorta", id=4)))
    predictor = hand_made.predictor({"heart": near(400), "aorta": near(440)}, label_set=organs)
    found = predictor.predict(volume)
    labels = found.label_volume().voxels
    assert set(np.unique(labels[10:20, 40:60, 40:50])) == {2}
    assert set(np.unique(labels[10:20, 40:60, 50:60])) == {4}
    assert found.mask("heart").sum() == found.mask("aorta").sum() == 4000
    assert found.overlaps_ml() == {("heart", "aorta"): pytest.approx(4000 * 0.012)}


def test_the_coarse_masks_lie_where_the_organs_are(hand_made, phantom) -> None:
    predictor = hand_made.predictor()
    prepared = prepare(
        phantom.volume,
        preparation=predictor.configuration.preparation,
        body=predictor.configuration.body,
        multiple_zyx=(2, 8, 8),
    )
    coarse = predictor.locate(prepared)
    assert coarse.geometry.spacing_zyx_mm == pytest.approx((6.0, 16.0, 16.0))
    block = [prepared.geometry.position_xyz_mm(place) for place in np.ndindex(2, 8, 8)]
    assert coarse.geometry.origin_xyz_mm == pytest.approx(np.mean(block, axis=0))
    for name, mask in phantom.masks.items():
        grid = phantom.volume.geometry
        for place in np.argwhere(mask)[::37]:
            cell = np.rint(coarse.geometry.index_zyx(grid.position_xyz_mm(place.tolist()))).astype(int)
            assert coarse.mask[name][tuple(cell)]
        assert set(coarse.mask) == set(SEGTHOR.names)


def ball(spacing_zyx_mm: tuple[float, float, float]) -> tuple[Volume, np.ndarray]:
    """Return a ball of contrast in a body of water, edges as a scanner averages them, and its inside."""
    field = (150.0, 200.0, 220.0)
    z, y, x = (round(f / s) for f, s in zip(field, spacing_zyx_mm, strict=True))
    grid = Geometry.axial((z, y, x), spacing_zyx_mm, origin_xyz_mm=(11.0, -7.0, 5.0))
    steps = [(np.arange(n) + 0.5) * s for n, s in zip((z, y, x), spacing_zyx_mm, strict=True)]
    zz, yy, xx = np.meshgrid(*steps, indexing="ij")
    away = np.sqrt((zz - 71) ** 2 + (yy - 96) ** 2 + (xx - 113) ** 2)
    body = (((yy - 100) / 90) ** 2 + ((xx - 110) / 100) ** 2) <= 1
    hu = np.where(body, 0, -1000) + 400 * np.clip(0.5 + (30 - away) / 8, 0, 1)
    return Volume(voxels=hu.astype(np.int16), geometry=grid), away < 30


@pytest.mark.parametrize(
    "spacing_zyx_mm", [(1.0, 1.0, 1.0), (3.0, 2.0, 2.0), (5.0, 1.5, 2.5), (7.5, 4.0, 4.0), (1.25, 3.0, 0.9)]
)
def test_thin_and_thick_slices_give_the_same_organ(
    hand_made, above, spacing_zyx_mm: tuple[float, float, float]
) -> None:
    volume, truth = ball(spacing_zyx_mm)
    found = hand_made.predictor({"heart": above(200)}, label_set=HEART).predict(volume)
    mask = found.mask("heart")
    assert mask.shape == volume.voxels.shape
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.93
    offset_mm = (np.argwhere(mask).mean(0) - np.argwhere(truth).mean(0)) * spacing_zyx_mm
    assert np.abs(offset_mm).max() < 0.5
    assert found.organ("heart").volume_ml == pytest.approx(4 / 3 * np.pi * 27, rel=0.06)


def test_a_volume_is_left_as_it_was(hand_made, phantom) -> None:
    before = phantom.volume.voxels.copy()
    hand_made.predictor().predict(phantom.volume)
    assert np.array_equal(before, phantom.volume.voxels)


def test_reversed_and_unsigned_arrays_are_read_as_they_are(hand_made, phantom) -> None:
    view = phantom.volume.voxels[::-1][::-1].astype(np.float64)
    found = hand_made.predictor().predict(Volume(voxels=view, geometry=phantom.volume.geometry))
    assert np.array_equal(found.mask("heart"), phantom.masks["heart"])


class Largest(TorchDispatchMode):
    """Keeps the size of the largest tensor that any operation gave."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        given = func(*args, **(kwargs or {}))
        for value in given if isinstance(given, tuple | list) else (given,):
            if isinstance(value, Tensor):
                self.elements = max(self.elements, value.numel())
        return given


def peak_bytes(work: Callable[[], object]) -> int:
    """Return the most memory that numpy and Python held at once, beyond what there was, and the result's."""
    tracemalloc.start()
    try:
        kept = work()
        del kept
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class OnCoarseGrid(nn.Module):
    """A coarse decoder that looks at averages alone: quick, and itself no user of full resolution."""

    def __init__(self, organs: nn.ModuleDict) -> None:
        super().__init__()
        self.organs = organs

    def forward(self, levels: list[Tensor]) -> CoarseMaps:
        probability = torch.zeros(1, 13, *levels[-1].shape[2:])
        for i, organ in enumerate(self.organs.values()):
            slab = slice(10 + 5 * i, 14 + 5 * i)
            probability[:, 1 + i, slab] = organ(levels[-1:])[:, 0, slab]
        return CoarseMaps(probability, (probability,))


MANY = LabelSet(organs=tuple(Organ(name=f"organ_{i}", id=i) for i in range(1, 13)))


def scan_of_many() -> Volume:
    shape = (160, 256, 256)
    y, x = np.indices(shape[1:])
    body = np.where(((y - 127.5) / 118) ** 2 + ((x - 127.5) / 118) ** 2 <= 1, 0, -1000)
    voxels = np.repeat(body[None], shape[0], 0).astype(np.int16)
    for i in range(12):
        z, y0, x0 = 20 + 10 * i, 90 + 30 * (i % 3), 80 + 25 * (i % 4)
        voxels[z : z + 8, y0 : y0 + 20, x0 : x0 + 20] = 60 * (i + 1)
    return Volume(voxels=voxels, geometry=Geometry.axial(shape, (3.0, 2.0, 2.0)))


def test_no_array_at_full_resolution_holds_more_than_one_organ(hand_made, near) -> None:
    volume = scan_of_many()
    organs = {f"organ_{i}": near(60.0 * i, width_hu=25.0) for i in range(1, 13)}
    predictor = hand_made.predictor(organs, label_set=MANY)
    predictor.network.coarse = OnCoarseGrid(predictor.network.coarse.organs)
    prepared = prepare(
        volume,
        preparation=predictor.configuration.preparation,
        body=predictor.configuration.body,
        multiple_zyx=(2, 8, 8),
    )
    largest = Largest()

    def finished(names: tuple[str, ...]) -> Segmentation:
        found = predictor.predict_prepared(prepared, organs=names)
        found.label_volume()
        found.overlaps_ml()
        found.masks_in_boxes()
        return found

    everything = finished(MANY.names)
    assert not any(organ.flags.not_found for organ in everything.organs)
    own_boxes = sum(
        3 * organ.box_zyx.voxels for organ in everything.organs if organ.box_zyx
    )  # float16, and the mask
    one = peak_bytes(lambda: finished(("organ_1",)))
    every = peak_bytes(lambda: finished(MANY.names))
    one_whole_mask = volume.voxels.size  # bytes: a stack of twelve would take twelve of these, or 48 as float
    assert own_boxes < one_whole_mask // 2
    assert every - one < own_boxes + one_whole_mask // 4
    with largest:
        finished(MANY.names)
    assert largest.elements <= prepared.voxels.size

    stacked = peak_bytes(lambda: np.stack([finished(MANY.names).mask(name) for name in MANY.names]))
    assert stacked - one > 12 * one_whole_mask  # the measure would have seen it


def failing(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


MEMORY_ERRORS = MappingProxyType(
    {
        "numpy": MemoryError("Unable to allocate 9 TiB"),
        "cpu": RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"),
        "cuda": torch.OutOfMemoryError("CUDA out of memory"),
    }
)


@pytest.mark.parametrize("kind", MEMORY_ERRORS)
def test_too_little_memory_is_said_so(hand_made, phantom, monkeypatch, kind: str) -> None:
    predictor = hand_made.predictor()
    monkeypatch.setattr(predictor.network, "encode", failing(MEMORY_ERRORS[kind]))
    with pytest.raises(ResourceError, match="not enough memory for a scan of"):
        predictor.predict(phantom.volume)


def test_too_little_memory_to_prepare_is_said_so(hand_made, phantom, monkeypatch) -> None:
    monkeypatch.setattr(predictor_module, "prepare", failing(MemoryError()))
    with pytest.raises(ResourceError, match=r"\(40, 96, 120\) voxels \(z, y, x\) at 3.0, 2.0, 2.0 mm"):
        hand_made.predictor().predict(phantom.volume)


def test_a_bug_is_not_taken_for_a_lack_of_memory(hand_made, phantom, monkeypatch) -> None:
    predictor = hand_made.predictor()
    monkeypatch.setattr(predictor.network, "encode", failing(RuntimeError("shapes differ")))
    with pytest.raises(RuntimeError, match="shapes differ"):
        predictor.predict(phantom.volume)


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "meta", "", "cpu cpu"])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"--device {name}"):
        choose_device(name)


def test_the_processor_is_always_there() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cpu", "cuda")


def test_the_function_in_memory_does_what_a_predictor_does(small, tmp_path) -> None:
    predictor = untrained()
    write_bundle(
        tmp_path,
        network=untrained(precision=None).network,
        configuration=predictor.configuration,
        label_set=SEGTHOR,
        localisation=predictor.localisation,
    )
    found = thoar.segment(small.volume, model=tmp_path, organs=["heart"], device="cpu")
    assert_same_organs(found, predictor.predict(small.volume), ("heart",))
