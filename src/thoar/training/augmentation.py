"""Random changes of a training case: a parameter record is drawn, then applied on torch.

The same record gives the same sample again, on the same device. Left and right are exchanged only for label
sets in which every organ has its twin: elsewhere a mirrored chest is somebody else's.
"""

import math

import msgspec
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from thoar.core.box import Box
from thoar.core.configuration import Augmentation, Preparation
from thoar.core.labels import LabelSet

Triple = tuple[float, float, float]


class AugmentationParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One drawn change; the defaults change nothing.

    Attributes:
        rotation_degrees_zyx: about each axis.
        scale_zyx: organs become so many times as large.
        elastic_mm: standard deviation of the smooth displacements.
        elastic_seed: of their control points.
        shift_hu: added.
        gain: factor on HU.
        contrast_gain: factor on what exceeds the knee.
        noise_hu: standard deviation of white noise.
        noise_seed: of it.
        blur_mm: standard deviation of the in-plane blur.
        thick_slices_mm: slices are averaged over this thickness.
        cells_z: first and last-plus-one coarse slice that is seen; None for all.
        mirrored: whether left and right are exchanged.
    """

    rotation_degrees_zyx: Triple = (0.0, 0.0, 0.0)
    scale_zyx: Triple = (1.0, 1.0, 1.0)
    elastic_mm: float = 0.0
    elastic_seed: int = 0
    shift_hu: float = 0.0
    gain: float = 1.0
    contrast_gain: float = 1.0
    noise_hu: float = 0.0
    noise_seed: int = 0
    blur_mm: float = 0.0
    thick_slices_mm: float = 0.0
    cells_z: tuple[int, int] | None = None
    mirrored: bool = False


def draw_augmentation(
    rng: np.random.Generator, ranges: Augmentation, *, coarse_slices: int
) -> AugmentationParameters:
    """Draw one change.

    Args:
        rng: the sample's own stream.
        ranges: what may happen how often.
        coarse_slices: of the whole case.
    """

    def happens() -> bool:
        return bool(rng.random() < ranges.probability)

    def between(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    def triple(draws: list[float]) -> Triple:
        return (draws[0], draws[1], draws[2])

    turned, scaled, bent = happens(), happens(), happens()
    angles = [between(-a, a) * turned for a in ranges.rotation_degrees_zyx]
    sizes = [math.exp(between(-1, 1) * math.log1p(ranges.scale) * scaled) for _ in range(3)]
    elastic_mm = between(0, ranges.elastic_mm) * bent
    low, high = ranges.contrast_gain
    return AugmentationParameters(
        rotation_degrees_zyx=triple(angles),
        scale_zyx=triple(sizes),
        elastic_mm=elastic_mm,
        elastic_seed=int(rng.integers(2**31)),
        shift_hu=between(-ranges.shift_hu, ranges.shift_hu) * happens(),
        gain=1 + between(-ranges.gain, ranges.gain) * happens(),
        contrast_gain=between(low, high) if happens() else 1.0,
        noise_hu=between(0, ranges.noise_hu) * happens(),
        noise_seed=int(rng.integers(2**31)),
        blur_mm=between(0, ranges.blur_mm) * happens(),
        thick_slices_mm=between(0, ranges.thick_slices_mm) * happens(),
        cells_z=_draw_cells(rng, ranges, coarse_slices),
        mirrored=ranges.mirror_probability > 0 and bool(rng.random() < ranges.mirror_probability),
    )


def _draw_cells(rng: np.random.Generator, ranges: Augmentation, coarse_slices: int) -> tuple[int, int] | None:
    most = min(coarse_slices, ranges.longest_scan_cells or coarse_slices)
    short = rng.random() < ranges.short_scan_probability
    if short and most > ranges.short_scan_cells:
        length = int(rng.integers(ranges.short_scan_cells, most))
    elif most < coarse_slices:
        length = most
    else:
        return None
    first = int(rng.integers(0, coarse_slices - length + 1))
    return first, first + length


def augment(
    image: Float[Tensor, "z y x"],
    labels: UInt8[Tensor, "z y x"],
    *,
    parameters: AugmentationParameters,
    ranges: Augmentation,
    preparation: Preparation,
    stride_z: int,
    label_set: LabelSet | None = None,
) -> tuple[Float[Tensor, "z2 y x"], UInt8[Tensor, "z2 y x"]]:
    """Return the changed case; image values stay within 0 to 1.

    Args:
        image: prepared, 0 to 1.
        labels: ids on the same grid; each is moved by linear interpolation of its own mask.
        parameters: what to change.
        ranges: for the distance of control points and the knee.
        preparation: voxel size, and the window that 0 to 1 stands for.
        stride_z: voxels per coarse slice.
        label_set: says which labels change places where left and right are exchanged.
    """
    if parameters.mirrored and label_set is not None:
        image, labels = image.flip(-1), _with_pairs_exchanged(labels.flip(-1), label_set)
    if parameters.cells_z is not None:
        first, last = (cell * stride_z for cell in parameters.cells_z)
        image, labels = image[first:last], labels[first:last]
    if _moves(parameters):
        grid = _sampling_grid(image, parameters, ranges=ranges, spacing_zyx_mm=preparation.spacing_zyx_mm)
        image, labels = _sampled(image, grid), _sampled_labels(labels, grid)
    return _with_new_values(image, parameters, ranges=ranges, preparation=preparation), labels


def _with_pairs_exchanged(labels: Tensor, label_set: LabelSet) -> Tensor:
    exchanged = labels.clone()
    for one, other in label_set.symmetric_pairs:
        first, second = label_set.organ(one).id, label_set.organ(other).id
        exchanged[labels == first], exchanged[labels == second] = second, first
    return exchanged


def _moves(parameters: AugmentationParameters) -> bool:
    still = AugmentationParameters()
    return any(
        getattr(parameters, name) != getattr(still, name)
        for name in ("rotation_degrees_zyx", "scale_zyx", "elastic_mm")
    )


def _sampling_grid(
    image: Tensor, parameters: AugmentationParameters, *, ranges: Augmentation, spacing_zyx_mm: Triple
) -> Float[Tensor, "1 z y x 3"]:
    """Return where each voxel of the result is read from, in ``grid_sample``'s (x, y, z), −1 to 1."""
    shape = image.shape
    extent_mm = [n * s for n, s in zip(shape, spacing_zyx_mm, strict=True)]
    axes = [
        (torch.arange(n, device=image.device, dtype=torch.float32) + 0.5) * s - e / 2
        for n, s, e in zip(shape, spacing_zyx_mm, extent_mm, strict=True)
    ]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    inverse = torch.from_numpy(np.linalg.inv(_affine(parameters))).to(points)
    points = points @ inverse.T
    if parameters.elastic_mm:
        points += _displacement_mm(shape, parameters, ranges.elastic_period_mm, extent_mm).to(points)
    half_extent = torch.tensor(extent_mm, device=image.device) / 2
    return (points / half_extent).flip(-1)[None]


