"""How time and memory grow with the scan, drawn; the same numbers give the same bytes."""

import io
from collections.abc import Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.typing import RcKeyType
from whole_scans.goals import GB
from whole_scans.results import NNUNET, NNUNET_WHOLE, Measurement, Results

SIZE_INCH = (8.6, 3.6)
SETTINGS: dict[RcKeyType, Any] = {
    "svg.hashsalt": "whole scans",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9.0,
    "font.family": "sans-serif",
}
COLORS = {"paper": "#1f5fa8", "fast": "#2a8a4a", "nnunet": "#b5472f"}
DASHES = {"float32": "-", "bfloat16": "--", "float16": "-.", "modules": ":"}


def figure(results: Results) -> bytes:
    """Return an SVG file: time and peak memory over the voxels of the scans, a line for each contender."""
    with rc_context(SETTINGS):
        drawn = Figure(figsize=SIZE_INCH, layout="constrained")
        time, memory = drawn.subplots(1, 2)
        for contender in results.contenders:
            found = _by_size(results, contender)
            if found and contender != NNUNET_WHOLE:
                hollow = any(m.is_calculated for m in found)
                _line(time, contender, found, [m.total_s for m in found], hollow=hollow)
                _line(memory, contender, found, [m.cost.peak_mib * 2**20 / GB for m in found])
        time.set(xlabel="million voxels", ylabel="seconds", yscale="log", xlim=(0, None))
        time.yaxis.set_major_formatter("{x:g}")
        memory.set(xlabel="million voxels", ylabel="peak resident memory, GB", xlim=(0, None), ylim=(0, None))
        for axes in (time, memory):
            axes.grid(visible=True, axis="y", color="0.9", linewidth=0.8)
            axes.spines[["top", "right"]].set_visible(False)
        drawn.legend(*time.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
        stream = io.BytesIO()
        drawn.savefig(stream, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return stream.getvalue()


def _by_size(results: Results, contender: str) -> list[Measurement]:
    """Return a contender's measurements by size; of the sample, one kind of file."""
    found = [
        results.of(contender, scan) for scan in results.scans if scan not in ("sample-nii", "sample-dicom")
    ]
    return [m for m in found if m is not None]


def _line(
    axes: Axes,
    contender: str,
    found: Sequence[Measurement],
    values: Sequence[float],
    *,
    hollow: bool = False,
) -> None:
    model, _, numbers = contender.rpartition("-")
    axes.plot(
        [voxels_of(m) / 1e6 for m in found],
        values,
        label=label_of(contender),
        color=COLORS.get(model or contender, "0.4"),
        linestyle=DASHES.get(numbers, "-"),
        marker="o",
        markersize=3.5,
        markerfacecolor="white" if hollow else None,
    )


def label_of(contender: str) -> str:
    """Return a contender's name for people.

    >>> label_of("paper-bfloat16"), label_of("nnunet")
    ('paper, bfloat16', 'nnU-Net')
    """
    if contender in (NNUNET, NNUNET_WHOLE):
        return "nnU-Net" if contender == NNUNET else "nnU-Net, every patch"
    model, _, numbers = contender.rpartition("-")
    return f"{model}, {numbers}" if numbers != "modules" else f"{model}, plain modules"


def voxels_of(found: Measurement) -> int:
    """Return how many voxels a scan has."""
    z, y, x = found.shape_zyx
    return z * y * x
