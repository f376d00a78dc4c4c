"""In which numbers the network is computed, by what the processor can do."""

from dataclasses import dataclass
from typing import Literal

import torch

from thoar.core.errors import UsageError

PrecisionName = Literal["auto", "float32", "bfloat16", "float16"]
PRECISIONS: tuple[PrecisionName, ...] = ("auto", "float32", "bfloat16", "float16")

SLAB_BYTES = 16 * 2**20
"""Small enough for caches, large enough that the rows that are read twice do not matter."""

GPU_SLAB_BYTES = 2**30
"""A GPU wants large pieces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """The numbers of maps.

    Attributes:
        name: what people call it.
        compute: of convolutions, their weights, and slabs.
        stored: of maps while they wait.
        slab_bytes: about what one slab takes, with what it is made of.
        together: a block's first convolution and its shortcut are made of the same slabs: faster, and one
            more map waits.
    """

    name: PrecisionName
    compute: torch.dtype
    stored: torch.dtype
    slab_bytes: int = SLAB_BYTES
    together: bool = True


def choose_precision(name: str, device: torch.device) -> Precision:
    """Return the numbers that a name means on a device.

    ``auto`` is bfloat16 where the device multiplies it faster than float32 (a processor with AVX-512 BF16 or
    AMX, a GPU that has it), else float32. ``float16`` is computed in on GPUs; elsewhere maps are only stored
    in it (as in bfloat16 by a processor that has none), which halves their memory at the price of time.

    Raises:
        UsageError: if there are no such numbers.
    """
    if name not in PRECISIONS:
        raise UsageError(f"--precision {name}: is none of {', '.join(PRECISIONS)}")
    if name == "auto":
        name = "bfloat16" if has_fast_bfloat16(device) else "float32"
    slab_bytes = GPU_SLAB_BYTES if device.type == "cuda" else SLAB_BYTES
    stored = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]
    multiplied = device.type != "cpu" or (name == "bfloat16" and has_fast_bfloat16(device))
    compute = stored if multiplied else torch.float32
    return Precision(name=name, compute=compute, stored=stored, slab_bytes=slab_bytes)


def has_fast_bfloat16(device: torch.device) -> bool:
    """Say whether a device multiplies bfloat16 faster than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
