import pytest
import torch
from torch import nn

from thoar.network.blocks import ConvolutionUnit, ResidualBlock, convolution


@pytest.mark.parametrize("size", [7, 8, 9])
@pytest.mark.parametrize("stride_zyx", [(1, 1, 1), (1, 2, 2), (2, 2, 2)])
@pytest.mark.parametrize("dilation", [1, 3, 6])
def test_a_convolution_keeps_the_size_divided_by_its_stride_rounded_up(size, stride_zyx, dilation):
    layer = convolution(1, 2, stride_zyx=stride_zyx, dilation=dilation)
    assert layer(torch.zeros(1, 1, size, size, size)).shape[2:] == tuple(-(-size // s) for s in stride_zyx)


def test_outer_taps_of_a_dilated_convolution_fall_on_zeros_in_a_short_scan():
    layer = convolution(1, 1, dilation=6)
    nn.init.ones_(layer.weight)
    image = torch.rand(1, 1, 3, 3, 3)
    torch.testing.assert_close(layer(image), image)


def test_a_unit_is_convolution_norm_and_relu():
    assert [type(layer) for layer in ConvolutionUnit(3, 4)] == [nn.Conv3d, nn.InstanceNorm3d, nn.ReLU]


def test_a_residual_block_is_post_activated():
    block = ResidualBlock(4, 8, convolutions=3, stride_zyx=(2, 2, 2), dilation=3)
    conv, norm, relu = nn.Conv3d, nn.InstanceNorm3d, nn.ReLU
    assert [type(layer) for layer in block.residual] == [conv, norm, relu, conv, norm, relu, conv, norm]
    features = torch.randn(1, 4, 8, 8, 8)
    expected = torch.relu(block.residual(features) + block.shortcut(features))
    torch.testing.assert_close(block(features), expected)


def test_the_stride_sits_in_the_first_convolution_and_the_dilation_in_all():
    block = ResidualBlock(4, 8, convolutions=3, stride_zyx=(1, 2, 2), dilation=3)
    layers = [layer for layer in block.residual if isinstance(layer, nn.Conv3d)]
    assert [layer.stride for layer in layers] == [(1, 2, 2), (1, 1, 1), (1, 1, 1)]
    assert [layer.dilation for layer in layers] == [(3, 3, 3)] * 3


@pytest.mark.parametrize(
    ("channels_in", "stride_zyx", "identity"),
    [(8, (1, 1, 1), True), (4, (1, 1, 1), False), (8, (1, 2, 2), False)],
)
def test_the_shortcut_is_the_identity_only_where_the_shape_is_kept(channels_in, stride_zyx, identity):
    block = ResidualBlock(channels_in, 8, stride_zyx=stride_zyx, dilation=3)
    if identity:
        assert isinstance(block.shortcut, nn.Identity)
        return
    projection, norm = block.shortcut
    assert isinstance(norm, nn.InstanceNorm3d)
    assert (projection.kernel_size, projection.stride, projection.dilation) == (
        (3, 3, 3),
        stride_zyx,
        (1,) * 3,
    )


@pytest.mark.parametrize("stride_zyx", [(1, 1, 1), (1, 2, 2), (2, 2, 2)])
def test_a_shortcut_of_kernel_1_projects_the_voxels_that_the_stride_keeps(stride_zyx):
    block = ResidualBlock(4, 8, stride_zyx=stride_zyx, shortcut_kernel=1)
    projection, norm = block.shortcut
    assert projection.weight.shape == (8, 4, 1, 1, 1)
    features = torch.randn(1, 4, 6, 8, 10)
    kept = features[(..., *(slice(None, None, s) for s in stride_zyx))]
    expected = norm(torch.einsum("oi,bizyx->bozyx", projection.weight[..., 0, 0, 0], kept))
    torch.testing.assert_close(block.shortcut(features), expected)


def test_a_block_leaves_its_input_as_it_was():
    features = torch.randn(1, 4, 6, 6, 6)
    before = features.clone()
    ResidualBlock(4, 4)(features)
    assert torch.equal(features, before)
