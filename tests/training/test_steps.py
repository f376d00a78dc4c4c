from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from thoar.core.box import Box
from thoar.core.configuration import (
    Augmentation,
    Block,
    Boxes,
    Configuration,
    Localisation,
    Loss,
    Network,
    Preparation,
    Train,
)
from thoar.core.geometry import Geometry
from thoar.core.labels import SEGTHOR
from thoar.imaging.prepare import PreparationReport
from thoar.inference.localisation import at_least, uncalibrated
from thoar.network.network import build_network
from thoar.training import steps
from thoar.training.cases import TrainingCase, coarse_target
from thoar.training.losses import coarse_loss, fine_loss, mining_alpha, soft_dice
from thoar.training.steps import Context, coarse_step, draw_sample, joint_step

SHAPE = (16, 32, 40)
STRIDE = (2, 8, 8)
JOINT_EPOCH = 9
"""Of 2 coarse and 10 joint ones: predictions are used, alpha is whole."""

CONFIGURATION = Configuration(
    name="narrow",
    preparation=Preparation(spacing_zyx_mm=(3.0, 1.0, 1.0)),
    network=Network(
        stem_channels=2,
        blocks=tuple(
            Block(channels=n, convolutions=2, stride_zyx=s)
            for n, s in [(3, (1, 2, 2)), (4, (2, 2, 2)), (5, (1, 2, 2)), (6, (1, 1, 1))]
        ),
    ),
    localisation=Localisation(min_box_cells=2),
    loss=Loss(mining_ramp_epochs=2),
    boxes=Boxes(union_limit=100.0),
    train=Train(coarse_epochs=2, joint_epochs=10),
)
LOCALISATION = {name: uncalibrated(CONFIGURATION.localisation, name) for name in SEGTHOR.names}


def context(configuration=CONFIGURATION):
    return Context(
        configuration=configuration,
        label_set=SEGTHOR,
        device=torch.device("cpu"),
        cap_cells=dict.fromkeys(SEGTHOR.names, float("inf")),
    )


def labelled_image(absent=()):
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[:, 20:23, 18:21] = 1
    labels[4:12, 4:18, 10:30] = 2
    labels[9:, 18:20, 8:13] = 3
    labels[:, 22:27, 24:30] = 4
    labels[np.isin(labels, list(absent))] = 0
    noise = np.random.default_rng(0).random(SHAPE, dtype=np.float32)
    return (0.4 + 0.1 * labels + 0.1 * noise).astype(np.float32), labels


@pytest.fixture
def case_of(tmp_path: Path):
    def case_of(organs=SEGTHOR.names, absent=()):
        image, labels = labelled_image(absent)
        paths = tmp_path / "case.image.npy", tmp_path / "case.labels.npy"
        np.save(paths[0], image)
        np.save(paths[1], labels)
        return TrainingCase(
            id="case", group="case", key="", organs=tuple(organs), image_path=paths[0], labels_path=paths[1],
            geometry=Geometry.axial(SHAPE, (3.0, 1.0, 1.0)), content_box=Box.of_shape(SHAPE), box_cells={},
            report=PreparationReport(
                threshold_hu=0, threshold_method="", body_ml=0, source_shape_zyx=SHAPE,
                source_spacing_zyx_mm=(3, 1, 1), resampled_shape_zyx=SHAPE, prepared_shape_zyx=SHAPE,
                prepared_spacing_zyx_mm=(3, 1, 1), padding_zyx=(0, 0, 0), outside_voxels=0, reduction=1,
            ),
        )  # fmt: skip

    return case_of


@pytest.fixture
def sample_of(case_of):
    still = with_(CONFIGURATION, augmentation=Augmentation(enabled=False))
    return lambda **options: draw_sample(case_of(**options), context(still), epoch=0)


def with_(configuration, **sections):
    return msgspec.structs.replace(configuration, **sections)


def network_of(configuration=CONFIGURATION):
    torch.manual_seed(0)
    return build_network(configuration.network, SEGTHOR.names).train()


def gradients(module):
    return {name: p.grad for name, p in module.named_parameters() if p.grad is not None}


def in_one_graph(network, sample, run, *, epoch):
    """Add the gradients of one backward pass through encoder, heads and all decoders at once."""
    levels = network.encode(sample.image[None, None])
    maps = network.locate(levels)
    settings = run.configuration.loss
    loss = coarse_loss(maps.probability[0, 1:], sample.coarse, labelled=sample.labelled, loss=settings)
    boxes = steps._boxes(maps, sample, run, epoch=epoch, localisation=LOCALISATION)
    alpha = mining_alpha(settings, joint_epoch=epoch - run.configuration.train.coarse_epochs)
    for name, box in boxes.items():
        target = (sample.labels[box.slices] == SEGTHOR.organ(name).id).float()
        drawn = network.draw(levels, name, box)[0, 0]
        loss = loss + fine_loss(drawn, target, loss=settings, alpha=alpha) / len(boxes)
    loss.backward()
    return boxes


