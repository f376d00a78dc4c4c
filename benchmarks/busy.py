"""How busy GPUs are, as nvidia-smi says five times a second."""

import shutil
import statistics
import subprocess
from collections.abc import Sequence

import torch

from thoar.training.stages import Event

QUERY = ("--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--loop-ms=200")
"""Its answer: in what percentage of the last sixth of a second, or of up to a second, a kernel ran."""


class Busy:
    """Watches devices from the end of an epoch's first step to that of its last.

    Attributes:
        shares: per device, the part of that time in which it computed; None where nobody says.
    """

    def __init__(self, devices: Sequence[torch.device]) -> None:
        self.shares: tuple[float | None, ...] = (None,) * len(devices)
        self._devices = devices
        self._asked: list[subprocess.Popen[str] | None] = []

    def watch(self, event: Event) -> None:
        """Be told of a step."""
        if event.kind == "step" and event.step == 1:
            self._asked = [_asked(device) for device in self._devices]
        if event.kind == "step" and event.step == event.steps:
            self.shares = tuple(_answered(process) for process in self._asked)


def _asked(device: torch.device) -> subprocess.Popen[str] | None:
    program = shutil.which("nvidia-smi")
    if program is None or device.type != "cuda":
        return None
    uuid = f"--id=GPU-{torch.cuda.get_device_properties(device).uuid}"
    return subprocess.Popen([program, uuid, *QUERY], stdout=subprocess.PIPE, text=True)  # noqa: S603


def _answered(process: subprocess.Popen[str] | None) -> float | None:
    if process is None:
        return None
    process.terminate()
    return share_of(process.communicate()[0])


def share_of(answer: str) -> float | None:
    """Return the mean of the percentages that nvidia-smi printed, 0 to 1; None where it printed none."""
    percents = [float(line) for line in answer.split() if line.isdigit()]
    return statistics.fmean(percents) / 100 if percents else None
