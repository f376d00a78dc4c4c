"""How much memory tensors take while something happens, counted storage by storage."""

import weakref
from collections.abc import Callable
from typing import Any, no_type_check

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

SMALL_BYTES = 32 * 2**20
"""Smaller blocks come from the C library's heap, which keeps the holes between them (glibc)."""


class LiveStorages(TorchDispatchMode):
    """While entered, knows how many bytes the tensors made inside keep alive, and counts multiplications.

    Torch's own ``FlopCounterMode`` would do the latter, but keeps alive what is computed again.

    Args:
        workspace: blocks in bytes that an operation takes while it runs, by its name, what goes in and what
            comes out.

    Attributes:
        bytes: now.
        small_bytes: of these, in blocks under :data:`SMALL_BYTES`.
        peak_bytes: the most so far.
        peak_small_bytes: likewise.
        flops: of all convolutions so far.
    """

    def __init__(
        self, workspace: Callable[[str, list[Tensor], list[Tensor]], list[int]] | None = None
    ) -> None:
        super().__init__()
        self.bytes = self.small_bytes = self.peak_bytes = self.peak_small_bytes = self.flops = 0
        self._workspace = workspace or (lambda *_: [])
        self._known: dict[int, weakref.ref[Any]] = {}

    @no_type_check  # every operation passes here: tests would take minutes
    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation and count what it made."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func.overloadpacket in flop_registry:
            self.flops += flop_registry[func.overloadpacket](*args, **kwargs, out_val=result)
        made = _tensors(result)
        for tensor in made:
            self.count(tensor)
        blocks = self._workspace(func.__name__, _tensors(args), made)
        self.peak_bytes = max(self.peak_bytes, self.bytes + sum(blocks))
        small = sum(size for size in blocks if size < SMALL_BYTES)
        self.peak_small_bytes = max(self.peak_small_bytes, self.small_bytes + small)
        return result

    @no_type_check
    def count(self, tensor: Tensor) -> None:
        """Take a tensor into account as long as anything keeps its storage alive."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()  # noqa: SLF001 (a storage's only identity)
        if key in self._known:
            return

        def gone(_: object) -> None:
            del self._known[key]
            self._add(-size, small=size < SMALL_BYTES)

        self._known[key] = weakref.ref(storage, gone)
        self._add(size, small=size < SMALL_BYTES)

    @no_type_check
    def _add(self, size: int, *, small: bool) -> None:
        self.bytes += size
        self.small_bytes += size * small


@no_type_check
def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]
