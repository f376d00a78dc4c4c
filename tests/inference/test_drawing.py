from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from thoar.core.box import Box
from thoar.core.configuration import Localisation
from thoar.inference.drawing import Drawing, draw_organ
from thoar.inference.localisation import OrganLocalisation
from thoar.network.network import CoarseToFineNetwork

STRIDE_ZYX = (2, 8, 8)
CELLS = Box.of_shape((40, 8, 10))
GRID = CELLS.scaled_up(STRIDE_ZYX)

Truth = Callable[[Box], np.ndarray]
"""The probability that a decoder sees in a box."""


class Scripted(CoarseToFineNetwork):
    """A network whose decoder sees what a test says, and keeps the boxes it was asked for."""

    def __init__(self, truth: Truth) -> None:
        super().__init__(
            encoder=nn.Identity(), coarse=nn.Identity(), fine={}, strides_zyx=((1, 1, 1), STRIDE_ZYX)
        )
        self.truth = truth
        self.boxes: list[Box] = []

    def draw(self, levels: list[Tensor], organ: str, box_zyx: Box) -> Tensor:  # noqa: ARG002 (a network's own signature)
        self.boxes.append(box_zyx)
        return torch.from_numpy(self.truth(box_zyx).astype(np.float32))[None, None]


def box(*corners: int) -> Box:
    (a, b, c), (d, e, f) = corners[:3], corners[3:]
    return Box(start_zyx=(a, b, c), stop_zyx=(d, e, f))


def whole(*parts: Box, value: float = 1.0) -> np.ndarray:
    probability = np.zeros(GRID.shape_zyx, dtype=np.float32)
    for part in parts:
        probability[part.slices] = value
    return probability


def drawn(
    truth: np.ndarray | Truth,
    seen: Box,
    *,
    margin: int = 2,
    settings: Localisation | None = None,
    content: Box = GRID,
) -> tuple[Drawing, list[Box]]:
    """Return what is drawn where the coarse mask is the box ``seen``, and every box that was decoded."""
    network = Scripted(truth if callable(truth) else lambda box_zyx: truth[box_zyx.slices])
    cells = np.zeros(CELLS.shape_zyx, dtype=bool)
    cells[seen.slices] = True
    margins = (margin, margin, margin)
    drawing = draw_organ(
        network,
        [],
        organ="aorta",
        cells=cells,
        localisation=OrganLocalisation(threshold=0.3, margin_before_zyx=margins, margin_after_zyx=margins),
        settings=settings or Localisation(),
        content=content,
    )
    assert drawing is not None
    return drawing, network.boxes


def placed(drawing: Drawing) -> np.ndarray:
    """Return a drawing's mask on the whole grid."""
    mask = np.zeros(GRID.shape_zyx, dtype=bool)
    mask[drawing.box_zyx.slices] = drawing.probability >= 0.5
    return mask


SEEN = box(18, 3, 4, 22, 5, 6)  # with margins: cells 16..24, 1..7, 2..8
TUBE = box(25, 28, 36, 55, 36, 44)  # voxels; the first box ends at 32 and 48


def test_an_organ_inside_its_box_is_decoded_once() -> None:
    drawing, boxes = drawn(whole(box(36, 28, 36, 44, 36, 44)), SEEN)
    assert drawing.regrown == 0
    assert boxes == [box(32, 8, 16, 48, 56, 64)]


def test_an_organ_cut_by_its_first_box_is_recovered_whole() -> None:
    drawing, boxes = drawn(whole(TUBE), SEEN)
    assert np.array_equal(placed(drawing), whole(TUBE) > 0)
    assert drawing.regrown == 2
    assert drawing.box_zyx == boxes[-1] == box(24, 8, 16, 56, 56, 64)


def test_only_the_touched_face_grows() -> None:
    drawing, boxes = drawn(whole(box(36, 28, 36, 51, 36, 44)), SEEN)
    assert boxes == [box(32, 8, 16, 48, 56, 64), box(32, 8, 16, 52, 56, 64)]
    assert drawing.regrown == 1


def test_a_box_grows_sideways_too() -> None:
    organ = box(36, 28, 12, 44, 36, 44)  # 16 is where the first box begins
    drawing, _ = drawn(whole(organ), SEEN)
    assert drawing.box_zyx == box(32, 8, 0, 48, 56, 64)
    assert np.array_equal(placed(drawing), whole(organ) > 0)


