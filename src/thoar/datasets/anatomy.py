"""What is so in nearly everybody's chest: how much air an organ holds, and where it lies to the others.

The ranges are wide: they let pass whoever can be scanned, whatever the field of view, and still refuse an
organ that lies a hand's breadth off, or under another's id. They are ours, taken from the phantoms, which
vary more than people do, and from public scans.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

Range = tuple[float, float]


Axis = Literal["left", "back", "top_over_top", "top_over_bottom", "bottom_over_top", "bottom_over_bottom"]
"""How one organ's place is told from another's, in mm: of its centroid to the patient's left and back, and of
its upper or lower end over the other's."""

AIR_SHARE: Mapping[str, Range] = MappingProxyType(
    {
        "esophagus": (0.0, 0.5),
        "heart": (0.0, 0.12),
        "trachea": (0.5, 1.0),
        "aorta": (0.0, 0.12),
        "spinal_cord": (0.0, 0.05),
        "lung_left": (0.3, 1.0),
        "lung_right": (0.3, 1.0),
    }
)
"""Of an organ's voxels, the share below ``AIR_HU``: usual (least, most)."""

AIR_HU = -300.0
"""Between lung and soft tissue."""

FAR_OFF = 2.0
"""An air share so many times as far from 0, or from 1, as is usual at most is no doubt but an error."""

OFFSETS: Mapping[tuple[str, str], Mapping[Axis, Range]] = MappingProxyType(
    {
        ("heart", "esophagus"): {"left": (-45, 75), "back": (-115, -8)},
        ("heart", "trachea"): {"left": (-45, 75), "back": (-110, 25), "top_over_bottom": (-15, 90)},
        ("heart", "aorta"): {"left": (-50, 70), "back": (-90, 10), "top_over_top": (-100, 10)},
        ("trachea", "esophagus"): {"left": (-40, 35), "back": (-55, 8)},
        ("trachea", "aorta"): {"left": (-50, 30), "back": (-45, 45), "bottom_over_top": (-110, 20)},
        ("aorta", "esophagus"): {"left": (-30, 45), "back": (-60, 20)},
        ("spinal_cord", "esophagus"): {"left": (-45, 40), "back": (10, 110)},
        ("spinal_cord", "trachea"): {"left": (-45, 45), "back": (15, 130)},
        ("spinal_cord", "heart"): {"left": (-85, 40), "back": (45, 200)},
        ("lung_left", "lung_right"): {"left": (60, 300), "back": (-80, 80)},
    }
)
"""Of the first organ from the second."""

LEFTWARD: Mapping[tuple[str, str], tuple[float, float]] = MappingProxyType(
    {
        ("aorta", "back half"): (17.0, 9.0),
        ("heart", "lower half"): (11.0, 11.0),
        ("heart", "trachea"): (14.0, 14.0),
    }
)
"""How far to the patient's left the first thing lies of the second, or of the first's other half: mean and
deviation in mm."""


def odd_air(organ: str, air_share: float) -> float:
    """Return how far an organ's share of air lies outside what is usual; 0 where it does not.

    >>> odd_air("heart", 0.05), odd_air("trachea", 0.25), odd_air("spleen", 0.25)
    (0.0, 0.25, 0.0)
    """
    least, most = AIR_SHARE.get(organ, (0.0, 1.0))
    return max(least - air_share, air_share - most, 0.0)
