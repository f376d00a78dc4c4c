"""Training cases of any size that nobody has to own: random bodies with an ellipsoid for every organ."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from thoar.core.box import Box, Index3
from thoar.core.configuration import Configuration
from thoar.core.geometry import Geometry
from thoar.core.labels import SEGTHOR
from thoar.imaging.prepare import PreparationReport
from thoar.training.cases import TrainingCase, coarse_target

PLACES: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "aorta": ((0.05, 0.30, 0.40), (0.87, 0.85, 0.65)),
    "esophagus": ((0.15, 0.55, 0.42), (0.83, 0.82, 0.60)),
    "trachea": ((0.62, 0.35, 0.38), (0.96, 0.62, 0.60)),
    "heart": ((0.18, 0.15, 0.35), (0.59, 0.63, 0.77)),
}
"""First and last part of the scan, along each axis, that an organ takes: as in the sample CT."""


def made_cases(
    work: Path, configuration: Configuration, shape_zyx: Index3, *, count: int
) -> list[TrainingCase]:
    """Return different cases of a shape, made anew where the folder does not hold them.

    Args:
        work: where they are kept.
        configuration: whose spacing and stride they have.
        shape_zyx: at least; each axis is made a multiple of the stride.
        count: how many.
    """
    strides = configuration.network.total_stride_zyx
    z, y, x = (-(-n // stride) * stride for n, stride in zip(shape_zyx, strides, strict=True))
    return [_made_case(work, configuration, (z, y, x), number) for number in range(count)]


def _made_case(work: Path, configuration: Configuration, shape: Index3, number: int) -> TrainingCase:
    name = f"body-{'x'.join(map(str, shape))}-{number}"
    image_path, labels_path = work / f"{name}.image.npy", work / f"{name}.labels.npy"
    labels = labels_of(shape)
    if not (image_path.exists() and labels_path.exists()):
        work.mkdir(parents=True, exist_ok=True)
        np.save(image_path, image_of(shape, labels, np.random.default_rng(number)))
        np.save(labels_path, labels)
    spacing, stride = configuration.preparation.spacing_zyx_mm, configuration.network.total_stride_zyx
    boxes = {o.name: Box.of_mask(coarse_target(labels, o.id, stride)) for o in SEGTHOR.organs}
    return TrainingCase(
        id=name,
        group=name,
        key=name,
        organs=SEGTHOR.names,
        image_path=image_path,
        labels_path=labels_path,
        geometry=Geometry.axial(shape, spacing),
        content_box=Box.of_shape(shape),
        box_cells={organ: box for organ, box in boxes.items() if box is not None},
        report=_no_report(shape, spacing),
    )


def labels_of(shape_zyx: Index3) -> np.ndarray:
    """Return an ellipsoid for every organ in its place."""
    labels = np.zeros(shape_zyx, dtype=np.uint8)
    for name, (first, last) in PLACES.items():
        axes = [
            ((np.arange(n) + 0.5) / n * 2 - (a + b)) / (b - a)
            for n, a, b in zip(shape_zyx, first, last, strict=True)
        ]
        z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
        labels[z**2 + y**2 + x**2 < 1] = SEGTHOR.organ(name).id
    return labels


def image_of(shape_zyx: Index3, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return random values, 0 to 1, in a round body; air around it."""
    _, y, x = (np.linspace(-1, 1, n) for n in shape_zyx)
    body = (y[:, None] ** 2 + x[None, :] ** 2) < 1
    values = rng.normal(0.5, 0.1, shape_zyx).astype(np.float32) + np.float32(0.02) * labels
    return np.where(body, values, 0).clip(0, 1).astype(np.float32)


def _no_report(shape: Index3, spacing: tuple[float, float, float]) -> PreparationReport:
    return PreparationReport(
        threshold_hu=0,
        threshold_method="",
        body_ml=0,
        source_shape_zyx=shape,
        source_spacing_zyx_mm=spacing,
        resampled_shape_zyx=shape,
        prepared_shape_zyx=shape,
        prepared_spacing_zyx_mm=spacing,
        padding_zyx=(0, 0, 0),
        outside_voxels=0,
        reduction=1,
    )
