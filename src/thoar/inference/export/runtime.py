# SPDX-License-Identifier: Apache-2.0
"""Contours of thoracic organs at risk from a chest CT, with numpy and ONNX Runtime or OpenVINO alone.

``thoar model export`` put this file beside the graphs that it runs. Not a medical device.

    from runtime import AXIAL, Model

    model = Model("folder")
    found = model.segment(voxels_hu, spacing_zyx_mm=(2.5, 0.7, 0.7), directions_xyz=AXIAL)
    found.mask("heart"), found.label_map(), found.organs["heart"].volume_ml, found.organs["heart"].flags

or ``python runtime.py scan.npz out.npz``. Arrays are (z, y, x). Points and directions in the patient are
(x, y, z) in LPS, as in DICOM: x to the patient's left, y to the back, z to the head. Results lie on the
scan's own grid, whatever the order and direction of its axes.

The steps are thoar's: resample, find the body, crop, window; one pass of the encoder; per organ a box around
its coarse cells, the probability in that box, which grows where the organ touches it; cleaning; back onto the
scan.
"""

import argparse
import hashlib
import itertools
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Numbers = Sequence[Any] | Array
Mask = NDArray[np.bool_]
Box = NDArray[np.int64]
"""Two rows, start and stop, of z, y, x; the stop lies outside."""
Graph = Callable[[Mapping[str, Array]], dict[str, Array]]
Index3 = tuple[int, int, int]

AXIAL = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
"""Directions of axes that run to the head, to the back and to the left."""
FACES = (("inferior", "superior"), ("anterior", "posterior"), ("right", "left"))
"""First and last face along each of them."""
HALO = np.array([[0], [2]])
"""From a box to the one that holds a voxel more at every face, in an array with a voxel more before each."""
FORMAT = 1
SHORT_SCAN_CELLS = 12
LEAST_VOXELS = 3
SHORTEST_MM = 1e-6
RIGHT_ANGLE = 1e-3
SNAP = 1e-6
"""Coordinates this near to a voxel's centre or edge are meant to lie on it."""
HALF = 0.5
"""The probability from which on a voxel belongs to an organ."""
NO_FLAGS: dict[str, Any] = {
    "not_found": False,
    "cut_by_scan": [],
    "regrown": 0,
    "touches_box": [],
    "several_components": 0,
    "removed_components": 0,
    "coarse_fine_disagree": False,
    "coarse_fine_dice": None,
    "unusual_volume": False,
}


# What comes out


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Organ:
    """One organ's result.

    Attributes:
        name: the organ's.
        id: its value in label maps.
        box_zyx: where ``probability`` lies on the scan's grid; None where the organ was not found.
        probability: inside the box; None likewise.
        volume_ml: of the mask.
        flags: ``not_found``; ``cut_by_scan``, faces of the scan that the mask reaches; ``touches_box``, faces
            of the last box that it still reaches; ``regrown``, how often the box grew; ``several_components``
            and ``removed_components``; ``coarse_fine_dice``, the agreement of both decoders, and
            ``coarse_fine_disagree``; ``unusual_volume``.
    """

    name: str
    id: int
    box_zyx: Box | None
    probability: NDArray[np.float16] | None
    volume_ml: float
    flags: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segmentation:
    """All organs of one scan.

    Attributes:
        shape_zyx: of the scan.
        organs: by name.
        short_scan: it has so few slices that far context is missing.
    """

    shape_zyx: Index3
    organs: dict[str, Organ]
    short_scan: bool

    def mask(self, name: str) -> Mask:
        """Return one organ's mask on the scan's grid."""
        whole, organ = np.zeros(self.shape_zyx, dtype=np.bool_), self.organs[name]
        if organ.box_zyx is not None and organ.probability is not None:
            whole[_slices(organ.box_zyx)] = organ.probability >= HALF
        return whole

    def label_map(self) -> NDArray[np.uint16]:
        """Return the organs' ids on the scan's grid; a voxel that two claim is the more probable one's."""
        labels = np.zeros(self.shape_zyx, dtype=np.uint16)
        highest = np.full(self.shape_zyx, np.nextafter(np.float16(HALF), np.float16(0)))
        for organ in self.organs.values():
            if organ.box_zyx is not None and organ.probability is not None:
                place = _slices(organ.box_zyx)
                higher = organ.probability > highest[place]
                highest[place][higher] = organ.probability[higher]
                labels[place][higher] = organ.id
        return labels

    def report(self) -> dict[str, Any]:
        """Return volumes and flags as JSON can hold them."""
        organs = {
            name: {"id": organ.id, "volume_ml": round(organ.volume_ml, 3), "flags": organ.flags}
            for name, organ in self.organs.items()
        }
        return {"short_scan": self.short_scan, "organs": organs}


# The model


