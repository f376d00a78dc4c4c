"""One organ's fine mask from the levels of the one encoder pass, its box growing where it is touched."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32

from thoar.core.box import Box
from thoar.core.configuration import Localisation
from thoar.inference.localisation import OrganLocalisation, box_of_cells, connected_to, grown_box
from thoar.network.encoder import KeptLevels
from thoar.network.network import CoarseToFineNetwork


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drawing:
    """One organ on the prepared grid.

    Attributes:
        box_zyx: in prepared voxels, on multiples of the total stride.
        probability: inside the box.
        regrown: how often the box grew.
    """

    box_zyx: Box
    probability: Float32[np.ndarray, "z y x"]
    regrown: int = 0


def draw_organ(
    network: CoarseToFineNetwork,
    levels: KeptLevels,
    *,
    organ: str,
    cells: Bool[np.ndarray, "z y x"],
    localisation: OrganLocalisation,
    settings: Localisation,
    content: Box,
    fitting: Callable[[Box], CoarseToFineNetwork] | None = None,
) -> Drawing | None:
    """Return one organ's drawing, or None where the coarse mask is empty.

    The fine mask that reaches a face of its box, unless that is a face of the grid, makes the box grow there
    by one margin and the organ is decoded again from the same levels: at most ``settings.regrow_times``
    times and to ``settings.regrow_volume`` first boxes. A larger drawing whose new part is not connected to
    the organ is discarded; method.md, point 2 of what the architecture makes possible.

    Args:
        network: in evaluation mode.
        levels: of one scan (batch 1).
        organ: its name.
        cells: its coarse mask.
        localisation: its margins.
        settings: limits of boxes and of their growth.
        content: the part of the prepared grid that is not padding; there are no organs outside.
        fitting: returns the network in a setting whose memory suffices for a box of prepared voxels; the
            network as it is where None.
    """

    def decoded(box_cells: Box) -> Drawing:
        box_zyx = box_cells.scaled_up(network.strides_zyx[-1])
        fit = network if fitting is None else fitting(box_zyx)
        return _decoded(fit, levels, organ=organ, box=box_zyx, content=content)

    box = box_of_cells(cells, localisation, least_cells_per_axis=settings.min_box_cells)
    if box is None:
        return None
    grid, most_cells = Box.of_shape(cells.shape), settings.regrow_volume * box.voxels
    drawing = decoded(box)
    for regrown in range(1, settings.regrow_times + 1):
        contact = drawing.probability >= settings.contact_threshold
        larger = grown_box(box, contact, localisation, grid=grid, most_cells=most_cells)
        if larger == box:
            break
        redrawn = decoded(larger)
        joined = _joined(redrawn, drawing)
        if joined is None:
            break
        box, drawing = larger, Drawing(box_zyx=redrawn.box_zyx, probability=joined, regrown=regrown)
    return drawing


def _decoded(
    network: CoarseToFineNetwork, levels: KeptLevels, *, organ: str, box: Box, content: Box
) -> Drawing:
    drawn: torch.Tensor = network.draw(levels, organ, box)
    probability = np.zeros(box.shape_zyx, dtype=np.float32)
    inside = box.intersection(content)
    if inside is not None:
        part = inside.shifted([-s for s in box.start_zyx]).slices
        probability[part] = drawn[0, 0][part].float().cpu().numpy()
    return Drawing(box_zyx=box, probability=probability)


def _joined(larger: Drawing, smaller: Drawing) -> Float32[np.ndarray, "z y x"] | None:
    """Return the larger drawing without parts that the smaller does not reach.

    None if nothing else is new, or nothing at all is left.
    """
    inner = smaller.box_zyx.shifted([-s for s in larger.box_zyx.start_zyx]).slices
    mask = larger.probability >= 0.5  # noqa: PLR2004 (what a mask is)
    seed = np.zeros_like(mask)
    seed[inner] = smaller.probability >= 0.5  # noqa: PLR2004
    kept = connected_to(mask, seed)
    new, new_kept = mask.copy(), kept.copy()
    new[inner] = new_kept[inner] = False
    if not kept.any() or (new.any() and not new_kept.any()):
        return None
    return np.where(mask & ~kept, np.float32(0), larger.probability)
