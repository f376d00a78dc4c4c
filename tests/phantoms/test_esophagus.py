import msgspec
import numpy as np
import pytest

from thoar.core.random import rng_for
from thoar.phantoms.esophagus import draw_esophagus, openness


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_about_the_share_asked_for_is_open(share: float) -> None:
    drawn = msgspec.structs.replace(draw_esophagus(rng_for(0, "esophagus")), open_share=share)
    opened = openness(drawn, 300, step_mm=1.0)
    assert float(np.mean(opened)) == pytest.approx(share, abs=0.12)
