import msgspec
import numpy as np
import pytest
import torch
from busy import Busy, share_of
from made_cases import labels_of, made_cases
from speed_trial import Measured, Memory, Trial, configured, measured, out_of_memory
from training_speed import MOST_BYTES, SHAPES, faults, page, planned, row

from thoar.core.labels import SEGTHOR
from thoar.training.events import Event

SHAPE = (14, 40, 40)
ABOUT = {"date": "2026-01-02", "commit": "abc", "changed": "no", "torch": "2", "threads": 1}
TRIAL = Trial(recipe="tiny", shape_zyx=SHAPE, stage="joint", steps=1)


def result(trial=TRIAL, *, reserved_mib=None, busy=None):
    return Measured(
        trial=trial, device="a device", case_s=2.0, data_share=0.25,
        memory=(Memory(device="cuda", allocated_mib=900.0, reserved_mib=reserved_mib),),
        busy=(busy,), flops=5e9, peak_flops_per_s=1e10,
    )  # fmt: skip


@pytest.fixture(scope="module")
def both_stages(tmp_path_factory):
    """What a trial of each stage gave, and what it left in its folder."""
    work, threads = tmp_path_factory.mktemp("work"), torch.get_num_threads()
    found = [measured(msgspec.structs.replace(TRIAL, stage=stage), work) for stage in ("coarse", "joint")]
    torch.set_num_threads(threads)
    return found, sorted(path.suffix for path in work.iterdir())


def test_a_trial_trains_and_says_what_a_case_took(both_stages):
    trials, left = both_stages
    assert left == [".npy"] * 6
    for found in trials:
        assert found.case_s > 0
        assert 0 <= found.data_share < 1
        assert found.memory[0].allocated_mib > 50
        assert found.busy == (None,)
        assert 0 < found.peak_share < 1


def test_a_joint_case_takes_more_arithmetic_than_a_coarse_one(both_stages):
    coarse, joint = both_stages[0]
    assert joint.flops > 1.1 * coarse.flops


def test_made_cases_show_every_organ_and_are_made_once(tmp_path):
    cases = made_cases(tmp_path, configured(TRIAL), (13, 39, 40), count=2)
    assert cases[0].geometry.shape_zyx == SHAPE
    assert set(cases[0].box_cells) == set(SEGTHOR.names)
    assert set(np.unique(cases[0].labels())) == {0, 1, 2, 3, 4}
    assert not np.array_equal(cases[0].image(), cases[1].image())
    before = cases[0].image_path.stat().st_mtime_ns
    made_cases(tmp_path, configured(TRIAL), SHAPE, count=2)
    assert cases[0].image_path.stat().st_mtime_ns == before


def test_organs_have_their_places_at_any_size():
    assert all(np.isin(organ.id, labels_of((24, 32, 40))) for organ in SEGTHOR.organs)


def test_each_setting_is_changed_alone_in_both_stages():
    trials = planned(["fast"], device="cpu", threads=1, steps=3, shape_zyx=None, short=False)
    for stage in ("coarse", "joint"):
        base, *changed = [trial for trial in trials if trial.stage == stage]
        plain = msgspec.structs.asdict(base)
        for trial in changed:
            values = msgspec.structs.asdict(trial)
            assert sum(values[name] != plain[name] for name in plain) == 1
    assert all(trial.most_bytes is None for trial in trials)


def test_on_a_gpu_whole_scans_are_trained_within_the_memory_promised():
    trials = planned(["paper"], device="cuda", threads=1, steps=3, shape_zyx=None, short=False)
    bound = [trial for trial in trials if trial.most_bytes is not None]
    assert [trial.stage for trial in bound] == ["coarse", "joint"]
    assert all(trial.shape_zyx == (240, 304, 424) and trial.precision == "bfloat16" for trial in bound)
    assert all(trial.most_bytes < MOST_BYTES for trial in bound)


@pytest.mark.parametrize(
    ("reserved_mib", "busy", "said"),
    [
        (9000, 0.9, []),
        (11900, 0.9, ["takes 13.0 GB"]),
        (9000, 0.5, ["busy 50%"]),
        (9000, None, ["nobody says"]),
    ],
)
def test_a_broken_promise_is_told(reserved_mib, busy, said):
    trial = msgspec.structs.replace(TRIAL, recipe="paper", shape_zyx=SHAPES["paper"], most_bytes=11.5e9)
    found = faults(result(trial, reserved_mib=reserved_mib, busy=busy))
    assert len(found) == len(said)
    assert all(words in sentence for words, sentence in zip(said, found, strict=True))


def test_a_trial_that_does_not_fit_is_a_row_and_a_broken_promise():
    trial = msgspec.structs.replace(TRIAL, recipe="paper", shape_zyx=SHAPES["paper"], most_bytes=11.5e9)
    assert "| inf | 0 | 0.0% | too little |" in row(out_of_memory(trial))
    assert "takes inf GB" in faults(out_of_memory(trial))[0]


def test_other_trials_promise_nothing():
    assert faults(result(reserved_mib=90000, busy=0.1)) == []


def test_the_page_says_what_was_measured():
    assert row(result(reserved_mib=1000, busy=0.875)) == (
        "| `tiny` 14×40×40 joint | bfloat16 | 1 | 2 | cpu | 2 | 0.5 | 25.0% | 900 / 1000 | 88% "
        "| 25% of 0.01 TFLOP/s |"
    )
    text = "\n".join(page([result()], ABOUT))
    assert "on 2026-01-02: commit abc" in text
    assert "was not measured here" in text


def test_what_nvidia_smi_prints_is_averaged():
    assert share_of("80\n100\n90\n") == pytest.approx(0.9)
    assert share_of("[N/A]\n") is None


def test_nobody_is_asked_how_busy_a_cpu_is():
    busy = Busy([torch.device("cpu")])
    busy.watch(Event(kind="step", step=1, steps=1))
    assert busy.shares == (None,)
