"""The goals that were set for speed and memory, and what became of them."""

from collections.abc import Iterator
from dataclasses import dataclass

from whole_scans.results import NNUNET, NNUNET_WHOLE, Measurement, Results

GB = 1e9
FLIPS = 8
"""Mirrored copies that nnU-Net averages unless it is told not to; here it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """One goal.

    Attributes:
        said: what was asked for.
        wanted: the bound in words.
        found: what was measured; None where it was not.
        shown: the same for people.
        is_met: whether it keeps to the bound.
    """

    said: str
    wanted: str
    found: float | None
    shown: str
    is_met: bool

    @property
    def verdict(self) -> str:
        """In one or two words."""
        return "not measured" if self.found is None else "met" if self.is_met else "**missed**"


def at_least(said: str, least: float, found: float | None, form: str = "{:.3g} times") -> Goal:
    """Return the goal of a lower bound."""
    return Goal(
        said=said,
        wanted=f"≥ {form.format(least)}",
        found=found,
        shown="–" if found is None else form.format(found),
        is_met=found is not None and found >= least,
    )


def under(said: str, most: float, found: float | None, form: str) -> Goal:
    """Return the goal of an upper bound."""
    return Goal(
        said=said,
        wanted=f"< {form.format(most)}",
        found=found,
        shown="–" if found is None else form.format(found),
        is_met=found is not None and found < most,
    )


def goals_of(results: Results) -> list[Goal]:
    """Return every goal of the device that was measured."""
    return list(_on_gpu(results) if results.about.device.startswith("cuda") else _on_cpu(results))


def _on_cpu(results: Results) -> Iterator[Goal]:
    for scan, precision, least in (
        ("sample", "float32", 20),
        ("sample", "bfloat16", 40),
        ("x178", "float32", 50),
        ("x178", "bfloat16", 50),
    ):
        said = f"`paper` in {precision} against nnU-Net, `{scan}`: total"
        yield at_least(
            said, least, _ratio(their_total_s(results, scan), _total_s(results, f"paper-{precision}", scan))
        )
    for precision in ("float32", "bfloat16"):
        slow, fast = (results.of(f"{model}-{precision}", "sample") for model in ("paper", "fast"))
        ratio = _ratio(slow and slow.network_s, fast and fast.network_s)
        yield at_least(f"`fast` against `paper` in {precision}, `sample`: the network", 4, ratio)
    paper, fast = (results.of(f"{model}-float32", "sample") for model in ("paper", "fast"))
    share = paper and encoder_share(results, paper)
    yield at_least("`paper` in float32, `sample`: the encoder, of the product's peak", 0.6, share, "{:.0%}")
    for precision in ("float32", "bfloat16"):
        found = results.of(f"paper-{precision}", "sample")
        rest = found and found.rest_s / found.total_s
        yield under(
            f"`paper` in {precision}, `sample`: all but the network, of the total", 0.25, rest, "{:.1%}"
        )
    for precision in ("float32", "bfloat16"):
        found = results.of(f"fast-{precision}", "sample")
        yield under(
            f"`fast` in {precision}, `sample`: all but the network", 1.5, found and found.rest_s, "{:.2f} s"
        )
    peer = their_gb(results, "x600")
    for precision in ("float32", "bfloat16"):
        for scan, most in (("x300", 3.0), ("x600", 4.0)):
            held = _most_gb(results, scan, precision)
            yield under(f"ours in {precision}, `{scan}`: peak memory", most, held, "{:.2f} GB")
        share = _ratio(_most_gb(results, "x600", precision), peer)
        yield under(f"ours in {precision} against nnU-Net, `x600`: peak memory", 1 / 3, share, "{:.1%}")
    starts = results.starts
    yield under("`thoar --help`", 0.2, starts and starts.help_s, "{:.2f} s")
    yield under("cold start of `thoar segment`", 3.0, starts and starts.cold_s, "{:.2f} s")


def _on_gpu(results: Results) -> Iterator[Goal]:
    for contender in results.contenders:
        for scan in ("sample-dicom", "sample-nii"):
            found = results.of(contender, scan)
            said = f"`{contender}`, `{scan}`"
            yield under(f"{said}: files written", 1.0, found and found.total_s, "{:.2f} s")
            held = found and found.gpu_mib
            yield under(f"{said}: GPU memory", 6.0, held and held * 2**20 / GB, "{:.2f} GB")


def encoder_share(results: Results, found: Measurement) -> float | None:
    """Return what the encoder reached of the peak of its precision; None where that was not measured."""
    precision = precision_of(found.contender)
    peak, encode_s = results.peaks.get(precision), found.seconds.get("encode")
    if peak is None or not encode_s:
        return None
    return found.gflop["encode"] / encode_s / peak.gflop_per_s


def precision_of(contender: str) -> str:
    """Return in which numbers a contender computes."""
    last = contender.rpartition("-")[2]
    return last if last in ("bfloat16", "float16") else "float32"


def their_total_s(results: Results, scan: str) -> float | None:
    """Return nnU-Net's time: with every patch computed, where that was done, else calculated from a few."""
    return _total_s(results, NNUNET_WHOLE, scan) or _total_s(results, NNUNET, scan)


def their_gb(results: Results, scan: str) -> float | None:
    """Return nnU-Net's peak memory."""
    found = [m for m in results.measurements if m.contender in (NNUNET, NNUNET_WHOLE) and m.scan == scan]
    return max((_gb(m) for m in found), default=None)


def _most_gb(results: Results, scan: str, precision: str) -> float | None:
    """Return the most that any model of ours took of a scan in a precision."""
    found = [m for m in results.measurements if m.scan == scan and m.contender.endswith(f"-{precision}")]
    return max((_gb(m) for m in found), default=None)


def _gb(found: Measurement) -> float:
    return found.cost.peak_mib * 2**20 / GB


def _total_s(results: Results, contender: str, scan: str) -> float | None:
    found = results.of(contender, scan)
    return found and found.total_s


def _ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one and other else None
