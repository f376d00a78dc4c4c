"""Half-open boxes of voxels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

Index3 = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A half-open box of voxels: ``start_zyx`` is inside, ``stop_zyx`` is not.

    Raises:
        ValueError: if any stop is not greater than its start.

    >>> Box(start_zyx=(0, 2, 4), stop_zyx=(1, 4, 8)).shape_zyx
    (1, 2, 4)
    """

    start_zyx: Index3
    stop_zyx: Index3

    def __post_init__(self) -> None:
        if any(stop <= start for start, stop in zip(self.start_zyx, self.stop_zyx, strict=True)):
            raise ValueError(f"empty box: start_zyx {self.start_zyx}, stop_zyx {self.stop_zyx}")

    @classmethod
    def of_shape(cls, shape_zyx: Sequence[int]) -> "Box":
        """Return the box that covers a whole array."""
        return cls(start_zyx=(0, 0, 0), stop_zyx=_index3(shape_zyx))

    @classmethod
    def of_mask(cls, mask: Bool[np.ndarray, "z y x"]) -> "Box | None":
        """Return the smallest box around a mask's true voxels, or None where there are none."""
        start: list[int] = []
        stop: list[int] = []
        for axis in range(3):
            others = tuple(a for a in range(3) if a != axis)
            hits = np.flatnonzero(mask.any(axis=others))
            if hits.size == 0:
                return None
            start.append(int(hits[0]))
            stop.append(int(hits[-1]) + 1)
        return cls(start_zyx=_index3(start), stop_zyx=_index3(stop))

    @property
    def shape_zyx(self) -> Index3:
        """Number of voxels along each axis."""
        z, y, x = (b - a for a, b in zip(self.start_zyx, self.stop_zyx, strict=True))
        return (z, y, x)

    @property
    def voxels(self) -> int:
        """Number of voxels inside."""
        z, y, x = self.shape_zyx
        return z * y * x

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Index for an array whose last three axes are (z, y, x): ``array[..., *box.slices]``."""
        z, y, x = (slice(a, b) for a, b in zip(self.start_zyx, self.stop_zyx, strict=True))
        return (z, y, x)

    def expanded(self, before_zyx: Sequence[int], after_zyx: Sequence[int]) -> "Box":
        """Return the box grown by so many voxels before its start and after its stop."""
        return Box(
            start_zyx=_index3([a - b for a, b in zip(self.start_zyx, before_zyx, strict=True)]),
            stop_zyx=_index3([a + b for a, b in zip(self.stop_zyx, after_zyx, strict=True)]),
        )

    def union(self, other: "Box") -> "Box":
        """Return the smallest box that holds both."""
        return Box(
            start_zyx=_index3([min(p) for p in zip(self.start_zyx, other.start_zyx, strict=True)]),
            stop_zyx=_index3([max(p) for p in zip(self.stop_zyx, other.stop_zyx, strict=True)]),
        )

    def intersection(self, other: "Box") -> "Box | None":
        """Return the common part, or None where there is none."""
        start = [max(p) for p in zip(self.start_zyx, other.start_zyx, strict=True)]
        stop = [min(p) for p in zip(self.stop_zyx, other.stop_zyx, strict=True)]
        if any(b <= a for a, b in zip(start, stop, strict=True)):
            return None
        return Box(start_zyx=_index3(start), stop_zyx=_index3(stop))

    def shifted(self, offset_zyx: Sequence[int]) -> "Box":
        """Return the box moved by so many voxels."""
        return Box(
            start_zyx=_index3([a + o for a, o in zip(self.start_zyx, offset_zyx, strict=True)]),
            stop_zyx=_index3([a + o for a, o in zip(self.stop_zyx, offset_zyx, strict=True)]),
        )

    def snapped_outward(self, multiple_zyx: Sequence[int]) -> "Box":
        """Return the smallest box around this one whose corners are multiples of a stride.

        >>> Box(start_zyx=(1, 9, 8), stop_zyx=(3, 10, 16)).snapped_outward((2, 8, 8))
        Box(start_zyx=(0, 8, 8), stop_zyx=(4, 16, 16))
        """
        return Box(
            start_zyx=_index3([a // m * m for a, m in zip(self.start_zyx, multiple_zyx, strict=True)]),
            stop_zyx=_index3([-(-b // m) * m for b, m in zip(self.stop_zyx, multiple_zyx, strict=True)]),
        )

    def scaled_down(self, factor_zyx: Sequence[int]) -> "Box":
        """Return the same box on a grid that is coarser by whole factors.

        Raises:
            ValueError: if a corner is not a multiple of its factor.
        """
        if any(
            c % f
            for corner in (self.start_zyx, self.stop_zyx)
            for c, f in zip(corner, factor_zyx, strict=True)
        ):
            raise ValueError(f"{self} does not lie on multiples of {tuple(factor_zyx)}")
        return Box(
            start_zyx=_index3([a // f for a, f in zip(self.start_zyx, factor_zyx, strict=True)]),
            stop_zyx=_index3([b // f for b, f in zip(self.stop_zyx, factor_zyx, strict=True)]),
        )

    def scaled_up(self, factor_zyx: Sequence[int]) -> "Box":
        """Return the same box on a grid that is finer by whole factors."""
        return Box(
            start_zyx=_index3([a * f for a, f in zip(self.start_zyx, factor_zyx, strict=True)]),
            stop_zyx=_index3([b * f for b, f in zip(self.stop_zyx, factor_zyx, strict=True)]),
        )

    def contains(self, other: "Box") -> bool:
        """Say whether the other box lies wholly inside this one."""
        return self.union(other) == self


def _index3(values: Sequence[int]) -> Index3:
    z, y, x = (int(v) for v in values)
    return (z, y, x)