def _affine(parameters: AugmentationParameters) -> np.ndarray:
    z, y, x = np.deg2rad(parameters.rotation_degrees_zyx)
    about_z = np.array([[1, 0, 0], [0, np.cos(z), -np.sin(z)], [0, np.sin(z), np.cos(z)]])
    about_y = np.array([[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[np.cos(x), -np.sin(x), 0], [np.sin(x), np.cos(x), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x @ np.diag(parameters.scale_zyx)


def _displacement_mm(
    shape: torch.Size, parameters: AugmentationParameters, period_mm: float, extent_mm: list[float]
) -> Float[Tensor, "z y x 3"]:
    generator = torch.Generator().manual_seed(parameters.elastic_seed)
    controls = [max(2, round(e / period_mm) + 1) for e in extent_mm]
    coarse = torch.randn((1, 3, *controls), generator=generator) * parameters.elastic_mm
    fine = functional.interpolate(coarse, size=tuple(shape), mode="trilinear", align_corners=True)
    return fine[0].permute(1, 2, 3, 0)


def _sampled(image: Tensor, grid: Tensor) -> Tensor:
    return functional.grid_sample(image[None, None], grid, mode="bilinear", align_corners=False)[0, 0]


def _sampled_labels(labels: Tensor, grid: Tensor) -> Tensor:
    result = torch.zeros_like(labels)
    for label in labels.unique().tolist():
        mask = labels == label
        part = _reading(grid, mask) if label else None
        if part is not None:
            sampled = _sampled(mask.float(), grid[:, *part.slices])
            result[part.slices][sampled >= 0.5] = label  # noqa: PLR2004 (half a voxel)
    return result


def _reading(grid: Tensor, mask: Tensor) -> Box | None:
    """Return the box of all results that are read from a mask's voxels or their neighbours: most are not."""
    source = _box_of(mask)
    if source is None:
        return None
    near = torch.ones(grid.shape[1:4], dtype=torch.bool, device=grid.device)
    for axis, (first, stop, size) in enumerate(
        zip(source.start_zyx, source.stop_zyx, mask.shape, strict=True)
    ):
        places = grid[0, ..., 2 - axis]
        near &= (places >= (2 * first - 3) / size - 1) & (places <= (2 * stop + 3) / size - 1)
    return _box_of(near)


def _box_of(mask: Tensor) -> Box | None:
    """Return the smallest box around a mask's true voxels, searched where the mask lies."""
    rows = mask.any(dim=2)
    hits = [rows.any(dim=1).nonzero(), rows.any(dim=0).nonzero(), mask.any(dim=0).any(dim=0).nonzero()]
    if not len(hits[0]):
        return None
    z, y, x = ((int(each[0]), int(each[-1]) + 1) for each in hits)
    return Box(start_zyx=(z[0], y[0], x[0]), stop_zyx=(z[1], y[1], x[1]))


def _with_new_values(
    image: Tensor, parameters: AugmentationParameters, *, ranges: Augmentation, preparation: Preparation
) -> Tensor:
    low, high = preparation.window_hu
    hu = image * (high - low) + low
    air = image <= 0
    if parameters.contrast_gain != 1:
        above = (hu - ranges.contrast_knee_hu).clamp_min(0)
        hu = hu + (parameters.contrast_gain - 1) * above
    hu = hu * parameters.gain + parameters.shift_hu
    dz, dy, dx = preparation.spacing_zyx_mm
    sigma_y, sigma_x = parameters.blur_mm / dy, parameters.blur_mm / dx
    hu = _blurred(_blurred(hu, sigma_y, axis=1), sigma_x, axis=2)
    hu = _averaged_slices(hu, parameters.thick_slices_mm / dz)
    if parameters.noise_hu:
        generator = torch.Generator(hu.device).manual_seed(parameters.noise_seed)
        hu = hu + torch.randn(hu.shape, generator=generator, device=hu.device) * parameters.noise_hu
    return torch.where(air, image, (hu - low) / (high - low)).clamp(0, 1)


def _blurred(values: Tensor, sigma: float, *, axis: int) -> Tensor:
    if sigma < 0.2:  # noqa: PLR2004 (less than a voxel's neighbour would notice)
        return values
    reach = math.ceil(3 * sigma)
    offsets = torch.arange(-reach, reach + 1, dtype=values.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    return _filtered(values, kernel / kernel.sum(), axis=axis)


def _averaged_slices(values: Tensor, slices: float) -> Tensor:
    """Return the mean over so many slices: of the outermost two, only the part that the thickness covers."""
    if slices <= 1:
        return values
    reach = math.ceil((slices - 1) / 2)
    offsets = torch.arange(-reach, reach + 1, dtype=values.dtype)
    covered = (slices / 2 + 0.5 - offsets.abs()).clamp(0, 1)
    return _filtered(values, covered / slices, axis=0)


def _filtered(values: Tensor, kernel: Tensor, *, axis: int) -> Tensor:
    """Return values convolved along one axis, edges repeated.

    As a sum of shifted copies: the same bits as a CPU's convolution of one channel, many times faster.
    """
    reach, length = len(kernel) // 2, values.shape[axis]
    margins = [0] * (2 * values.ndim)
    margins[-2 * (axis + 1)], margins[-2 * axis - 1] = reach, reach  # pad counts axes from the last
    padded = functional.pad(values[None, None], margins, mode="replicate")[0, 0]
    total = torch.zeros_like(values)
    for offset, weight in enumerate(kernel.tolist()):
        total.add_(padded.narrow(axis, offset, length), alpha=weight)
    return total
