"""What the esophagus holds, and where along its length."""

import msgspec
import numpy as np
from jaxtyping import Float32

from thoar.phantoms.smooth import unit_noise

OPENING_MM = 12.0
"""Openings are about so long (the sigma of the smooth chance behind them)."""


class Esophagus(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the esophagus holds.

    Attributes:
        wall_hu: value of the wall, and of the whole where it is collapsed.
        content_hu: value of the content: air or fluid.
        open_share: share of its length that is open; 0 is collapsed throughout.
        wall_mm: thickness of the wall where it is open.
        seed: of where it is open.
    """

    wall_hu: float
    content_hu: float
    open_share: float
    wall_mm: float
    seed: int


def draw_esophagus(rng: np.random.Generator) -> Esophagus:
    """Draw the content of an esophagus: mostly collapsed, else air more often than fluid."""
    air = bool(rng.random() < 0.7)  # noqa: PLR2004 (a share)
    return Esophagus(
        wall_hu=float(rng.uniform(36, 60)),
        content_hu=float(rng.uniform(-950, -300) if air else rng.uniform(0, 35)),
        open_share=float(rng.choice((0.0, rng.uniform(0, 0.5), rng.uniform(0.5, 1)), p=(0.35, 0.5, 0.15))),
        wall_mm=float(rng.uniform(2.5, 5)),
        seed=int(rng.integers(2**31)),
    )


def openness(esophagus: Esophagus, levels: int, *, step_mm: float) -> Float32[np.ndarray, " z"]:
    """Return how open the esophagus is at each level, 0 collapsed to 1, levels being ``step_mm`` apart."""
    if esophagus.open_share == 0:
        return np.zeros(levels, dtype=np.float32)
    chance = unit_noise(np.random.default_rng(esophagus.seed), (levels,), sigma=OPENING_MM / step_mm)
    edge = np.quantile(chance, 1 - esophagus.open_share)
    return ((chance - edge) * 3 + 0.5).clip(0, 1).astype(np.float32)