class Model:
    """The graphs of one folder, checked against the checksums in its ``manifest.json``; one scan at a time.

    Args:
        folder: that ``thoar model export`` wrote.
        engine: ``onnxruntime`` or ``openvino``; by default the one that the export was checked with.
        threads: 0 leaves their number to the engine.

    Raises:
        ValueError: if a file is damaged.
    """

    def __init__(self, folder: str | Path, *, engine: str | None = None, threads: int = 0) -> None:
        self.folder, self._threads = Path(folder), threads
        self.manifest: dict[str, Any] = json.loads((self.folder / "manifest.json").read_text("utf-8"))
        if self.manifest["format"] != FORMAT:
            raise ValueError(f"{folder}: is of format {self.manifest['format']}, runtime.py reads {FORMAT}")
        for name, digest in self.manifest["sha256"].items():
            if hashlib.sha256((self.folder / name).read_bytes()).hexdigest() != digest:
                raise ValueError(f"{self.folder / name}: is not as it was written; export the model again")
        self._load = ENGINES[engine or self.manifest["engine"]]
        self._graphs: dict[str, Graph] = {}

    @property
    def organs(self) -> tuple[str, ...]:
        """The organs there are."""
        return tuple(organ["name"] for organ in self.manifest["label_set"]["organs"])

    def segment(
        self,
        voxels_hu: Array,
        spacing_zyx_mm: Numbers,
        *,
        directions_xyz: Numbers,
        organs: Sequence[str] | None = None,
    ) -> Segmentation:
        """Segment a CT.

        Args:
            voxels_hu: Hounsfield units, (z, y, x) or with the axes in another order.
            spacing_zyx_mm: distance of neighbouring voxels along each axis of the array, in its order.
            directions_xyz: for each axis of the array the unit vector along which it runs in the patient;
                there is no default, since a wrong guess would exchange left and right.
            organs: which ones; all by default.

        Raises:
            ValueError: if this is no usable chest CT, or there is no such organ.
        """
        wanted = self.organs if organs is None else tuple(organs)
        if not wanted or not set(wanted) <= set(self.organs):
            raise ValueError(f"organs {', '.join(wanted)}: there are {', '.join(self.organs)}")
        source = _grid(voxels_hu.shape, spacing_zyx_mm, directions_xyz)
        prepared = _prepare(voxels_hu, source, self.manifest)
        features = self._graph("encoder_coarse")({"image": prepared.haloed[None, None, 1:-1, 1:-1, 1:-1]})
        coarse = features.pop("coarse")[0]
        found = {
            organ["name"]: self._segment_organ(organ, probability, features, prepared)
            for organ, probability in zip(self.manifest["label_set"]["organs"], coarse, strict=True)
            if organ["name"] in wanted
        }
        short = coarse.shape[1] < SHORT_SCAN_CELLS
        return Segmentation(shape_zyx=source.shape_zyx, organs=found, short_scan=short)

    def _segment_organ(
        self,
        organ: Mapping[str, Any],
        coarse: Array,
        features: Mapping[str, Array],
        prepared: "_Prepared",
    ) -> Organ:
        settings = {**self.manifest["localisation"], **self.manifest["organ_localisation"][organ["name"]]}
        graph, strides = self._graph(f"fine_{organ['name']}"), np.array(self.manifest["strides_zyx"])
        cells = _coarse_cells(coarse, settings)

        def decode(box_cells: Box) -> Array:
            box = box_cells * strides[-1]
            crops = {name: value for name, value in features.items() if name.startswith("stem")}
            crops["image"] = prepared.haloed[None, None, *_slices(box + HALO)]
            for level, stride in enumerate(strides[1:], 1):
                crops[f"level_{level}"] = features[f"level_{level}"][..., *_slices(box // stride)]
            drawn = graph(crops)["probability"][0, 0]
            content = _slices(_within(prepared.content - box[0], drawn.shape))
            probability = np.zeros(drawn.shape, dtype=np.float32)
            probability[content] = drawn[content]
            return probability

        drawing = _draw(decode, cells, settings)
        return _finished(organ, drawing, cells, prepared=prepared, settings=settings, stride_zyx=strides[-1])

    def _graph(self, name: str) -> Graph:
        if name not in self._graphs:
            self._graphs[name] = self._load(self.folder / f"{name}.onnx", self._threads)
        return self._graphs[name]


def _with_onnxruntime(path: Path, threads: int) -> Graph:
    import onnxruntime  # noqa: PLC0415 (one of the two engines is enough)

    onnxruntime.disable_telemetry_events()  # which builds for Windows send
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.enable_cpu_mem_arena = False  # or every graph keeps the memory of its largest run
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle sessions stay idle
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(inputs: Mapping[str, Array]) -> dict[str, Array]:
        whole = {name: np.ascontiguousarray(value) for name, value in inputs.items()}
        found: Any = session.run(names, whole)
        return dict(zip(names, found, strict=True))

    return run


def _with_openvino(path: Path, threads: int) -> Graph:
    sys.modules.setdefault("openvino_telemetry", None)  # pyright: ignore[reportArgumentType] (or the import sends)
    import openvino  # noqa: PLC0415 (one of the two engines is enough)  # pyright: ignore[reportMissingImports]

    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}  # else bfloat16, where a processor has it
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads
    core = openvino.Core()
    graph = core.read_model(path)
    names = [output.get_any_name() for output in graph.outputs]
    compiled = core.compile_model(graph, "CPU", settings)

    def run(inputs: Mapping[str, Array]) -> dict[str, Array]:
        whole = {name: np.ascontiguousarray(value) for name, value in inputs.items()}
        request = compiled.create_infer_request()
        found = request.infer(whole)
        copies = {name: found[name].copy() for name in names}
        del request, found
        compiled.release_memory()  # or every graph keeps that of its largest run
        return copies

    return run


ENGINES: dict[str, Callable[[Path, int], Graph]] = {
    "onnxruntime": _with_onnxruntime,
    "openvino": _with_openvino,
}


# Grids and boxes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Grid:
    """Voxels in the patient: ``xyz_mm = lps_from_index @ (z, y, x, 1)``, from the scan's first voxel on."""

    shape_zyx: Index3
    lps_from_index: NDArray[np.float64]

    @property
    def spacing_zyx_mm(self) -> NDArray[np.float64]:
        return np.linalg.norm(self.lps_from_index[:3, :3], axis=0)

    @property
    def voxel_volume_ml(self) -> float:
        return float(abs(np.linalg.det(self.lps_from_index[:3, :3]))) / 1000

    def cropped(self, box: Box) -> "_Grid":
        """Return the grid of a box, which may reach beyond this one's faces."""
        matrix = self.lps_from_index.copy()
        matrix[:3, 3] += matrix[:3, :3] @ box[0]
        return _Grid(shape_zyx=_index3(box[1] - box[0]), lps_from_index=matrix)


def _grid(shape: Sequence[int], spacing: Numbers, directions: Numbers) -> _Grid:
    lengths, units = np.asarray(spacing, dtype=np.float64), np.asarray(directions, dtype=np.float64)
    if len(shape) != 3 or min(shape) < LEAST_VOXELS:  # noqa: PLR2004
        raise ValueError(f"a scan has three axes of at least {LEAST_VOXELS} voxels, this one {tuple(shape)}")
    if lengths.shape != (3,) or not ((lengths > SHORTEST_MM) & np.isfinite(lengths)).all():
        raise ValueError(f"spacing_zyx_mm {spacing}: is no length for each of three axes")
    if units.shape != (3, 3) or not (np.abs(units @ units.T - np.eye(3)) <= RIGHT_ANGLE).all():
        raise ValueError(f"directions_xyz {directions}: are no three unit vectors at right angles")
    matrix = np.eye(4)
    matrix[:3, :3] = (lengths[:, None] * units).T
    return _Grid(shape_zyx=_index3(shape), lps_from_index=matrix)


def _index3(values: Sequence[int] | Array) -> Index3:
    z, y, x = (int(value) for value in values)
    return (z, y, x)


def _slices(box: Box) -> tuple[slice, slice, slice]:
    z, y, x = (slice(int(start), int(stop)) for start, stop in box.T)
    return (z, y, x)


def _whole(shape: Sequence[int]) -> Box:
    return np.array([(0, 0, 0), shape], dtype=np.int64)


def _within(box: Array, shape: Sequence[int] | Array) -> Box:
    """Return the part of a box within an array; it may be empty."""
    return np.clip(box, 0, shape)


def _box_of(mask: Mask) -> Box | None:
    hits = [np.flatnonzero(mask.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
    if not hits[0].size:
        return None
    return np.array([[hit[0] for hit in hits], [hit[-1] + 1 for hit in hits]])


def _axes_of_patient(grid: _Grid) -> tuple[Index3, tuple[bool, bool, bool]]:
    """Return which axes of an array run most nearly along the patient's z, y and x, and which backwards."""
    along_zyx = (grid.lps_from_index[:3, :3] / grid.spacing_zyx_mm)[::-1]
    axes = max(itertools.permutations(range(3)), key=lambda p: sum(abs(along_zyx[i, p[i]]) for i in range(3)))
    z, y, x = (bool(along_zyx[i, axes[i]] < 0) for i in range(3))
    return _index3(axes), (z, y, x)


def _upright(voxels: Array, grid: _Grid) -> tuple[Array, _Grid]:
    """Return a scan with its axes reordered and turned to run to the head, the back and the left."""
    axes, backwards = _axes_of_patient(grid)
    old_from_new = np.zeros((4, 4))
    old_from_new[3, 3] = 1
    for new, (old, back) in enumerate(zip(axes, backwards, strict=True)):
        old_from_new[old, new] = -1 if back else 1
        old_from_new[old, 3] = grid.shape_zyx[old] - 1 if back else 0
    turned = np.flip(voxels.transpose(axes), tuple(axis for axis in range(3) if backwards[axis]))
    return turned, _Grid(shape_zyx=_index3(turned.shape), lps_from_index=grid.lps_from_index @ old_from_new)


# Linear interpolation between grids whose axes are parallel


def _grid_of_spacing(grid: _Grid, spacing_zyx_mm: Numbers) -> _Grid:
    """Return the grid of another spacing that is centred on a grid's field of view and covers it."""
    ratio = np.asarray(spacing_zyx_mm) / grid.spacing_zyx_mm
    old = np.array(grid.shape_zyx)
    new = np.maximum(1, np.ceil(old / ratio - 0.01)).astype(int)
    old_from_new = np.diag([*ratio, 1.0])
    old_from_new[:3, 3] = (old - 1) / 2 - ratio * (new - 1) / 2
    return _Grid(shape_zyx=_index3(new), lps_from_index=grid.lps_from_index @ old_from_new)


def _axis_maps(source: _Grid, target: _Grid) -> list[tuple[int, float, float]]:
    """Return, per axis of the target, the source's axis and ``scale, shift`` of its coordinate there."""
    relative = np.linalg.solve(source.lps_from_index, target.lps_from_index)
    axes = np.abs(relative[:3, :3]).argmax(axis=0)
    return [(int(old), float(relative[old, new]), float(relative[old, 3])) for new, old in enumerate(axes)]


def _covered(source: _Grid, target: _Grid) -> Box | None:
    """Return the box of target voxels whose centres lie in the source's field of view, if there are any."""
    box: list[tuple[int, int]] = []
    for (old, scale, shift), size in zip(_axis_maps(source, target), target.shape_zyx, strict=True):
        edges = [(edge - shift) / scale for edge in (-0.5, source.shape_zyx[old] - 0.5)]
        start, last = math.ceil(min(edges) - SNAP), math.floor(max(edges) + SNAP)
        box.append((max(start, 0), min(last + 1, size)))
    return np.array(box).T if all(stop > start for start, stop in box) else None


def _resampled(voxels: Array, source: _Grid, target: _Grid, *, outside: float) -> NDArray[np.float32]:
    """Interpolate at the target's voxel centres; half a voxel beyond its own the source ends."""
    maps = _axis_maps(source, target)
    array = voxels.transpose([old for old, _, _ in maps])
    sizes = target.shape_zyx
    beyond: list[Mask] = [np.zeros(size, dtype=np.bool_) for size in sizes]
    for axis in sorted(range(3), key=lambda a: sizes[a] / array.shape[a]):
        coordinate = maps[axis][2] + maps[axis][1] * np.arange(sizes[axis])
        halves = np.rint(coordinate * 2) / 2
        coordinate = np.where(np.abs(coordinate - halves) < SNAP, halves, coordinate)
        inside = np.clip(coordinate, 0, array.shape[axis] - 1)
        beyond[axis] = np.abs(coordinate - inside) > HALF
        array = _interpolated(array, axis, inside)
    for axis, mask in enumerate(beyond):
        if mask.any():
            np.moveaxis(array, axis, 0)[mask] = outside
    return array


def _interpolated(array: Array, axis: int, places: NDArray[np.float64]) -> NDArray[np.float32]:
    """Interpolate along one axis, plane by plane of another."""
    lower = np.floor(places).astype(np.intp)
    upper = np.minimum(lower + 1, array.shape[axis] - 1)
    weight = (places - lower).astype(np.float32)
    across, along = (1, 0) if axis == 0 else (0, axis - 1)
    shape = list(array.shape)
    shape[axis] = len(places)
    result = np.empty(shape, dtype=np.float32)
    planes, results = np.moveaxis(array, across, 0), np.moveaxis(result, across, 0)
    for index, plane in enumerate(planes):
        values = plane.astype(np.float32)
        low, high = values.take(lower, along), values.take(upper, along)
        results[index] = low + np.expand_dims(weight, 1 - along) * (high - low)
    return result


# Pieces of masks, by runs of voxels along x


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Pieces:
    """The connected pieces of a mask.

    Attributes:
        shape_zyx: of the mask.
        starts: of each run in the mask laid in a line, with a row more per slice and two columns.
        stops: likewise.
        piece: which one each run belongs to; pieces are in the order of their first voxels.
        sizes: voxels of each piece.
    """

    shape_zyx: Index3
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    piece: NDArray[np.int64]
    sizes: NDArray[np.int64]

    def mask(self, kept: Mask) -> Mask:
        """Return the mask of some pieces."""
        slices, rows, columns = self.shape_zyx
        runs = kept[self.piece]
        steps = np.zeros(slices * (rows + 1) * (columns + 2), dtype=np.int8)
        steps[self.starts[runs]], steps[self.stops[runs]] = 1, -1
        inside = np.cumsum(steps, dtype=np.int8, out=steps).view(np.bool_)
        return inside.reshape(slices, rows + 1, columns + 2)[:, :rows, 1:-1]


def _pieces(mask: Mask, *, in_slices: bool = False) -> _Pieces:
    """Part a mask: voxels that share a corner belong together; ``in_slices`` those of a slice with a side."""
    _, rows, columns = mask.shape
    line = _in_line(mask)
    edges = np.flatnonzero(line[1:] != line[:-1]) + 1
    starts, stops = edges[::2], edges[1::2]
    below = (1,) if in_slices else (1, rows, rows + 1, rows + 2)
    pairs = [_touching(starts, stops, row * (columns + 2), reach=0 if in_slices else 1) for row in below]
    root = _roots(len(starts), *(np.concatenate(side) for side in zip(*pairs, strict=True)))
    piece = (np.cumsum(root == np.arange(len(root))) - 1)[root]
    sizes = np.bincount(piece, weights=stops - starts).astype(np.int64)
    return _Pieces(shape_zyx=_index3(mask.shape), starts=starts, stops=stops, piece=piece, sizes=sizes)


def _in_line(mask: Mask) -> Mask:
    """Return a mask laid in a line, its rows apart by two voxels and its slices by a row."""
    slices, rows, columns = mask.shape
    wider = np.zeros((slices, rows + 1, columns + 2), dtype=np.bool_)
    wider[:, :rows, 1:-1] = mask
    return wider.ravel()


def _touching(starts: Array, stops: Array, offset: int, *, reach: int) -> tuple[Array, Array]:
    """Return all pairs of runs that meet when the first is moved by an offset and widened by a reach."""
    first = np.searchsorted(stops, starts + offset - reach, side="right")
    last = np.searchsorted(starts, stops + offset + reach, side="left")
    counts = np.maximum(last - first, 0)
    one = np.repeat(np.arange(len(starts)), counts)
    return one, np.arange(len(one)) + np.repeat(first - np.cumsum(counts) + counts, counts)


def _roots(count: int, one: Array, other: Array) -> NDArray[np.int64]:
    """Return the first of all that are joined to each of so many things, given the pairs that are."""
    root = np.arange(count)
    while one.size:
        a, b = root[one], root[other]
        np.minimum.at(root, np.maximum(a, b), np.minimum(a, b))
        while not np.array_equal(further := root[root], root):
            root = further
        apart = root[one] != root[other]
        one, other = one[apart], other[apart]
    return root


def _largest(mask: Mask) -> Mask:
    """Return the largest piece; of equal ones the first."""
    pieces = _pieces(mask)
    return pieces.mask(np.arange(pieces.sizes.size) == (pieces.sizes.argmax() if pieces.sizes.size else 0))


def _connected_to(mask: Mask, seed: Mask) -> Mask:
    """Return the pieces that share a voxel with the seed."""
    pieces = _pieces(mask)
    seeds = np.concatenate([[0], np.cumsum(_in_line(seed), dtype=np.int64)])
    reached = np.zeros(pieces.sizes.shape, dtype=np.bool_)
    reached[pieces.piece[seeds[pieces.stops] > seeds[pieces.starts]]] = True
    return pieces.mask(reached)


def _filled(mask: Mask) -> Mask:
    """Fill the holes of each slice."""
    pieces = _pieces(~mask, in_slices=True)
    _, rows, columns = mask.shape
    row, first = pieces.starts // (columns + 2) % (rows + 1), pieces.starts % (columns + 2)
    last = (pieces.stops - 1) % (columns + 2)
    outside = np.zeros(pieces.sizes.shape, dtype=np.bool_)
    outside[pieces.piece[(row == 0) | (row == rows - 1) | (first == 1) | (last == columns)]] = True
    return mask | pieces.mask(~outside)


# The patient's body


FIXED_THRESHOLD_HU = -500.0
PLAUSIBLE_THRESHOLD_HU = (-800.0, -150.0)
LEAST_PART = 0.005
COARSE_SPACING_MM = 3.0
OTSU_BINS = 256
PLATE_MM = 14.0
LEAST_CUT = 8
PADDING_HU = -1020.0
FAT_HU = -50.0
AIR_HU = -1000.0


def _range_hu(voxels_hu: Array) -> tuple[float, float]:
    low, high = float(voxels_hu.min()), float(voxels_hu.max())
    if not np.isfinite([low, high]).all():
        raise ValueError("the scan holds values that are no numbers")
    if low == high or low > FAT_HU:
        raise ValueError(
            f"no body found: values range from {low:g} to {high:g}; they have to be Hounsfield units (air is "
            "-1000, water 0)"
        )
    return low, high


def _find_body(
    values_hu: Array, grid: _Grid, clip_hu: Sequence[float], *, range_hu: tuple[float, float]
) -> Mask:
    """Return the patient, lungs included; the range is that of the scan before it was resampled."""
    low, high = range_hu
    coarse = _grid_of_spacing(grid, np.maximum(grid.spacing_zyx_mm, COARSE_SPACING_MM))
    coarse_hu = _resampled(values_hu, grid, coarse, outside=low)
    for threshold in _thresholds(values_hu, coarse_hu, clip_hu):
        mask = _body_above(coarse_hu > threshold, coarse.spacing_zyx_mm)
        mask = _closed_where_cut(mask, coarse_hu <= max(low + 1, PADDING_HU))
        if mask.mean() >= LEAST_PART:
            return _resampled(mask, coarse, grid, outside=0.0) >= HALF
    raise ValueError(
        f"no body found: values range from {low:g} to {high:g} HU, and nothing body-sized lies above "
        f"{FIXED_THRESHOLD_HU:g} HU; is this a chest CT?"
    )


def _thresholds(values_hu: Array, coarse_hu: Array, clip_hu: Sequence[float]) -> Iterator[float]:
    least, most = PLAUSIBLE_THRESHOLD_HU
    for values in (values_hu[len(values_hu) // 2], coarse_hu):
        if least <= (threshold := _otsu(values, clip_hu)) <= most:
            yield threshold
    yield FIXED_THRESHOLD_HU


def _otsu(values_hu: Array, clip_hu: Sequence[float]) -> float:
    """Return Otsu's threshold, the middle one where several are as good."""
    counts, edges = np.histogram(np.clip(values_hu, clip_hu[0], clip_hu[1]), bins=OTSU_BINS)
    centres = (edges[:-1] + edges[1:]) / 2
    below, total = counts.cumsum()[:-1], counts.sum()
    sum_below, sum_total = (counts * centres).cumsum()[:-1], (counts * centres).sum()
    between = (sum_total * below - total * sum_below) ** 2 / np.maximum(below * (total - below), 1)
    return float(edges[1:-1][between >= between.max() * (1 - 1e-9)].mean())


def _body_above(above: Mask, spacing_zyx_mm: Array) -> Mask:
    """Return the largest thick piece, with what it encloses."""
    radius_y, radius_x = (max(1, round(PLATE_MM / 2 / s)) for s in spacing_zyx_mm[1:])
    solid = _filled(above)
    thick = _widened(~_widened(~solid, radius_y, radius_x), radius_y, radius_x) & solid
    core = _largest(thick if thick.any() else solid)
    return _enclosed(_widened(core, radius_y, radius_x) & solid)


def _widened(mask: Mask, radius_y: int, radius_x: int) -> Mask:
    for axis, radius in ((1, radius_y), (2, radius_x)):
        given = np.moveaxis(mask, axis, 0)
        mask = mask.copy()
        wide = np.moveaxis(mask, axis, 0)
        for step in range(1, radius + 1):
            wide[step:] |= given[:-step]
            wide[:-step] |= given[step:]
    return mask


def _enclosed(mask: Mask) -> Mask:
    """Return a mask with all that has it on three of four sides in its slice."""
    sides = np.zeros(mask.shape, dtype=np.uint8)
    for axis in (1, 2):
        sides += np.logical_or.accumulate(mask, axis=axis)
        sides += np.flip(np.logical_or.accumulate(np.flip(mask, axis), axis=axis), axis)
    return sides >= 3  # noqa: PLR2004


def _closed_where_cut(mask: Mask, nothing: Mask) -> Mask:
    """Return a mask with its convex hull in each slice in which the field of view cuts the body."""
    beyond = _widened(mask, 1, 1) & nothing
    beyond[:, [0, -1]] = mask[:, [0, -1]]
    beyond[:, :, [0, -1]] = mask[:, :, [0, -1]]
    closed = mask.copy()
    for level in np.flatnonzero(beyond.sum(axis=(1, 2)) >= LEAST_CUT):
        closed[level] = _hull(mask[level])
    return closed


def _hull(mask: Mask) -> Mask:
    """Return the pixels of a slice whose centres lie in the convex hull of the middles of pixels' edges."""
    rows = np.flatnonzero(mask.any(axis=1))
    first = mask[rows].argmax(axis=1)
    last = mask.shape[1] - 1 - mask[rows, ::-1].argmax(axis=1)
    heights = np.concatenate([rows - HALF, rows, rows + HALF])
    between = np.arange(rows[0], rows[-1] + 1)
    left = _lower_hull(heights, np.concatenate([first, first - HALF, first]), between)
    right = -_lower_hull(heights, -np.concatenate([last, last + HALF, last]), between)
    column = np.arange(mask.shape[1])
    hull = np.zeros_like(mask)
    hull[between] = (column >= left[:, None] - 1e-9) & (column <= right[:, None] + 1e-9)
    return hull


def _lower_hull(heights: Array, values: Array, at: Array) -> Array:
    """Return the lower side of the convex hull of points, at some heights (Andrew's monotone chain)."""
    chain: list[tuple[float, float]] = []
    for x, y in sorted(zip(heights.tolist(), values.tolist(), strict=True)):
        while len(chain) > 1 and _turns_right(chain[-2], chain[-1], (x, y)):
            chain.pop()
        if not chain or x > chain[-1][0]:
            chain.append((x, y))
    return np.interp(at, *np.array(chain).T)


def _turns_right(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    return (b[0] - a[0]) * (c[1] - a[1]) <= (b[1] - a[1]) * (c[0] - a[0])


# From the scan to the network's grid, and back


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Prepared:
    """A scan as the network sees it.

    Attributes:
        haloed: 0 (air) to 1, on the padded grid with a voxel of 0 more at every face.
        grid: the padded one; z runs to the head, y to the back, x to the left.
        content: the box of it that is not padding.
        source: the scan's own grid.
    """

    haloed: NDArray[np.float32]
    grid: _Grid
    content: Box
    source: _Grid


def _prepare(voxels_hu: Array, source: _Grid, manifest: Mapping[str, Any]) -> _Prepared:
    preparation, body = manifest["preparation"], manifest["body"]
    range_hu = _range_hu(voxels_hu)
    scan, upright = _upright(voxels_hu, source)
    grid = _grid_of_spacing(upright, preparation["spacing_zyx_mm"])
    values_hu = _resampled(scan, upright, grid, outside=AIR_HU)
    mask = _find_body(values_hu, grid, body["clip_hu"], range_hu=range_hu)
    found = _box_of(mask) if body["crop"] else None
    crop = _whole(grid.shape_zyx) if found is None else found
    low, high = preparation["window_hu"]
    content = (np.clip(values_hu[_slices(crop)], low, high) - np.float32(low)) / np.float32(high - low)
    if body["mask_outside"]:
        content[~mask[_slices(crop)]] = 0
    padding = -np.array(content.shape) % manifest["strides_zyx"][-1]
    return _Prepared(
        haloed=np.pad(content, [(1, 1 + int(after)) for after in padding]),
        grid=grid.cropped(crop + np.array([(0, 0, 0), padding])),
        content=_whole(content.shape),
        source=source,
    )


def _restored(probability: Array, box: Box, prepared: _Prepared) -> tuple[Box, NDArray[np.float32]]:
    """Return a box of the prepared grid on the scan's own, and the probability in it."""
    inside = _within(box, prepared.content[1])
    values, here = probability[_slices(inside - box[0])], prepared.grid.cropped(inside)
    covered = _covered(here, prepared.source)
    if covered is None:
        covered = _nearest_voxel(here, prepared.source)
    return covered, _resampled(values, here, prepared.source.cropped(covered), outside=0.0)


def _nearest_voxel(grid: _Grid, source: _Grid) -> Box:
    middle = grid.lps_from_index @ [*((size - 1) / 2 for size in grid.shape_zyx), 1]
    index = np.linalg.solve(source.lps_from_index, middle)[:3]
    nearest = np.clip(np.rint(index), 0, np.array(source.shape_zyx) - 1).astype(np.int64)
    return np.array([nearest, nearest + 1])


# One organ: its cells, its box, its probability


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Drawing:
    """An organ's probability in a box of cells."""

    box_cells: Box
    probability: NDArray[np.float32]
    regrown: int


def _coarse_cells(probability: Array, settings: Mapping[str, Any]) -> Mask:
    """Return the pieces of enough cells above the organ's threshold, or the largest if none has enough."""
    cells = probability >= settings["threshold"]
    pieces = _pieces(cells)
    large = pieces.sizes >= settings["min_component_cells"]
    return pieces.mask(large) if large.any() else _largest(cells)


def _draw(decode: Callable[[Box], Array], cells: Mask, settings: Mapping[str, Any]) -> _Drawing | None:
    """Decode the organ's box, and larger ones as long as it touches its box and more of it comes to light."""
    tight = _box_of(cells)
    if tight is None:
        return None
    margins = np.array([settings["margin_before_zyx"], settings["margin_after_zyx"]])
    box = _at_least(_grown(tight, margins, cells.shape), settings["min_box_cells"], cells.shape)
    most = settings["regrow_volume"] * _voxels(box)
    drawing = _Drawing(box_cells=box, probability=decode(box), regrown=0)
    for regrown in range(1, settings["regrow_times"] + 1):
        touched = np.array(_faces(drawing.probability >= settings["contact_threshold"]))
        steps = (touched * np.maximum(margins, 1), touched)
        boxes = [_grown(drawing.box_cells, step, cells.shape) for step in steps]
        larger = next((box for box in boxes if _voxels(box) <= most), drawing.box_cells)
        if np.array_equal(larger, drawing.box_cells):
            break
        probability = _joined(decode(larger), larger, drawing)
        if probability is None:
            break
        drawing = _Drawing(box_cells=larger, probability=probability, regrown=regrown)
    return drawing


def _grown(box: Box, margins: Array, shape: Sequence[int]) -> Box:
    return _within(box + margins * [[-1], [1]], shape)


def _at_least(box: Box, cells_per_axis: int, shape: Sequence[int]) -> Box:
    """Return a box grown evenly to a least size, shifted to stay within the grid."""
    size = box[1] - box[0]
    wanted = np.minimum(np.maximum(size, cells_per_axis), shape)
    start = np.minimum(np.maximum(0, box[0] - (wanted - size) // 2), shape - wanted)
    return np.array([start, start + wanted])


def _voxels(box: Box) -> int:
    return int(np.prod(box[1] - box[0]))


def _faces(mask: Mask) -> tuple[list[bool], list[bool]]:
    """Return whether a mask reaches the first and the last face along each axis."""
    first, last = ([bool(mask.take(end, axis).any()) for axis in range(3)] for end in (0, -1))
    return first, last


def _joined(probability: Array, box: Box, smaller: _Drawing) -> NDArray[np.float32] | None:
    """Return a larger box's probability without parts that the smaller drawing does not reach.

    None if nothing else is new, or nothing at all is left.
    """
    scale = np.array(probability.shape) // (box[1] - box[0])
    inner = _slices((smaller.box_cells - box[0]) * scale)
    mask = probability >= HALF
    seed = np.zeros_like(mask)
    seed[inner] = smaller.probability >= HALF
    kept = _connected_to(mask, seed & mask)
    new, new_kept = mask.copy(), kept.copy()
    new[inner] = new_kept[inner] = False
    if not kept.any() or (new.any() and not new_kept.any()):
        return None
    return np.where(mask & ~kept, np.float32(0), probability)


def _finished(
    organ: Mapping[str, Any],
    drawing: _Drawing | None,
    cells: Mask,
    *,
    prepared: _Prepared,
    settings: Mapping[str, Any],
    stride_zyx: Array,
) -> Organ:
    """Return a drawing cleaned and on the scan's own grid, with its flags."""
    if drawing is None:
        return _organ(organ, not_found=True)
    probability, kept, removed = _without_small_parts(drawing.probability, settings["keep_fraction"])
    fine, box = probability >= HALF, drawing.box_cells * stride_zyx
    dice = _coarse_fine_dice(fine, drawing.box_cells, cells)
    place, values = _restored(probability, box, prepared)
    values = values.astype(np.float16)
    volume_ml = float(np.count_nonzero(values >= HALF)) * prepared.source.voxel_volume_ml
    if not volume_ml or dice < settings["reject_dice"]:
        return _organ(organ, not_found=True, coarse_fine_dice=round(dice, 4), coarse_fine_disagree=True)
    cut = _scan_faces(values >= HALF, place, prepared.source)
    return _organ(
        organ,
        place,
        values,
        volume_ml=volume_ml,
        cut_by_scan=cut,
        regrown=drawing.regrown,
        touches_box=_box_faces(fine, box, prepared.content, cut),
        several_components=kept if kept > 1 else 0,
        removed_components=removed,
        coarse_fine_disagree=dice < settings["disagree_dice"],
        coarse_fine_dice=round(dice, 4),
        unusual_volume=_is_unusual(volume_ml, organ["usual_volume_ml"], cut=bool(cut)),
    )


def _organ(
    organ: Mapping[str, Any],
    box: Box | None = None,
    probability: NDArray[np.float16] | None = None,
    *,
    volume_ml: float = 0.0,
    **flags: Any,
) -> Organ:
    return Organ(
        name=organ["name"],
        id=organ["id"],
        box_zyx=box,
        probability=probability,
        volume_ml=volume_ml,
        flags={**NO_FLAGS, **flags},
    )


def _without_small_parts(probability: Array, keep_fraction: float) -> tuple[Array, int, int]:
    """Return the probability without small parts of its mask, and how many parts stayed and went."""
    mask = probability >= HALF
    pieces = _pieces(mask)
    kept = pieces.sizes >= math.ceil(keep_fraction * pieces.sizes.max(initial=0))
    if kept.all():
        return probability, kept.size, 0
    stayed = int(np.count_nonzero(kept))
    return np.where(mask & ~pieces.mask(kept), np.float32(0), probability), stayed, kept.size - stayed


def _coarse_fine_dice(fine: Mask, box_cells: Box, cells: Mask) -> float:
    """Return the Dice of the coarse cells and those that the fine mask reaches."""
    z, y, x = _index3(box_cells[1] - box_cells[0])
    pooled = fine.reshape(z, fine.shape[0] // z, y, fine.shape[1] // y, x, -1).any(axis=(1, 3, 5))
    both = np.count_nonzero(pooled & cells[_slices(box_cells)])
    return float(2 * both / max(1, np.count_nonzero(pooled) + np.count_nonzero(cells)))


def _scan_faces(mask: Mask, box: Box, source: _Grid) -> list[str]:
    """Return the names of the scan's faces that a mask in a box reaches."""
    first, last = _faces(mask)
    first = [touched and start == 0 for touched, start in zip(first, box[0], strict=True)]
    last = [touched and n == stop for touched, stop, n in zip(last, box[1], source.shape_zyx, strict=True)]
    names: list[str] = []
    for pair, axis, backwards in zip(FACES, *_axes_of_patient(source), strict=True):
        ends = (last[axis], first[axis]) if backwards else (first[axis], last[axis])
        names += [name for name, reached in zip(pair, ends, strict=True) if reached]
    return names


def _box_faces(mask: Mask, box: Box, content: Box, cut_by_scan: Sequence[str]) -> list[str]:
    """Return the names of the box's faces that a mask reaches, but for those that are the scan's."""
    inside = _within(box, content[1])
    first, last = _faces(mask[_slices(inside - box[0])])
    names: list[str] = []
    for axis, (low, high) in enumerate(FACES):
        if first[axis] and (inside[0, axis] > 0 or low not in cut_by_scan):
            names.append(low)
        if last[axis] and (inside[1, axis] < content[1, axis] or high not in cut_by_scan):
            names.append(high)
    return names


def _is_unusual(volume_ml: float, usual_ml: Sequence[float] | None, *, cut: bool) -> bool:
    if usual_ml is None:
        return False
    return volume_ml > usual_ml[1] or (volume_ml < usual_ml[0] and not cut)


# As a program


def main(arguments: Sequence[str] | None = None) -> None:
    """Segment the scan in an ``.npz`` file."""
    parser = argparse.ArgumentParser(description="Contours of thoracic organs at risk from a chest CT.")
    parser.add_argument("scan", type=Path, help=".npz with voxels_hu, spacing_zyx_mm, directions_xyz")
    parser.add_argument("out", type=Path, help=".npz to write: label_map, report, and mask_<organ> of each")
    parser.add_argument("--organs", help="only these, as in heart,aorta")
    parser.add_argument("--engine", choices=sorted(ENGINES))
    parser.add_argument("--threads", type=int, default=0)
    given = parser.parse_args(arguments)
    try:
        model = Model(Path(__file__).parent, engine=given.engine, threads=given.threads)
        with np.load(given.scan) as scan:
            parts = {name: scan[name] for name in ("voxels_hu", "spacing_zyx_mm", "directions_xyz")}
        found = model.segment(**parts, organs=given.organs.split(",") if given.organs else None)
    except (ImportError, KeyError, OSError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error
    contents: dict[str, Any] = {f"mask_{name}": found.mask(name) for name in found.organs}
    contents |= {"label_map": found.label_map(), "report": json.dumps(found.report())}
    temporary = given.out.with_name(f".{os.getpid()}-{given.out.name}")
    with temporary.open("wb") as stream:
        np.savez_compressed(stream, **contents)
    temporary.replace(given.out)
    for organ in found.organs.values():
        said = "not found" if organ.flags["not_found"] else f"{organ.volume_ml:8.1f} mL"
        sys.stdout.write(f"{organ.name:<12} {said}\n")


if __name__ == "__main__":
    main()