def test_a_box_grows_three_times_at_most() -> None:
    drawing, boxes = drawn(whole(box(0, 28, 36, 80, 36, 44)), SEEN, margin=1)
    assert drawing.regrown == 3
    assert len(boxes) == 4
    assert drawing.box_zyx == box(28, 16, 24, 52, 48, 56)


def test_a_box_never_exceeds_three_first_volumes() -> None:
    settings = Localisation(regrow_times=100)
    drawing, boxes = drawn(whole(box(0, 28, 36, 80, 36, 44)), SEEN, settings=settings)
    assert boxes[-1].voxels <= 3 * boxes[0].voxels
    assert boxes[-1].voxels + 2 * 2 * boxes[0].voxels // 8 > 3 * boxes[0].voxels  # no room for one more
    assert drawing.box_zyx == boxes[-1]


def test_growing_can_be_switched_off() -> None:
    drawing, boxes = drawn(whole(TUBE), SEEN, settings=Localisation(regrow_times=0))
    assert len(boxes) == 1
    assert drawing.regrown == 0


def test_faces_of_the_scan_do_not_grow() -> None:
    drawing, boxes = drawn(whole(box(0, 28, 36, 12, 36, 44)), box(0, 3, 4, 6, 5, 6))
    assert len(boxes) == 1
    assert drawing.regrown == 0
    assert drawing.box_zyx.start_zyx[0] == 0


def test_a_faint_edge_does_not_count_as_contact() -> None:
    truth = np.maximum(whole(box(36, 28, 36, 44, 36, 44)), whole(TUBE, value=0.49))
    assert drawn(truth, SEEN)[0].regrown == 0


def test_a_new_part_that_does_not_touch_the_organ_is_left_out() -> None:
    stranger = box(49, 10, 18, 51, 14, 22)
    drawing, _ = drawn(whole(box(36, 28, 36, 51, 36, 44), stranger), SEEN)
    assert drawing.regrown == 1
    assert drawing.box_zyx.contains(stranger)
    assert np.array_equal(placed(drawing), whole(box(36, 28, 36, 51, 36, 44)) > 0)


def test_a_larger_drawing_whose_new_part_touches_nothing_is_discarded() -> None:
    first, stranger = box(36, 28, 36, 48, 36, 44), box(49, 10, 18, 51, 14, 22)
    shrunk = box(36, 28, 36, 46, 36, 44)

    def truth(box_zyx: Box) -> np.ndarray:
        return (whole(first) if box_zyx.stop_zyx[0] == 48 else whole(shrunk, stranger))[box_zyx.slices]

    drawing, boxes = drawn(truth, SEEN)
    assert len(boxes) == 2
    assert drawing.regrown == 0
    assert drawing.box_zyx == boxes[0]
    assert np.array_equal(placed(drawing), whole(first) > 0)


def test_an_organ_that_vanishes_in_the_larger_box_keeps_its_first_drawing() -> None:
    def truth(box_zyx: Box) -> np.ndarray:
        return (whole(TUBE) if box_zyx.stop_zyx[0] == 48 else whole())[box_zyx.slices]

    drawing, boxes = drawn(truth, SEEN)
    assert len(boxes) == 2
    assert drawing.regrown == 0
    assert (
        placed(drawing).sum()
        == placed(drawn(whole(TUBE), SEEN, settings=Localisation(regrow_times=0))[0]).sum()
    )


def test_an_organ_that_ends_in_the_larger_box_is_taken_from_there() -> None:
    shorter = box(36, 28, 36, 47, 36, 44)

    def truth(box_zyx: Box) -> np.ndarray:
        return (whole(TUBE) if box_zyx.stop_zyx[0] == 48 else whole(shorter))[box_zyx.slices]

    drawing, _ = drawn(truth, SEEN)
    assert drawing.regrown == 1
    assert np.array_equal(placed(drawing), whole(shorter) > 0)


def test_nothing_is_drawn_in_the_padding() -> None:
    content = box(0, 0, 0, 79, 59, 77)
    drawing, _ = drawn(whole(GRID), box(36, 4, 6, 40, 8, 10), content=content)
    mask = placed(drawing)
    assert mask[drawing.box_zyx.slices].any()
    assert not mask[79:].any()
    assert not mask[:, 59:].any()
    assert not mask[:, :, 77:].any()
    assert mask[78, 58, 76]


@pytest.mark.parametrize("times", [0, 1, 2])
def test_boxes_lie_on_multiples_of_the_stride(times: int) -> None:
    _, boxes = drawn(whole(TUBE), SEEN, settings=Localisation(regrow_times=times))
    for decoded in boxes:
        assert decoded.snapped_outward(STRIDE_ZYX) == decoded
