import pytest

from thoar.core.configuration import Train
from thoar.training.schedule import cases_of_epoch, ends_stage, rate_of, stage_of, steps_of_run


def test_paper_trains_forty_coarse_and_fifty_joint_epochs() -> None:
    stages = [stage_of(epoch, Train()) for epoch in range(90)]
    assert stages == ["coarse"] * 40 + ["joint"] * 50
    assert [epoch for epoch in range(90) if ends_stage(epoch, Train())] == [39, 89]


def test_every_case_comes_once_per_epoch_in_an_order_of_its_own() -> None:
    cases = list("abcdefgh")
    first, second = (cases_of_epoch(cases, epoch, Train()) for epoch in (0, 1))
    assert sorted(first) == sorted(second) == cases
    assert first != second
    assert cases_of_epoch(cases, 0, Train()) == first
    assert len(set(cases_of_epoch(cases, 0, Train(cases_per_epoch=3)))) == 3
    assert steps_of_run(8, Train(cases_per_epoch=3)) == 270
    assert steps_of_run(8, Train(cases_per_epoch=100)) == 720


def test_rate_warms_up_and_falls_to_a_hundredth() -> None:
    train = Train(learning_rate=1e-3, schedule="cosine", warmup_steps=10)
    assert rate_of(0, train, steps=110) == pytest.approx(1e-4)
    assert rate_of(9, train, steps=110) == pytest.approx(1e-3)
    assert rate_of(60, train, steps=110) == pytest.approx(1e-3 * (0.01 + 0.99 / 2))
    assert rate_of(110, train, steps=110) == pytest.approx(1e-5)
    assert rate_of(77, Train(learning_rate=1e-3), steps=110) == 1e-3
