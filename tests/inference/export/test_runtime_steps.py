"""``runtime.py`` prepares a scan, grows boxes and pastes results as thoar does, to the bit."""

import itertools
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from thoar.core.box import Box
from thoar.core.configuration import Body, Configuration, Localisation, Preparation
from thoar.core.geometry import Geometry
from thoar.core.volume import Volume
from thoar.imaging.prepare import Prepared, prepare, restore
from thoar.inference.drawing import draw_organ
from thoar.inference.export import runtime
from thoar.inference.localisation import OrganLocalisation, coarse_mask
from thoar.network.network import CoarseToFineNetwork

STRIDES_ZYX = ((1, 1, 1), (2, 4, 4))
CONTENT = Box(start_zyx=(0, 0, 0), stop_zyx=(23, 38, 45))


def grid_of(geometry: Geometry) -> "runtime._Grid":
    spacing_zyx_mm = geometry.spacing_zyx_mm
    directions = (geometry.lps_from_index[:3, :3] / spacing_zyx_mm).T
    return runtime._grid(geometry.shape_zyx, spacing_zyx_mm, directions)


def both(
    volume: Volume, *, spacing_zyx_mm: tuple[float, float, float], body: Body | None = None
) -> tuple[Prepared, "runtime._Prepared"]:
    body, preparation = body or Body(), Preparation(spacing_zyx_mm=spacing_zyx_mm)
    expected = prepare(volume, preparation=preparation, body=body, multiple_zyx=STRIDES_ZYX[-1])
    manifest: dict[str, Any] = {
        "preparation": msgspec.to_builtins(preparation),
        "body": msgspec.to_builtins(body),
        "strides_zyx": STRIDES_ZYX,
    }
    return expected, runtime._prepare(volume.voxels, grid_of(volume.geometry), manifest)


def assert_same(found: "runtime._Prepared", expected: Prepared) -> None:
    assert np.array_equal(found.haloed[1:-1, 1:-1, 1:-1], expected.voxels)
    for axis, end in itertools.product(range(3), (0, -1)):
        assert not found.haloed.take(end, axis).any()
    assert expected.voxels.any()
    assert np.array_equal(found.content[1], expected.content_box.stop_zyx)
    from_first_voxel = expected.geometry.lps_from_index.copy()
    from_first_voxel[:3, 3] -= expected.source_geometry.origin_xyz_mm
    assert np.allclose(found.grid.lps_from_index, from_first_voxel, atol=1e-9)


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("flipped", [(False, False, False), (True, False, True)])
@pytest.mark.parametrize("spacing_zyx_mm", [(3.0, 2.0, 2.0), (2.0, 3.5, 1.7)])
def test_scans_are_prepared_alike_whatever_their_axes(
    phantom,
    axes: tuple[int, int, int],
    flipped: tuple[bool, bool, bool],
    spacing_zyx_mm: tuple[float, float, float],
) -> None:
    turned = phantom.reordered(axes, flipped)
    expected, found = both(turned.volume, spacing_zyx_mm=spacing_zyx_mm)
    assert_same(found, expected)


@pytest.mark.parametrize(
    "body", [Body(crop=False), Body(mask_outside=False), Body(crop=False, mask_outside=False)], ids=str
)
def test_the_bodys_settings_are_heeded(phantom, body: Body) -> None:
    expected, found = both(phantom.volume, spacing_zyx_mm=(3.0, 2.0, 2.0), body=body)
    assert_same(found, expected)


def spoilt(volume: Volume, spoil: Callable[[np.ndarray], None]) -> Volume:
    voxels = volume.voxels.astype(np.int16)
    spoil(voxels)
    return Volume(voxels=voxels, geometry=volume.geometry)


def cut_off(voxels: np.ndarray) -> None:
    """Let lungs leave a field of view that cuts the body and is padded around."""
    voxels[:, 30:70, 20:50] = -850
    voxels[:, :, :35] = -3024


def with_couch(voxels: np.ndarray) -> None:
    voxels[:, -3:-1] = 100


def oblique(phantom) -> Volume:
    angle = np.radians(7)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    geometry = phantom.volume.geometry
    matrix = turn @ geometry.lps_from_index
    return Volume(
        voxels=phantom.volume.voxels,
        geometry=Geometry(shape_zyx=geometry.shape_zyx, lps_from_index=matrix),
    )


def test_difficult_scans_are_prepared_alike(phantom) -> None:
    volumes = [
        spoilt(phantom.volume, cut_off),
        spoilt(phantom.volume, with_couch),
        spoilt(phantom.volume, lambda voxels: voxels[18:22].fill(-1000)),
        oblique(phantom),
    ]
    for volume in volumes:
        expected, found = both(volume, spacing_zyx_mm=(3.0, 2.5, 2.5))
        assert_same(found, expected)


@pytest.mark.parametrize("flipped", [(False, False, False), (True, False, True)])
def test_boxes_are_pasted_alike(phantom, flipped: tuple[bool, bool, bool]) -> None:
    turned = phantom.reordered((1, 0, 2), flipped)
    expected, found = both(turned.volume, spacing_zyx_mm=(2.3, 3.1, 2.7))
    whole = Box.of_shape(expected.voxels.shape)
    inner = Box(start_zyx=(4, 8, 8), stop_zyx=(20, 24, 36))
    for box in (whole, inner, Box(start_zyx=(2, 4, 4), stop_zyx=(4, 8, 8))):
        probability = np.random.default_rng(3).random(box.shape_zyx, dtype=np.float32)
        place, values = restore(probability, box, expected)
        placed, pasted = runtime._restored(probability, np.array([box.start_zyx, box.stop_zyx]), found)
        assert placed.tolist() == [list(place.start_zyx), list(place.stop_zyx)]
        assert np.array_equal(pasted, values)


