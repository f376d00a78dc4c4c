"""Moves of whole parts of the chest: a deviated trachea, a raised dome."""

from thoar.phantoms.pathology.record import Deviation, Diaphragm
from thoar.phantoms.pathology.subject import Subject, centre_line, coarse_points, picked
from thoar.phantoms.pathology.warp import moved
from thoar.phantoms.structures import LOBES

COLUMN_MM = 25.0
"""About a lung's middle, where its base is looked for."""


def deviate(subject: Subject, deviation: Deviation) -> None:
    """Move the trachea and what is beside it."""
    line = centre_line(subject, "trachea")
    if len(line) == 0:
        return
    moved(subject, picked(line, deviation.level), deviation.shift_zyx_mm, reach_mm=deviation.reach_mm)


def raise_dome(subject: Subject, diaphragm: Diaphragm) -> None:
    """Lift what lies under a lung's middle, and press the lung together."""
    lobes = coarse_points(subject, *(name for name in LOBES if name.endswith(diaphragm.side)))
    if len(lobes) == 0:
        return
    centre = lobes.mean(dim=0)
    column = lobes[(lobes[:, 1:] - centre[1:]).norm(dim=1) < COLUMN_MM]
    base = float(column[:, 0].min()) if len(column) else float(lobes[:, 0].min())
    reach = (max(60.0, 2.8 * diaphragm.lift_mm), 75.0, 70.0)
    moved(
        subject,
        (base, float(centre[1]), float(centre[2])),
        (diaphragm.lift_mm, 0.0, 0.0),
        reach_mm=reach,
    )
