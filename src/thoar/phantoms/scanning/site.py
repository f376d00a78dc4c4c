"""Where all scans are made on one scanner: what its pictures have in common, other patients or not."""

from collections.abc import Mapping

import msgspec
import numpy as np

from thoar.core.errors import ConfigError
from thoar.phantoms.scanning.field import Field
from thoar.phantoms.scanning.scanner import Scanner

Between = tuple[float, float]


class Site(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The least and the most of what pictures of one site have; None leaves what is found at large.

    Attributes:
        blur_mm, sharpen, gain, offset_hu: see ``Scanner``.
        noise_hu, noise_cutoff_per_mm: see ``Noise``.
        slice_mm: thickness of the slices, which lie side by side.
        width_mm: of the field of view.

    Raises:
        ConfigError: if a range runs downwards, or holds what no scanner has.
    """

    blur_mm: Between | None = None
    sharpen: Between | None = None
    noise_hu: Between | None = None
    noise_cutoff_per_mm: Between | None = None
    gain: Between | None = None
    offset_hu: Between | None = None
    slice_mm: Between | None = None
    width_mm: Between | None = None

    def __post_init__(self) -> None:
        for name, (lowest, highest) in LIMITS.items():
            found = getattr(self, name)
            if found is not None and not lowest <= found[0] <= found[1] <= highest:
                raise ConfigError(
                    f"{name} must be two numbers, the least first, within {lowest:g} to {highest:g}; "
                    f"got {found}"
                )


LIMITS: dict[str, Between] = {
    "blur_mm": (0, 10),
    "sharpen": (0, 5),
    "noise_hu": (0, 500),
    "noise_cutoff_per_mm": (0.05, 5),
    "gain": (0.2, 2),
    "offset_hu": (-500, 500),
    "slice_mm": (0.2, 20),
    "width_mm": (100, 1000),
}
"""What a site may ask for."""

SHIFTED = Site(
    blur_mm=(2.6, 3.4),
    sharpen=(0.0, 0.0),
    noise_hu=(150.0, 220.0),
    noise_cutoff_per_mm=(0.09, 0.14),
    gain=(0.55, 0.65),
    offset_hu=(20.0, 80.0),
    slice_mm=(6.0, 7.0),
    width_mm=(270.0, 340.0),
)
"""A cone-beam CT beside a treatment table: soft, noisy in coarse grains, ill calibrated, a narrow view."""


def at_site(scanner: Scanner, field: Field, *, site: Site, rng: np.random.Generator) -> tuple[Scanner, Field]:
    """Return a scanner and a field of view with what a site asks for in place of what they have."""
    found = {
        name: float(rng.uniform(*between)) for name in LIMITS if (between := getattr(site, name)) is not None
    }
    noise = _named(found, hu="noise_hu", cutoff_per_mm="noise_cutoff_per_mm")
    picture = _named(
        found,
        blur_mm="blur_mm",
        sharpen="sharpen",
        gain="gain",
        offset_hu="offset_hu",
        slice_mm="slice_mm",
        increment_mm="slice_mm",
    )
    noisy = msgspec.structs.replace(scanner.noise, **noise)
    return (
        msgspec.structs.replace(scanner, noise=noisy, **picture),
        msgspec.structs.replace(field, **_named(found, width_mm="width_mm")),
    )


def _named(found: Mapping[str, float], **names: str) -> dict[str, float]:
    return {ours: found[name] for ours, name in names.items() if name in found}