@pytest.mark.parametrize("average", ["sigmoids", "logits"])
@pytest.mark.parametrize("mining", ["weights", "topk", "ohem", "none"])
def test_decoder_by_decoder_gives_the_gradients_of_one_backward_pass(average, mining, sample_of):
    run = context(
        with_(
            CONFIGURATION,
            network=msgspec.structs.replace(CONFIGURATION.network, average=average),
            loss=msgspec.structs.replace(CONFIGURATION.loss, mining=mining),
        )
    )
    network, reference, sample = network_of(run.configuration), network_of(run.configuration), sample_of()
    joint_step(network, sample, run, epoch=JOINT_EPOCH, localisation=LOCALISATION)
    boxes = in_one_graph(reference, sample, run, epoch=JOINT_EPOCH)
    assert set(boxes) == set(SEGTHOR.names)
    found, expected = gradients(network), gradients(reference)
    assert found.keys() == expected.keys() == dict(network.named_parameters()).keys()
    scale = max(g.abs().max() for g in expected.values())
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-5 * scale.item())


def test_a_coarse_step_gives_fine_decoders_no_gradient_and_all_else_one(sample_of):
    network = network_of()
    losses = coarse_step(network, sample_of(), context())
    assert not gradients(network.fine)
    assert len(gradients(network.encoder)) == len(list(network.encoder.parameters()))
    assert len(gradients(network.coarse)) == len(list(network.coarse.parameters()))
    assert all(g.any() for g in gradients(network.coarse).values())
    assert not [name for name in losses if name.startswith("fine")]


def test_separate_encoders_learn_from_their_own_decoders_alone(sample_of):
    network_settings = msgspec.structs.replace(CONFIGURATION.network, encoders="separate")
    run = context(with_(CONFIGURATION, network=network_settings))
    network, sample = network_of(run.configuration), sample_of()
    coarse_step(network, sample, run)
    assert gradients(network.encoder.coarse)
    assert not gradients(network.encoder.fine)
    coarse_alone = {name: g.clone() for name, g in gradients(network.encoder.coarse).items()}
    network.zero_grad()
    joint_step(network, sample, run, epoch=JOINT_EPOCH, localisation=LOCALISATION)
    assert len(gradients(network.encoder.fine)) == len(list(network.encoder.fine.parameters()))
    for name, gradient in gradients(network.encoder.coarse).items():
        torch.testing.assert_close(gradient, coarse_alone[name])


def test_the_background_channel_is_not_trained(sample_of):
    network = network_of()
    joint_step(network, sample_of(), context(), epoch=JOINT_EPOCH, localisation=LOCALISATION)
    for head in network.coarse.heads:
        assert not head.weight.grad[0].any()
        assert head.weight.grad[1:].flatten(1).any(dim=1).all()
        assert head.bias.grad[0] == 0


@pytest.mark.parametrize("how", ["unlabelled", "absent"])
def test_an_organ_that_is_not_labelled_or_not_there_trains_nothing_of_its_own(how, sample_of):
    names = tuple(n for n in SEGTHOR.names if n != "heart")
    sample = sample_of(organs=names) if how == "unlabelled" else sample_of(absent=[2])
    network = network_of()
    losses = joint_step(network, sample, context(), epoch=JOINT_EPOCH, localisation=LOCALISATION)
    assert not gradients(network.fine["heart"])
    assert all(gradients(network.fine[name]) for name in names)
    channel = 1 + SEGTHOR.names.index("heart")
    assert not any(head.weight.grad[channel].any() for head in network.coarse.heads)
    assert not [name for name in losses if name.endswith("heart")]


def test_a_sample_without_any_organ_gives_no_gradient_and_no_error(sample_of):
    network, sample = network_of(), sample_of(absent=[1, 2, 3, 4])
    losses = joint_step(network, sample, context(), epoch=JOINT_EPOCH, localisation=LOCALISATION)
    assert losses == {"coarse": 0.0}
    assert coarse_step(network, sample, context()) == {"coarse": 0.0}
    assert not gradients(network)


def test_an_absent_organ_that_is_suppressed_trains_its_coarse_channel_alone(sample_of):
    run = context(with_(CONFIGURATION, loss=Loss(absent="suppress")))
    network, sample = network_of(), sample_of(absent=[1, 2, 3, 4])
    assert joint_step(network, sample, run, epoch=JOINT_EPOCH, localisation=LOCALISATION)["coarse"] > 0
    assert gradients(network.encoder)
    assert not gradients(network.fine)


