import pytest
import torch

from thoar.core.box import Box
from thoar.core.configuration import Network
from thoar.network.roi import crop_levels

STRIDES = Network().stride_zyx_of_levels
IMAGE = (8, 32, 40)


@pytest.fixture
def levels():
    """Each voxel holds its own index, in voxels of the image."""
    made = []
    for stride in STRIDES:
        axes = [torch.arange(n // s) * float(s) for n, s in zip(IMAGE, stride, strict=True)]
        made.append(torch.stack(torch.meshgrid(*axes, indexing="ij"))[None])
    return made


def test_every_level_is_cropped_to_the_same_part_of_the_image(levels):
    box = Box(start_zyx=(2, 8, 16), stop_zyx=(6, 32, 40))
    for crop, stride in zip(crop_levels(levels, box, STRIDES), STRIDES, strict=True):
        assert crop.shape[2:] == tuple(n // s for n, s in zip(box.shape_zyx, stride, strict=True))
        assert tuple(crop[0, :, 0, 0, 0].tolist()) == box.start_zyx
        assert (crop[0, :, -1, -1, -1] + torch.tensor(stride)).tolist() == list(box.stop_zyx)


def test_the_box_of_the_whole_image_changes_nothing(levels):
    crops = crop_levels(levels, Box.of_shape(IMAGE), STRIDES)
    assert all(torch.equal(a, b) for a, b in zip(crops, levels, strict=True))


def test_crops_are_views(levels):
    crops = crop_levels(levels, Box(start_zyx=(2, 8, 16), stop_zyx=(6, 32, 40)), STRIDES)
    storages = [
        (a.untyped_storage().data_ptr(), b.untyped_storage().data_ptr())
        for a, b in zip(crops, levels, strict=True)
    ]
    assert all(a == b for a, b in storages)


@pytest.mark.parametrize(
    ("start_zyx", "stop_zyx"),
    [((1, 8, 8), (4, 16, 16)), ((2, 8, 8), (4, 16, 20)), ((2, 4, 8), (4, 16, 16)), ((0, 0, 0), (3, 32, 40))],
)
def test_a_box_off_the_multiples_of_the_stride_is_refused(levels, start_zyx, stop_zyx):
    with pytest.raises(ValueError, match="multiples"):
        crop_levels(levels, Box(start_zyx=start_zyx, stop_zyx=stop_zyx), STRIDES)


@pytest.mark.parametrize(
    ("start_zyx", "stop_zyx"),
    [((0, 0, 0), (8, 32, 48)), ((0, 0, 0), (10, 32, 40)), ((-2, 0, 0), (8, 32, 40)), ((0, -8, 0), (4, 8, 8))],
)
def test_a_box_that_reaches_outside_is_refused(levels, start_zyx, stop_zyx):
    with pytest.raises(ValueError, match="outside"):
        crop_levels(levels, Box(start_zyx=start_zyx, stop_zyx=stop_zyx), STRIDES)


def test_a_level_too_many_or_too_few_is_refused(levels):
    with pytest.raises(ValueError, match="zip"):
        crop_levels(levels[:-1], Box.of_shape(IMAGE), STRIDES)
