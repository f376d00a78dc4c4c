"""A configuration changed step by step until a run keeps within limits of memory."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import torch

from thoar.core.configuration import Configuration, configuration_from, plain
from thoar.core.errors import ResourceError
from thoar.datasets.fingerprint import Fingerprint
from thoar.training.needs import StageNeed, largest_sample, needs

COARSEST_MM = 4.0
"""No voxel is made larger than this along any axis, unless the recipe's already is."""
COARSER = 1.25
"""A voxel grows by this much at a time, in plane first."""
LEAST_GAIN = 0.01
"""A change that saves a smaller part of the memory is left out."""

Needs = tuple[StageNeed, ...]
Settings = dict[str, Any]
"""Paths of the configuration and what is put there."""
Rung = tuple[str, Any]
"""One such path and its value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Most memory of a process and of its GPU, in bytes."""

    ram_bytes: float = math.inf
    vram_bytes: float = math.inf

    def excess(self, found: Needs) -> float:
        """Return how many times too much the worst stage takes; 1 or less where everything fits."""
        return max(max(n.ram_bytes / self.ram_bytes, n.vram_bytes / self.vram_bytes) for n in found)


class Change(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One setting that was changed to save memory.

    Attributes:
        setting: its path.
        before: what the recipe says.
        after: what fits.
        cost: what is lost by it.
        ram_bytes: of the worst stage, with this change and those before it.
        vram_bytes: likewise.
    """

    setting: str
    before: str
    after: str
    cost: str
    ram_bytes: int
    vram_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A configuration that keeps within limits.

    Attributes:
        configuration: changed.
        as_it_was: what the recipe's stages take.
        needs: what its own stages take.
        changes: what was changed, cheapest first; nothing where the recipe fits as it is.
    """

    configuration: Configuration
    as_it_was: Needs
    needs: Needs
    changes: tuple[Change, ...]


def fit(
    configuration: Configuration,
    found: Fingerprint,
    limits: Limits,
    *,
    device: torch.device,
    workers: int = 1,
) -> Fitted:
    """Change a configuration until every stage keeps within the limits, the cheapest changes first.

    Args:
        configuration: the recipe.
        found: the data set.
        limits: to be kept.
        device: where it trains.
        workers: scans that are prepared at the same time.

    Raises:
        ResourceError: if no change of these kinds suffices; it says which stage takes how much at least.
    """
    known: dict[str, Needs] = {}

    def needs_with(settings: Settings) -> Needs:
        key = repr(settings)
        if key not in known:
            known[key] = needs(_with(configuration, settings), found, device=device, workers=workers)
        return known[key]

    taken: Settings = {}
    now = needs_with(taken)
    for path, value in _rungs(configuration, found, device):
        if limits.excess(now) <= 1 or limits.excess(now[:1]) > 1:  # preparation cannot be made smaller
            break
        later = needs_with({**taken, path: value})
        if limits.excess(later) < (1 - LEAST_GAIN) * limits.excess(now):
            taken[path], now = value, later
    if limits.excess(now) > 1:
        raise _refusal(configuration, taken, now, limits)
    taken = _without_needless(taken, lambda kept: limits.excess(needs_with(kept)) <= 1)
    return Fitted(
        configuration=_with(configuration, taken),
        as_it_was=needs_with({}),
        needs=needs_with(taken),
        changes=tuple(_changes(configuration, taken, needs_with)),
    )


def has_bfloat16(device: torch.device) -> bool:
    """Say whether a device computes in bfloat16 itself; of a GPU that is not here, that it does."""
    if device.type == "cuda":
        return not torch.cuda.is_available() or torch.cuda.is_bf16_supported()
    capabilities = torch.cpu.get_capabilities()
    return bool(device.type == "cpu" and (capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")))


def _rungs(configuration: Configuration, found: Fingerprint, device: torch.device) -> Iterator[Rung]:
    """Yield the changes to try, cheapest first."""
    for levels in range(configuration.train.recomputed_levels + 1, len(configuration.network.blocks) + 2):
        yield "train.recomputed_levels", levels
    if configuration.train.precision == "float32" and has_bfloat16(device):
        yield "train.precision", "bfloat16"
    for cap in (1.25, 1.0):
        if cap < configuration.boxes.cap:
            yield "boxes.cap", cap
    yield from _shorter_scans(configuration, found)
    yield from _coarser_voxels(configuration)


def _shorter_scans(configuration: Configuration, found: Fingerprint) -> Iterator[Rung]:
    if not configuration.augmentation.enabled:
        return
    whole = largest_sample(configuration, found).shape_zyx[0] // configuration.network.total_stride_zyx[0]
    for part in (0.8, 0.65, 0.5):
        cells = math.ceil(part * whole)
        if cells > configuration.augmentation.short_scan_cells:
            yield "augmentation.longest_scan_cells", cells


def _coarser_voxels(configuration: Configuration) -> Iterator[Rung]:
    """Yield larger and larger voxels: in plane until they are as wide as slices are apart, then all round."""
    z, y, x = configuration.preparation.spacing_zyx_mm
    while max(z, y, x) * (1 if min(y, x) < z else COARSER) <= COARSEST_MM:
        if min(y, x) < z:
            y, x = (min(z, round(side * COARSER, 2)) for side in (y, x))
        else:
            z, y, x = (round(side * COARSER, 2) for side in (z, y, x))
        yield "preparation.spacing_zyx_mm", (z, y, x)


def _with(configuration: Configuration, settings: Settings) -> Configuration:
    values = plain(configuration)
    for path, value in settings.items():
        section, key = path.split(".")
        values[section][key] = value
    return configuration_from(values)


def _without_needless(taken: Settings, fits: Callable[[Settings], bool]) -> Settings:
    """Return the settings without those that later ones made needless, the dearest looked at first."""
    for path in list(taken)[-2::-1]:
        fewer = {name: value for name, value in taken.items() if name != path}
        if fits(fewer):
            taken = fewer
    return taken


def _changes(
    configuration: Configuration, taken: Settings, needs_with: Callable[[Settings], Needs]
) -> Iterator[Change]:
    so_far: Settings = {}
    before = needs_with({})
    for path, value in taken.items():
        so_far = {**so_far, path: value}
        after = needs_with(so_far)
        section, key = path.split(".")
        yield Change(
            setting=path,
            before=_spelled(getattr(getattr(configuration, section), key)),
            after=_spelled(value),
            cost=_cost(path, value, before, after),
            ram_bytes=max(need.ram_bytes for need in after),
            vram_bytes=max(need.vram_bytes for need in after),
        )
        before = after


def _cost(path: str, value: Any, before: Needs, after: Needs) -> str:
    match path:
        case "train.recomputed_levels":
            return f"{_more_work(before, after)} more arithmetic a step; the same result"
        case "train.precision":
            return "maps in half precision; losses, weights and validation stay float32"
        case "boxes.cap":
            return f"no training box is larger than {value:g} times the organ's 99th-percentile box"
        case "augmentation.longest_scan_cells":
            return "a step sees a random part of longer scans; validation sees them whole"
        case _:
            return "larger voxels: thin organs lose detail, and contours follow the larger voxels"


def _more_work(before: Needs, after: Needs) -> str:
    one, other = (_joint(needs).step for needs in (before, after))
    return f"{other.flops / one.flops - 1:.0%}" if one and other else "some"


def _joint(found: Needs) -> StageNeed:
    return next((need for need in found if need.stage == "joint"), found[1])


def _spelled(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _refusal(configuration: Configuration, taken: Settings, found: Needs, limits: Limits) -> ResourceError:
    kinds = (("RAM", "ram", limits.ram_bytes), ("GPU memory", "vram", limits.vram_bytes))
    too_much: list[str] = []
    for kind, option, limit in kinds:
        worst = max(found, key=lambda need: getattr(need, f"{option}_bytes"))
        least = getattr(worst, f"{option}_bytes")
        if least > limit:
            too_much.append(
                f"{kind}: the stage {worst.stage} takes at least {least / 2**30:.1f} GiB "
                f"(--max-{option} {math.ceil(least / 2**30 * 10) / 10:g}GiB)"
            )
    tried = ", ".join(f"{path} = {_spelled(value)}" for path, value in taken.items()) or "no change"
    return ResourceError(
        f"{configuration.name} does not fit: {'; '.join(too_much)}, even with {tried}; give it more, take a "
        "smaller recipe (fast, tiny), or leave out the longest scans"
    )
