"""A chest to segment: drawing one takes longer than most tests that want it."""

import pytest

from thoar.core.random import rng_for
from thoar.core.volume import Volume
from thoar.phantoms.synthesis import draw_case, make_case


@pytest.fixture(scope="session")
def chest() -> Volume:
    parameters = draw_case(rng_for(5, "thorax", 0), "thorax")
    return make_case("thorax", parameters, spacing_zyx_mm=(5.0, 3.0, 3.0))[0]
