"""The whole network, through the steps of a real run, learns one small phantom by heart.

With ``--log-cli-level=INFO`` it says what docs/explanation/measurements.md writes down.
"""

import logging
import time
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch

from thoar.core.box import Box
from thoar.core.configuration import configuration_from, load_toml
from thoar.core.geometry import Geometry
from thoar.core.labels import SEGTHOR
from thoar.imaging.prepare import PreparationReport
from thoar.inference.localisation import box_of_cells, coarse_mask, uncalibrated
from thoar.metrics.overlap import dice
from thoar.network.network import build_network
from thoar.training.cases import TrainingCase
from thoar.training.steps import Context, Sample, coarse_step, joint_step

_log = logging.getLogger(__name__)


def phantom(shape_zyx):
    """Return HU and labels: a heart, and an aorta, an esophagus and a trachea that run along z."""
    z, y, x = np.meshgrid(*((np.arange(n) + 0.5) / n for n in shape_zyx), indexing="ij")
    hu = np.full(shape_zyx, -80.0)
    hu[(y - 0.5) ** 2 + (x - 0.5) ** 2 > 0.48**2] = -1000.0
    labels = np.zeros(shape_zyx, dtype=np.uint8)
    bend = 0.03 * np.sin(2 * np.pi * z)
    organs = [
        (1, 40.0, (y - 0.72) ** 2 + (x - 0.42 - bend) ** 2 < 0.065**2),
        (4, 250.0, (y - 0.70 - bend) ** 2 + (x - 0.65) ** 2 < 0.08**2),
        (2, 120.0, ((z - 0.3) / 0.25) ** 2 + ((y - 0.38) / 0.2) ** 2 + ((x - 0.55) / 0.24) ** 2 < 1),
        (3, -990.0, ((y - 0.52) ** 2 + (x - 0.45 + bend) ** 2 < 0.07**2) & (z > 0.5)),
    ]
    for label, value, where in organs:
        hu[where], labels[where] = value, label
    return hu + np.random.default_rng(0).normal(0, 5, shape_zyx), labels


def sample_of(shape_zyx, stride_zyx):
    hu, ids = phantom(shape_zyx)
    image = torch.from_numpy(np.clip((hu + 1000) / 2000, 0, 1).astype(np.float32))
    labels = torch.from_numpy(ids)
    masks = torch.stack([(labels == organ.id).float() for organ in SEGTHOR.organs])
    coarse = torch.nn.functional.max_pool3d(masks[None], stride_zyx)[0]
    return Sample(case=a_case(), image=image, labels=labels, coarse=coarse, labelled=[True] * 4)


def a_case():
    return TrainingCase(
        id="phantom", group="phantom", key="", organs=SEGTHOR.names, image_path=Path(), labels_path=Path(),
        geometry=Geometry.axial((1, 1, 1), (1.0, 1.0, 1.0)), content_box=Box.of_shape((1, 1, 1)),
        box_cells={},
        report=PreparationReport(
            threshold_hu=0, threshold_method="", body_ml=0, source_shape_zyx=(1, 1, 1),
            source_spacing_zyx_mm=(1, 1, 1), resampled_shape_zyx=(1, 1, 1), prepared_shape_zyx=(1, 1, 1),
            prepared_spacing_zyx_mm=(1, 1, 1), padding_zyx=(0, 0, 0), outside_voxels=0, reduction=1,
        ),
    )  # fmt: skip


def overfit(recipe, shape_zyx, *, steps, learning_rate):
    """Return network, sample and configuration after a sixth of the steps in stage coarse, the rest joint."""
    values = load_toml(Path(str(files("thoar"))) / "configs" / f"{recipe}.toml")
    configuration = configuration_from(values)
    torch.manual_seed(0)
    network = build_network(configuration.network, SEGTHOR.names).train()
    sample = sample_of(shape_zyx, configuration.network.total_stride_zyx)
    context = Context(
        configuration=configuration,
        label_set=SEGTHOR,
        device=torch.device("cpu"),
        cap_cells=dict.fromkeys(SEGTHOR.names, float("inf")),
    )
    localisation = {name: uncalibrated(configuration.localisation, name) for name in SEGTHOR.names}
    optimiser = torch.optim.Adam(network.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    began = time.perf_counter()
    first = configuration.train.coarse_epochs
    for step in range(steps):
        optimiser.zero_grad(set_to_none=True)
        if step < steps // 6:
            coarse_step(network, sample, context)
        else:
            joint_step(network, sample, context, epoch=first + step, localisation=localisation)
        optimiser.step()
        schedule.step()
    _log.info("%s: %d steps in %.0f s", recipe, steps, time.perf_counter() - began)
    return network.eval(), sample, configuration


def drawings(network, sample, configuration):
    """Yield each organ's name, its box, and its probability there, found and drawn as for a user."""
    settings = configuration.localisation
    with torch.inference_mode():
        levels = network.encode(sample.image[None, None])
        coarse = network.locate(levels).probability[0].numpy()
        for index, name in enumerate(SEGTHOR.names, start=1):
            where = uncalibrated(settings, name)
            cells = coarse_mask(coarse[index], where.threshold, least_cells=settings.min_component_cells)
            cells_box = box_of_cells(cells, where, least_cells_per_axis=settings.min_box_cells)
            assert cells_box is not None, f"{name} is not found"
            box = cells_box.scaled_up(configuration.network.total_stride_zyx)
            everywhere = network.draw(levels, name, Box.of_shape(sample.labels.shape))
            yield name, box, network.draw(levels, name, box)[0, 0].numpy(), everywhere[0, 0].numpy()


def scores(network, sample, configuration):
    result = {}
    for name, box, probability, everywhere in drawings(network, sample, configuration):
        mask = np.zeros(sample.labels.shape, dtype=bool)
        mask[box.slices] = probability >= 0.5
        truth = (sample.labels == SEGTHOR.organ(name).id).numpy()
        result[name] = dice(mask, truth)
        _log.info(
            "%s, box %s: Dice %.3f; decoded everywhere, in the box: Dice %.3f, mean |difference| %.3f",
            name,
            box.shape_zyx,
            result[name],
            dice((everywhere >= 0.5)[box.slices], truth[box.slices]),
            np.abs(everywhere[box.slices] - probability).mean(),
        )
    return result


def test_tiny_learns_a_phantom_by_heart():
    found = scores(*overfit("tiny", (16, 32, 32), steps=120, learning_rate=5e-3))
    assert min(found.values()) > 0.95, found


@pytest.mark.slow
def test_the_papers_network_learns_a_phantom_by_heart():
    found = scores(*overfit("paper", (24, 96, 96), steps=90, learning_rate=1e-3))
    assert min(found.values()) > 0.95, found
