import torch

from thoar.core.configuration import Block, Network
from thoar.network.encoder import Encoder


def test_any_list_of_blocks_is_built():
    blocks = (
        Block(channels=3, convolutions=1, stride_zyx=(1, 2, 2)),
        Block(channels=5, convolutions=2),
        Block(channels=4, convolutions=3, stride_zyx=(2, 2, 2), dilation=2),
    )
    levels = Encoder(Network(stem_channels=2, blocks=blocks))(torch.rand(1, 1, 8, 16, 24))
    assert [tuple(level.shape[1:]) for level in levels] == [
        (2, 8, 16, 24), (3, 8, 8, 12), (5, 8, 8, 12), (4, 4, 4, 6)
    ]  # fmt: skip


def test_every_level_is_made_from_the_one_before():
    encoder = Encoder(Network(stem_channels=2))
    image = torch.rand(1, 1, 8, 32, 32)
    levels = encoder(image)
    torch.testing.assert_close(levels[0], encoder.stem(image))
    for before, block, after in zip(levels, encoder.blocks, levels[1:], strict=False):
        torch.testing.assert_close(after, block(before))
