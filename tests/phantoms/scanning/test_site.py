import msgspec
import numpy as np
import pytest

from thoar.core.errors import ConfigError
from thoar.core.random import rng_for
from thoar.phantoms.scanning.field import draw_field
from thoar.phantoms.scanning.scanner import Scanner, draw_scanner
from thoar.phantoms.scanning.site import LIMITS, SHIFTED, Site, at_site


def scanners(count: int = 30) -> list[Scanner]:
    return [draw_scanner(rng_for(0, "scanner", number)) for number in range(count)]


def test_a_site_replaces_what_it_names_and_nothing_else() -> None:
    scanner, field = scanners(1)[0], draw_field(np.random.default_rng(0))
    site = Site(noise_hu=(50.0, 60.0), slice_mm=(5.0, 5.0), width_mm=(300.0, 300.0))
    at, view = at_site(scanner, field, site=site, rng=np.random.default_rng(1))
    assert 50 <= at.noise.hu <= 60
    assert (at.slice_mm, at.increment_mm, view.width_mm) == (5.0, 5.0, 300.0)
    assert msgspec.structs.replace(view, width_mm=field.width_mm) == field
    assert at.noise.cutoff_per_mm == scanner.noise.cutoff_per_mm
    same = {"noise": scanner.noise, "slice_mm": scanner.slice_mm, "increment_mm": scanner.increment_mm}
    assert msgspec.structs.replace(at, **same) == scanner


def test_a_site_that_asks_for_nothing_changes_nothing() -> None:
    scanner, field = scanners(1)[0], draw_field(np.random.default_rng(0))
    assert at_site(scanner, field, site=Site(), rng=np.random.default_rng(1)) == (scanner, field)


def test_the_shifted_scanner_is_unlike_all_others() -> None:
    field, others = draw_field(np.random.default_rng(0)), scanners(200)
    shifted = [at_site(s, field, site=SHIFTED, rng=np.random.default_rng(n))[0] for n, s in enumerate(others)]
    assert max(s.gain for s in shifted) < min(s.gain for s in others)
    assert min(s.blur_mm for s in shifted) > max(s.blur_mm for s in others)


@pytest.mark.parametrize(
    "wrong", [{"gain": (1.2, 0.8)}, {"slice_mm": (0.0, 3.0)}, {"noise_hu": (10.0, 9000.0)}]
)
def test_what_no_scanner_has_is_refused(wrong: dict[str, tuple[float, float]]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))} must be two numbers"):
        Site(**wrong)


def test_every_range_of_a_site_has_limits() -> None:
    assert set(LIMITS) == set(Site.__struct_fields__)
