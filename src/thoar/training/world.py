"""The processes of one run, started by ``torchrun``: what they add up, share and wait for.

Every process holds all weights and takes its part of each batch. Gradients are added up here and not by
``DistributedDataParallel``, which expects one forward and one backward pass where every organ's loss goes
back on its own (S19).
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor, distributed, nn

from thoar.core.errors import PeerError

LONGEST_WAIT = dt.timedelta(hours=6)
"""For a process that is alive and busy; one that has died is noticed at once: its connections are closed."""
_CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The processes that share a run.

    Attributes:
        rank: of this one; 0 leads: it alone writes files.
        size: how many there are.
        device: where tensors to be exchanged must lie.

    What waits for the others raises PeerError if one of them is gone.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = _CPU

    @property
    def leads(self) -> bool:
        """Whether this process writes the run's files."""
        return self.rank == 0

    def own(self, items: Sequence[Any]) -> list[Any]:
        """Return this process's part of what is shared out."""
        return list(items[self.rank :: self.size])

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Give every parameter the sum of its gradients over all processes.

        A parameter that no process has a gradient for keeps none, as in a single process.
        """
        if self.size == 1:
            return
        held = self.sum([float(p.grad is not None) for p in parameters])
        wanted = [p for p, holders in zip(parameters, held, strict=True) if holders]
        if not wanted:
            return
        parts = [(torch.zeros_like(p) if p.grad is None else p.grad).to(self.device) for p in wanted]
        flat = torch.cat([part.flatten() for part in parts])
        with _loss_explained():
            distributed.all_reduce(flat)
        for parameter, part in zip(wanted, flat.split([p.numel() for p in wanted]), strict=True):
            parameter.grad = part.view_as(parameter).to(parameter.device)

    def sum(self, values: Sequence[float]) -> list[float]:
        """Return the sums of some numbers over all processes, in double precision."""
        if self.size == 1:
            return list(values)
        total: Float64[Tensor, " value"] = torch.tensor(values, dtype=torch.float64, device=self.device)
        with _loss_explained():
            distributed.all_reduce(total)
        return total.tolist()

    def any(self, flag: bool) -> bool:
        """Say whether any process says yes."""
        return self.sum([float(flag)])[0] > 0

    def from_leader(self, content: bytes) -> bytes:
        """Return the leading process's bytes in all of them."""
        if self.size == 1:
            return content
        length = torch.tensor([len(content)], device=self.device)
        with _loss_explained():
            distributed.broadcast(length, src=0)
        shared = torch.zeros(int(length), dtype=torch.uint8, device=self.device)
        if self.leads:
            shared = torch.frombuffer(bytearray(content), dtype=torch.uint8).to(self.device)
        with _loss_explained():
            distributed.broadcast(shared, src=0)
        return bytes(shared.cpu().numpy())

    def wait(self) -> None:
        """Wait until every process has come here."""
        self.sum([0.0])


ALONE = World()


@contextmanager
def joined(rank: int, size: int, *, device: torch.device) -> Iterator[World]:
    """Join the processes that ``torchrun`` started, whose addresses torch takes from the environment.

    Args:
        rank: of this process.
        size: of all.
        device: where it computes; gloo connects CPUs, NCCL GPUs.
    """
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    backend = "nccl" if on_gpu else "gloo"
    distributed.init_process_group(backend, rank=rank, world_size=size, timeout=LONGEST_WAIT)
    try:
        yield World(rank=rank, size=size, device=device if on_gpu else _CPU)
    finally:
        distributed.destroy_process_group()


@contextmanager
def _loss_explained() -> Iterator[None]:
    """Say of a broken connection what it means: the cause stands in what another process said."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise PeerError(
            "another process of this run has ended, or cannot be reached any more; see what it said, and go "
            f"on with --resume ({str(error).splitlines()[0]})"
        ) from error
