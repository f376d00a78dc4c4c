import budget
import pytest
from budget import MARGIN, Pace, Trained, epochs_that_fit, length_of, pace_of, settings_of
from costs import Cost, measured

PACE = Pace(before_s=10.0, epoch_s={"coarse": 1.0, "joint": 3.0})


@pytest.mark.parametrize("budget_s", [120.0, 600.0])
@pytest.mark.parametrize("coarse_share", [0.25, 0.5])
def test_epochs_fill_the_budget_and_do_not_overrun_it(budget_s, coarse_share):
    epochs = epochs_that_fit(PACE, budget_s=budget_s, coarse_share=coarse_share)
    spent_s = PACE.before_s + sum(PACE.epoch_s[stage] * count for stage, count in epochs.items())
    assert MARGIN * budget_s - 5 < spent_s < budget_s


def test_a_budget_that_is_too_small_still_has_both_stages():
    assert epochs_that_fit(PACE, budget_s=1.0, coarse_share=0.5) == {"coarse": 1, "joint": 1}
    assert settings_of({"coarse": 1, "joint": 2}) == ["train.coarse_epochs=1", "train.joint_epochs=2"]


def test_a_pace_leaves_each_stages_first_epoch_out(tmp_path, monkeypatch):
    rows = [("coarse", 9), ("coarse", 2), ("joint", 8), ("joint", 3), ("joint", 5)]

    def trained(*_, **__):
        run = tmp_path / "trial"
        run.mkdir()
        lines = [f"0,{stage},time/epoch_s,{seconds}" for stage, seconds in rows]
        (run / "metrics.csv").write_text(
            "\n".join(["epoch,stage,name,value", *lines, "0,joint,train/coarse,1"])
        )
        return Cost(wall_s=40.0, cpu_s=1.0, peak_mib=1.0)

    monkeypatch.setattr(budget, "train", trained)
    pace = pace_of("tiny", tmp_path, tmp_path / "trial", overrides=[])
    assert pace == Pace(before_s=13.0, epoch_s={"coarse": 2.0, "joint": 4.0})


def test_the_length_is_read_from_the_runs_own_record(tmp_path):
    (tmp_path / "run.json").write_text('{"schema": "thoar.training-run/1", "steps": 7, "outcome": "stopped"}')
    assert length_of(tmp_path) == Trained(steps=7, outcome="stopped")


def test_a_program_that_fails_names_its_log(tmp_path):
    with pytest.raises(SystemExit, match=r"ended with 3; see .*false\.log"):
        measured(["sh", "-c", "exit 3"], tmp_path / "false.log")
    assert measured(["sh", "-c", "exit 3"], tmp_path / "false.log", also=[3]).wall_s > 0
