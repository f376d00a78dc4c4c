import msgspec
import numpy as np

from thoar.phantoms.pathology.draw import FREQUENCY, HEALTHY_SHARE, draw_pathology
from thoar.phantoms.pathology.record import Pathology


def drawn(count: int) -> list[Pathology]:
    rng = np.random.default_rng(0)
    return [draw_pathology(rng) for _ in range(count)]


def kinds(pathology: Pathology) -> int:
    return sum(getattr(pathology, name) not in {None, ()} for name in FREQUENCY)


def test_a_third_is_healthy_and_half_has_two_or_fewer() -> None:
    numbers = np.array([kinds(p) for p in drawn(600)])
    assert abs((numbers == 0).mean() - HEALTHY_SHARE) < 0.08
    assert (numbers <= 2).mean() > 0.5
    assert numbers.max() <= 9


def test_every_kind_is_drawn_about_as_often_as_stated() -> None:
    patients = drawn(1500)
    for name, share in FREQUENCY.items():
        found = np.mean([getattr(p, name) not in {None, ()} for p in patients])
        assert abs(found - share * (1 - HEALTHY_SHARE)) < 0.05, name


def test_records_survive_a_file() -> None:
    for pathology in drawn(50):
        assert msgspec.json.decode(msgspec.json.encode(pathology), type=Pathology) == pathology


def test_the_same_stream_draws_the_same_patients() -> None:
    assert drawn(5) == drawn(5)
