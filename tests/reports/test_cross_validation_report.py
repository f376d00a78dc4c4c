import json

import pytest

from thoar.reports.cross_validation_report import write_cross_validation_report


@pytest.fixture
def write_folds(write_run, of):
    """Write runs of folds, and their summary: per fold the Dice of its cases."""

    def write(missing=(), **folds):
        run = write_run("cv/fold_0")
        for name in list(folds)[1:]:
            write_run(f"cv/{name}")
        summary = {
            "organs": ["heart"],
            "tolerance_mm": 3.0,
            "cases": [
                {"case_id": f"{name}-{n}", "fold": name, "scores": {"heart": of(dice)}}
                for name, values in folds.items()
                for n, dice in enumerate(values)
            ],
            "missing": dict(missing),
        }
        (run.parent / "cross_validation.json").write_text(json.dumps(summary))
        return run.parent

    return write


def test_all_cases_of_all_folds_are_scored_together(write_folds, sound_page):
    folder = write_folds(fold_0=[0.9, 0.5], fold_1=[0.7])
    (folder / "fold_1" / "report.html").touch()
    html = write_cross_validation_report(folder).read_text()
    seen = sound_page(html)
    assert 'href="./fold_1/report.html"' in html
    assert "heart 3 0.700 ± 0.200 0.700" in seen
    assert "fold_0 finished: 4 of 4 epochs in 2 h 2 min on cpu 2 0.700" in seen
    assert seen.index("fold_0-1 (fold_0)") < seen.index("fold_1-0 (fold_1)")
    assert "Not all folds" not in seen


def test_missing_and_unfinished_folds_are_named(write_folds, sound_page):
    missing = {"fold_1": "has not ended", "fold_10": "has not begun"}
    seen = sound_page(
        write_cross_validation_report(write_folds(missing, fold_0=[0.8], fold_1=[])).read_text()
    )
    assert "Not all folds are in what follows: fold_1 has not ended; fold_10 has not begun." in seen
    assert "fold_1 finished: 4 of 4 epochs in 2 h 2 min on cpu 0 –" in seen
    assert "fold_10 run.json is missing 0 –" in seen
    assert "heart 1 0.800" in seen


def test_folds_that_nobody_summed_up_have_a_report(tmp_path, sound_page):
    (tmp_path / "fold_0").mkdir()
    seen = sound_page(write_cross_validation_report(tmp_path).read_text())
    assert "cross_validation.json is missing" in seen
    assert "fold_0 run.json is missing" in seen