@pytest.mark.parametrize("union", ["sum", "literal"])
def test_each_loss_is_logged_beside_the_unweighted_dice(union, sample_of):
    run = context(with_(CONFIGURATION, loss=Loss(union=union, mining_ramp_epochs=0)))
    network, sample = network_of(), sample_of()
    losses = joint_step(network, sample, run, epoch=JOINT_EPOCH, localisation=LOCALISATION)
    with torch.no_grad():
        levels = network.encode(sample.image[None, None])
        maps = network.locate(levels)
        boxes = steps._boxes(maps, sample, run, epoch=JOINT_EPOCH, localisation=LOCALISATION)
        for index, name in enumerate(SEGTHOR.names):
            box = boxes[name]
            target = (sample.labels[box.slices] == SEGTHOR.organ(name).id).float()
            drawn = network.draw(levels, name, box)[0, 0]
            dice = soft_dice(drawn, target, loss=run.configuration.loss).item()
            assert losses[f"fine_dice_{name}"] == pytest.approx(dice, rel=1e-4)
            assert losses[f"fine_{name}"] > (0 if union == "sum" else -1)
            first = soft_dice(maps.heads[0][0, 1 + index], sample.coarse[index], loss=Loss()).item()
            assert losses[f"head1_dice_{name}"] == pytest.approx(first, rel=1e-4)
            most = maps.probability[0, 1 + index].max().item()
            assert losses[f"coarse_max_{name}"] == pytest.approx(most, rel=1e-4)


def test_losses_stay_float32_in_bfloat16_and_gradients_finite(sample_of):
    run = context(with_(CONFIGURATION, train=Train(coarse_epochs=2, precision="bfloat16")))
    network, reference, sample = network_of(), network_of(), sample_of()
    half = joint_step(network, sample, run, epoch=JOINT_EPOCH, localisation=LOCALISATION)
    whole = joint_step(reference, sample, context(), epoch=JOINT_EPOCH, localisation=LOCALISATION)
    assert half["coarse"].item() == pytest.approx(whole["coarse"].item(), rel=0.05)
    assert {g.dtype for g in gradients(network).values()} == {torch.float32}
    assert all(g.isfinite().all() for g in gradients(network).values())


def boxes_in(epoch, sample, *, maps_value=1.0, configuration=CONFIGURATION):
    """Return the training boxes where the coarse map claims every cell of every organ."""
    network = network_of(configuration)
    with torch.no_grad():
        maps = network.locate(network.encode(sample.image[None, None]))
    claimed = maps._replace(probability=torch.full_like(maps.probability, maps_value))
    return steps._boxes(claimed, sample, context(configuration), epoch=epoch, localisation=LOCALISATION)


def test_boxes_come_from_the_truth_at_first_and_from_the_prediction_too_later_on(sample_of):
    tight = with_(CONFIGURATION, boxes=Boxes(jitter_cells=0, wide_probability=0.0, union_limit=1000.0))
    sample = sample_of()
    first, later = (boxes_in(epoch, sample, configuration=tight) for epoch in (2, JOINT_EPOCH))
    for index, name in enumerate(SEGTHOR.names):
        truth = Box.of_mask(sample.coarse[index].numpy() > 0)
        assert truth is not None
        assert first[name] == at_least(truth, 2, Box.of_shape(sample.coarse.shape[1:])).scaled_up(STRIDE)
        assert later[name] == Box.of_shape(SHAPE)
    assert boxes_in(JOINT_EPOCH, sample, maps_value=0.0, configuration=tight) == first


def test_boxes_lie_on_multiples_of_the_total_stride_within_the_sample(sample_of):
    for box in boxes_in(JOINT_EPOCH, sample_of(), maps_value=0.0).values():
        assert Box.of_shape(SHAPE).contains(box)
        assert box.snapped_outward(STRIDE) == box


def test_a_sample_is_the_same_for_the_same_epoch_and_another_in_the_next(case_of):
    case = case_of()
    first, again, other = (draw_sample(case, context(), epoch=epoch) for epoch in (3, 3, 4))
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.labels, again.labels)
    assert first.image.shape != other.image.shape or not torch.equal(first.image, other.image)


def test_coarse_targets_hold_every_cell_with_a_voxel_of_the_organ(sample_of):
    sample = sample_of(organs=("heart", "aorta"))
    assert sample.labelled == [False, True, False, True]
    for organ, target in zip(SEGTHOR.organs, sample.coarse, strict=True):
        expected = coarse_target(sample.labels.numpy(), organ.id, STRIDE)
        assert np.array_equal(target.numpy() > 0, expected)
    assert sample.coarse[2].sum() > 0