class First(nn.Module):
    """A decoder to which the image is the probability."""

    def forward(self, crops: list[torch.Tensor]) -> torch.Tensor:
        return crops[0]


def blobs(seed: int, shape_zyx: tuple[int, int, int]) -> np.ndarray:
    """Return a smooth random probability, of a few pieces that reach into each other's boxes."""
    rng = np.random.default_rng(seed)
    places = np.indices(shape_zyx).reshape(3, -1).T
    away = [
        np.linalg.norm((places - rng.uniform(0, shape_zyx)) / rng.uniform(1.5, 9, 3), axis=1)
        for _ in range(rng.integers(1, 6))
    ]
    return np.exp(-np.min(away, axis=0) / 1.5).reshape(shape_zyx).astype(np.float32)


def test_boxes_grow_alike() -> None:
    regrown: list[int] = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        shape_zyx = (24, 40, 48)
        probability = blobs(seed, shape_zyx)
        coarse = probability.reshape(12, 2, 10, 4, 12, 4).mean(axis=(1, 3, 5))
        margins = [(int(a), int(b), int(c)) for a, b, c in rng.integers(0, 3, (2, 3))]
        place = OrganLocalisation(
            threshold=float(rng.choice([0.4, 0.6, 0.75])),
            margin_before_zyx=margins[0],
            margin_after_zyx=margins[1],
        )
        settings = Localisation(
            min_component_cells=int(rng.integers(1, 6)), min_box_cells=int(rng.integers(1, 4))
        )
        cells = coarse_mask(coarse, place.threshold, least_cells=settings.min_component_cells)
        expected = draw_organ(
            CoarseToFineNetwork(
                encoder=nn.Identity(), coarse=nn.Identity(), fine={"it": First()}, strides_zyx=STRIDES_ZYX
            ),
            [torch.from_numpy(probability)[None, None], torch.from_numpy(coarse)[None, None]],
            organ="it",
            cells=cells,
            localisation=place,
            settings=settings,
            content=CONTENT,
        )
        merged = msgspec.to_builtins(settings) | msgspec.to_builtins(place)

        def decode(box_cells: np.ndarray, probability: np.ndarray = probability) -> np.ndarray:
            inside = np.zeros_like(probability)
            inside[CONTENT.slices] = probability[CONTENT.slices]
            return inside[runtime._slices(box_cells * STRIDES_ZYX[-1])]

        assert np.array_equal(runtime._coarse_cells(coarse, merged), cells)
        found = runtime._draw(decode, cells, merged)
        if expected is None:
            assert found is None
            continue
        assert found is not None
        box = found.box_cells * STRIDES_ZYX[-1]
        assert box.tolist() == [list(expected.box_zyx.start_zyx), list(expected.box_zyx.stop_zyx)]
        assert np.array_equal(found.probability, expected.probability)
        assert found.regrown == expected.regrown
        regrown.append(found.regrown)
    assert {0, 1, 2} <= set(regrown)


def test_scans_that_are_none_are_refused_in_words(phantom) -> None:
    voxels, grid = phantom.volume.voxels, grid_of(phantom.volume.geometry)
    settings = msgspec.to_builtins(Configuration()) | {"strides_zyx": STRIDES_ZYX}
    for spoilt_voxels, said in (
        (np.zeros_like(voxels), "Hounsfield units"),
        (np.full(voxels.shape, np.nan), "no numbers"),
    ):
        with pytest.raises(ValueError, match=said):
            runtime._prepare(spoilt_voxels, grid, settings)
    air = np.full(voxels.shape, -1000, dtype=np.int16)
    air[20, 50, 50] = 50
    with pytest.raises(ValueError, match="is this a chest CT"):
        runtime._prepare(air, grid, settings)


@pytest.mark.parametrize(
    ("shape_zyx", "spacing_zyx_mm", "directions_xyz", "said"),
    [
        ((20, 20), (1, 1, 1), runtime.AXIAL, "three axes"),
        ((20, 2, 20), (1, 1, 1), runtime.AXIAL, "at least 3 voxels"),
        ((20, 20, 20), (1, 1), runtime.AXIAL, "three axes"),
        ((20, 20, 20), (1, 0, 1), runtime.AXIAL, "no length"),
        ((20, 20, 20), (1, np.nan, 1), runtime.AXIAL, "no length"),
        ((20, 20, 20), (1, 1, 1), np.eye(3) * 2, "unit vectors"),
        ((20, 20, 20), (1, 1, 1), [[1, 0, 0], [0, 1, 0], [0, 0.5, 0.8]], "right angles"),
    ],
)
def test_grids_that_are_none_are_refused(
    shape_zyx: tuple[int, ...], spacing_zyx_mm: tuple[float, ...], directions_xyz: Any, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        runtime._grid(shape_zyx, spacing_zyx_mm, directions_xyz)
