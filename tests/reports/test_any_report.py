import pytest

from thoar.core.errors import InputError, UsageError
from thoar.reports.any_report import write_report


def title(path):
    return path.read_text().split("<h1>")[1].split("</h1>")[0]


def test_what_is_given_decides_what_is_told(write_run):
    run = write_run("cv/fold_0")
    assert title(write_report(run)) == "Training run fold_0"
    assert title(write_report(run.parent)) == "Cross-validation cv"
    assert title(write_report(run / "validation.json", run / "scores.html")) == "Scores of validation.json"


def test_a_killed_run_that_left_nothing_but_metrics_has_a_report(write_run):
    run = write_run()
    (run / "run.json").unlink()
    assert title(write_report(run)) == "Training run run"


@pytest.mark.parametrize("name", ["absent", "absent.json", "folder", "other.json"])
def test_other_things_are_refused_by_name(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "other.json").write_text('{"cases": 3}')
    with pytest.raises(InputError, match=name.partition(".")[0]):
        write_report(tmp_path / name)


def test_an_earlier_report_is_replaced_and_nothing_else(write_run):
    run = write_run()
    assert write_report(run) == write_report(run)
    (run / "report.html").write_text("<h1>mine</h1>")
    with pytest.raises(UsageError, match="no report of ours"):
        write_report(run)
    assert (run / "report.html").read_text() == "<h1>mine</h1>"
