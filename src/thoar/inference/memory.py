"""The memory that a scan may take: known before it is taken, kept, or the scan refused."""

import math
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from thoar.core.errors import ResourceError
from thoar.inference.heap import KEPT_IN_ALL
from thoar.inference.segmentation import MemoryUse
from thoar.inference.slabs.memory import Need
from thoar.network.network import CoarseToFineNetwork

try:
    import resource
except ImportError:  # Windows has none
    resource = None

GIB = 2**30
PROCESS_BYTES = 450 * 2**20
"""Resident memory of a process with a model and no scan, where the system does not tell."""
WRITING_BYTES = 4
"""Per voxel of a scan while its results are written."""
SLACK = 0.02
"""What a process holds differs by so much from run to run: a limit that is said to do has it besides."""


class Allowance:
    """What one scan may take, and the setting that it takes for it; made when nothing of it is computed yet.

    Args:
        networks: one network by the names of its settings, the fastest first.
        device: where they lie.
        max_ram_bytes: of the whole process; what is free and what it holds already where None.
        max_vram_bytes: of a GPU's tensors; likewise.
    """

    def __init__(
        self,
        networks: Mapping[str, CoarseToFineNetwork],
        *,
        device: torch.device,
        max_ram_bytes: int | None = None,
        max_vram_bytes: int | None = None,
    ) -> None:
        self._networks = dict(networks)
        self._device = device
        on_gpu = device.type == "cuda"
        asked = max_vram_bytes if on_gpu else max_ram_bytes
        self._asked = asked is not None
        self._option = "--max-vram" if on_gpu else "--max-ram"
        self._limit = _free_limit(device) if asked is None else asked
        self._held, self._predicted, self._rung = _held_bytes(device), 0, 0
        if on_gpu and max_ram_bytes is not None and resident_bytes() > max_ram_bytes:
            raise ResourceError(
                f"the process holds {_size(resident_bytes())} before a network has begun, and --max-ram "
                f"allows {_size(max_ram_bytes)}; --max-ram {_enough(resident_bytes())} would do"
            )

    @property
    def use(self) -> MemoryUse:
        """What was predicted so far."""
        setting = list(self._networks)[self._rung]
        return MemoryUse(predicted_bytes=self._predicted, limit_bytes=self._limit, setting=setting)

    def network_for(
        self, need: Callable[[CoarseToFineNetwork], Need], *, what: Callable[[], str]
    ) -> CoarseToFineNetwork:
        """Return the network in the fastest setting that fits.

        Args:
            need: what a step takes besides what the steps before it keep.
            what: that step, and the scan, for a message.

        Raises:
            ResourceError: if none fits.
        """
        total = 0
        for rung, network in enumerate(self._networks.values()):
            taken = need(network)
            total = self._held + taken.peak
            if self._limit is None or total <= self._limit:
                self._held += taken.kept
                self._predicted, self._rung = max(self._predicted, total), max(self._rung, rung)
                return network
        raise ResourceError(f"{what()}: {self._refusal(total)}")

    def _refusal(self, total: int) -> str:
        limit, enough = self._limit or 0, f"{self._option} {_enough(total)}"
        if self._asked:
            found = (
                f"takes {_size(total)} at least, and {self._option} allows {_size(limit)}; {enough} would do"
            )
        else:
            found = (
                f"takes {_size(total)} at least, and {_size(limit)} are free or held already; end other "
                f"programs, take a larger machine, or let it be tried with {enough}"
            )
        return f"{found}. A model with a coarser grid takes less, fewer organs do not"


def with_writing(need: Need, scan_voxels: int) -> Need:
    """Return what a step takes or, if that is more, what writing the results takes when its maps are gone."""
    return Need(kept=need.kept, peak=max(need.peak, KEPT_IN_ALL + WRITING_BYTES * scan_voxels))


def resident_bytes() -> int:
    """Return what this process holds of the machine's memory; at most so far, where only that is known."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return _largest_resident()
    return pages * os.sysconf("SC_PAGE_SIZE")


def free_bytes() -> int | None:
    """Return how much memory a process may still take before the machine swaps, None where it is not told.

    Linux alone tells: what is available, or less where a control group (a container's, a batch system's) has
    less left.
    """
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        (available,) = (int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError):
        return None
    return min([available, *_left_in_groups()])


def _left_in_groups() -> list[int]:
    """Return what this process's control groups have left; caches of files count as free."""
    try:
        own = Path("/proc/self/cgroup").read_text().strip().rsplit("::", maxsplit=1)[-1].lstrip("/")
    except OSError:
        return []
    root, left = Path("/sys/fs/cgroup"), list[int]()
    groups = [root / own, *(root / own).parents] if own and "\n" not in own else [root]
    for group in groups:
        for most, now, cache in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
        ):
            try:
                limit, used = (int((group / name).read_text()) for name in (most, now))
                stat = (group / now).with_name("memory.stat").read_text().split()
                left.append(limit - used + int(stat[stat.index(cache) + 1]))
            except (OSError, ValueError):  # no such group, or "max": no limit
                continue
        if group == root:
            break
    return left


def _largest_resident() -> int:
    if resource is None:
        return PROCESS_BYTES
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _held_bytes(device: torch.device) -> int:
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else resident_bytes()


def _free_limit(device: torch.device) -> int | None:
    """Return what may be held where nobody says how much."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    free = free_bytes()
    return None if free is None else resident_bytes() + free


def _size(count: int) -> str:
    return f"{count / GIB:.2f} GiB"


def _enough(count: int) -> str:
    return f"{math.ceil(count * (1 + SLACK) / GIB * 10) / 10:.1f}GiB"
