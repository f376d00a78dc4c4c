"""How far a number lies from its fellows, told so that a few faulty ones among them do not matter."""

import numpy as np
from jaxtyping import Float

LEAST_FELLOWS = 5
"""With fewer numbers none of them is told apart."""

FAR = 4.0
"""A score beyond this is an outlier."""

_SIGMA_PER_MAD = 1.4826
"""Of a normal distribution."""


def robust_scores(values: Float[np.ndarray, "n"], floor: float) -> Float[np.ndarray, "n"]:
    """Return how many deviations each number lies off the median; its sign says to which side.

    The deviation is 1.4826 times the median absolute one, and no less than the floor.

    Args:
        values: NaN where there is none, which gives NaN.
        floor: the least deviation that matters, in the numbers' unit.

    Returns:
        Zeros where there are fewer than ``LEAST_FELLOWS`` numbers.

    >>> robust_scores(np.array([1.0, 1.1, 0.9, 1.0, 9.0]), 0.1).round(1).tolist()
    [0.0, 0.7, -0.7, 0.0, 54.0]
    """
    known = values[np.isfinite(values)]
    if known.size < LEAST_FELLOWS:
        return np.where(np.isfinite(values), 0.0, np.nan)
    middle = np.median(known)
    deviation = _SIGMA_PER_MAD * np.median(np.abs(known - middle))
    return (values - middle) / max(float(deviation), floor)
