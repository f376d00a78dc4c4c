"""The region of interest: one organ's box, cut out of every encoder level (S12 to S14)."""

from collections.abc import Sequence

from thoar.core.box import Box, Index3
from thoar.network.encoder import KeptLevels, Levels


def crop_levels(levels: KeptLevels, box_zyx: Box, strides_zyx: Sequence[Index3]) -> Levels:
    """Return the box of every level: views, where the levels are tensors.

    Args:
        levels: the encoder's features, finest first.
        box_zyx: in input voxels; its corners are multiples of the coarsest stride and lie inside.
        strides_zyx: input voxels per feature voxel of each level.

    Raises:
        ValueError: if the box is not on multiples of a stride or reaches outside.
    """
    crops: Levels = []
    for level, stride_zyx in zip(levels, strides_zyx, strict=True):
        box = box_zyx.scaled_down(stride_zyx)
        if not Box.of_shape(level.shape[2:]).contains(box):
            raise ValueError(f"{box} reaches outside a level of shape {tuple(level.shape[2:])}")
        crops.append(level[(slice(None), slice(None), *box.slices)])
    return crops
