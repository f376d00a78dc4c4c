"""How the patient lies on the couch, and which way is down."""

from typing import Literal

from thoar.core.geometry import Vector3

Posture = Literal["supine", "prone", "left_side", "right_side"]
"""``left_side`` is lying on the left. The picture stays in the patient's own axes whatever the posture."""


def gravity_zyx(posture: Posture) -> Vector3:
    """Return the direction of gravity as a unit vector (z, y, x): y to the back, x to the left."""
    directions: dict[Posture, Vector3] = {
        "supine": (0.0, 1.0, 0.0),
        "prone": (0.0, -1.0, 0.0),
        "left_side": (0.0, 0.0, 1.0),
        "right_side": (0.0, 0.0, -1.0),
    }
    return directions[posture]
