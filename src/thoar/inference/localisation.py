"""From the coarse map to one box per organ (S11, S12), and how a box grows."""

import msgspec
import numpy as np
from jaxtyping import Bool, Float32
from scipy import ndimage

from thoar.core.box import Box, Index3
from thoar.core.configuration import Localisation
from thoar.imaging.components import components_of_at_least, largest_component


class OrganLocalisation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one organ is found in its coarse map; calibrated on validation cases after training.

    Attributes:
        threshold: least coarse probability that counts.
        margin_before_zyx: coarse cells added before the box's start.
        margin_after_zyx: coarse cells added after its stop.

    Raises:
        ValueError: for a threshold outside 0 to 1 (0 would invent absent organs) or a negative margin.
    """

    threshold: float
    margin_before_zyx: Index3
    margin_after_zyx: Index3

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold {self.threshold} does not lie in 0..1")
        if min(*self.margin_before_zyx, *self.margin_after_zyx) < 0:
            raise ValueError(
                f"margins {self.margin_before_zyx} and {self.margin_after_zyx} must not be negative"
            )


def uncalibrated(configuration: Localisation, organ: str) -> OrganLocalisation:
    """Return an organ's localisation as the configuration states it, the same margin at every face."""
    margin = configuration.organ_margin_cells.get(organ, configuration.margin_cells)
    return OrganLocalisation(
        threshold=configuration.organ_threshold.get(organ, configuration.threshold),
        margin_before_zyx=(margin, margin, margin),
        margin_after_zyx=(margin, margin, margin),
    )


def coarse_mask(
    probability: Float32[np.ndarray, "z y x"], least_probability: float, *, least_cells: int
) -> Bool[np.ndarray, "z y x"]:
    """Return the coarse cells taken for the organ.

    Every 26-connected component of at least ``least_cells`` cells, or the largest if none is so large.
    The least probability is absolute: an absent organ gives an empty mask.
    """
    cells = probability >= least_probability
    large = components_of_at_least(cells, least_cells)
    return large if large.any() else largest_component(cells)


def box_of_cells(
    cells: Bool[np.ndarray, "z y x"], localisation: OrganLocalisation, *, least_cells_per_axis: int
) -> Box | None:
    """Return the organ's box in coarse cells, margins added, inside the grid; None without any cell."""
    tight = Box.of_mask(cells)
    if tight is None:
        return None
    grid = Box.of_shape(cells.shape)
    wide = tight.expanded(localisation.margin_before_zyx, localisation.margin_after_zyx)
    return at_least(_inside(wide, grid), least_cells_per_axis, grid)


def at_least(box: Box, cells_per_axis: int, grid: Box) -> Box:
    """Return the box grown evenly to a least size per axis, shifted to stay within the grid."""
    start: list[int] = []
    stop: list[int] = []
    for a, b, size in zip(box.start_zyx, box.stop_zyx, grid.stop_zyx, strict=True):
        wanted = min(max(b - a, cells_per_axis), size)
        first = min(max(0, a - (wanted - (b - a)) // 2), size - wanted)
        start.append(first)
        stop.append(first + wanted)
    return Box(start_zyx=(start[0], start[1], start[2]), stop_zyx=(stop[0], stop[1], stop[2]))


def touched_faces(mask: Bool[np.ndarray, "z y x"]) -> tuple[Index3, Index3]:
    """Return 1 for every face of an array that a mask reaches: (before z, y, x), (after z, y, x)."""
    before = [int(mask.take(0, axis).any()) for axis in range(3)]
    after = [int(mask.take(-1, axis).any()) for axis in range(3)]
    return (before[0], before[1], before[2]), (after[0], after[1], after[2])


def grown_box(
    box_cells: Box,
    mask: Bool[np.ndarray, "z y x"],
    localisation: OrganLocalisation,
    *,
    grid: Box,
    most_cells: float,
) -> Box:
    """Return the box grown at every face that the mask reaches, within the grid.

    By one margin, or by one cell where that would be too much; the box itself where even that is.

    Args:
        box_cells: the box in coarse cells.
        mask: the fine mask inside that box, at full resolution.
        localisation: the organ's margins; a margin of 0 still grows by one cell.
        grid: the coarse cells there are.
        most_cells: that the box may have.
    """
    before, after = touched_faces(mask)
    one = (1, 1, 1)
    for margins in ((localisation.margin_before_zyx, localisation.margin_after_zyx), (one, one)):
        grow_before = [t * max(1, m) for t, m in zip(before, margins[0], strict=True)]
        grow_after = [t * max(1, m) for t, m in zip(after, margins[1], strict=True)]
        larger = _inside(box_cells.expanded(grow_before, grow_after), grid)
        if larger.voxels <= most_cells:
            return larger
    return box_cells


def connected_to(
    mask: Bool[np.ndarray, "z y x"], seed: Bool[np.ndarray, "z y x"]
) -> Bool[np.ndarray, "z y x"]:
    """Return the mask's 26-connected components that share a voxel with the seed."""
    labels = np.empty(mask.shape, dtype=np.int32)
    ndimage.label(mask, structure=np.ones((3, 3, 3), dtype=bool), output=labels)
    touching = np.unique(labels[seed & mask])
    return np.isin(labels, touching[touching > 0])


def _inside(box: Box, grid: Box) -> Box:
    inside = box.intersection(grid)
    if inside is None:
        raise ValueError(f"{box} lies outside the grid {grid}")
    return inside
