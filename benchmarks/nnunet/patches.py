"""The patches of a sliding window by the clock, some of them computed."""

import time

import torch
from torch import Tensor, nn


class Patches:
    """How long a network takes for every patch; after so many, the last result is taken again.

    Args:
        network: is watched from now on.
        most: that are computed; None for all.

    Attributes:
        seconds: of every patch so far.
    """

    def __init__(self, network: nn.Module, most: int | None) -> None:
        self.seconds: list[float] = []
        self._most = most
        self._forward = network.forward
        self._last = torch.empty(0)
        network.forward = self._clocked

    def _clocked(self, patch: Tensor) -> Tensor:
        began = time.perf_counter()
        if self._most is None:
            result = self._forward(patch)
        elif len(self.seconds) < self._most:
            self._last = self._forward(patch)
            result = self._last.clone()  # who asks changes it in place
        else:
            result = self._last.clone()
        self.seconds.append(time.perf_counter() - began)
        return result

    @property
    def computed(self) -> int:
        """How many patches were computed."""
        return len(self.seconds) if self._most is None else min(self._most, len(self.seconds))

    @property
    def patch_s(self) -> float:
        """Mean of those that were computed, without the first, which also sets the network up."""
        measured = self.seconds[1 : self.computed] or self.seconds[:1]
        return sum(measured) / len(measured)

    def whole_s(self, stage_s: float) -> float:
        """Return what a stage of so many seconds would have taken, had every patch been computed."""
        skipped = self.seconds[self.computed :]
        return stage_s - sum(skipped) + len(skipped) * self.patch_s
