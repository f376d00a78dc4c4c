import json

import pytest

from thoar.reports.run_report import run_page, write_run_report


def test_a_finished_run_is_told_in_full(write_run, sound_page):
    run = write_run()
    assert write_run_report(run) == run / "report.html"
    html = (run / "report.html").read_text()
    seen = sound_page(html)
    for said in (
        "finished: 4 of 4 epochs in 2 h 2 min on cpu",
        "warning: the data are the limit",
        "sums depend on the number of threads",
        'name = "fast"',
        "SHA-256 dddd",
        "512 MiB",
        "25% of the last epoch",
        "2 trained on, 1 held out",
        "joint stage",
        "0.800",
    ):
        assert said in seen, said
    assert "missing" not in seen
    assert html.count("<svg") == 4


def test_the_same_run_gives_the_same_page(write_run):
    run = write_run()
    assert run_page(run) == run_page(run)


def test_the_last_pictures_are_in_the_page(write_run, sound_page):
    seen = sound_page(run_page(write_run()))
    assert seen.index("after epoch 10") < seen.index("after epoch 3")
    assert "after epoch 0" not in seen


def test_a_failure_is_said_first(write_run, sound_page):
    seen = sound_page(
        run_page(write_run(outcome="failed", error="case c: the loss is no number", ended=None))
    )
    assert seen.index("error: case c: the loss is no number") < seen.index("Scores on")


@pytest.mark.parametrize("name", ["run.json", "metrics.csv", "configuration.toml", "validation.json"])
@pytest.mark.parametrize("content", [None, "{}", "\x00\xff"])
def test_a_missing_or_damaged_file_is_said_and_the_rest_told(write_run, sound_page, name, content):
    run = write_run()
    (run / name).unlink()
    if content is not None:
        (run / name).write_text(content, encoding="latin-1")
    seen = sound_page(run_page(run))
    assert (f"{name} is missing" in seen) == (content is None)
    assert ("2 h 2 min" in seen) == (name != "run.json")
    assert ("joint stage" in seen) == (name != "metrics.csv")


def test_an_empty_folder_has_a_report(tmp_path, sound_page):
    seen = sound_page(run_page(tmp_path))
    assert seen.count("is missing") == 6
    assert "None were taken" in seen


def test_keys_of_a_later_version_do_no_harm(write_run, sound_page):
    assert "2 h 2 min" in sound_page(run_page(write_run(news=[1], schema="thoar.training-run/9")))


def test_organs_have_the_colours_of_the_models_label_set(write_run):
    run = write_run()
    (run / "best").mkdir()
    label_set = {"organs": [{"name": "heart", "id": 9, "color_rgb": [1, 2, 3]}]}
    (run / "best" / "manifest.json").write_text(json.dumps({"format": 2, "label_set": label_set}))
    assert "#010203" in run_page(run)
    (run / "best" / "manifest.json").write_text("{")
    assert "#e63946" in run_page(run)


@pytest.mark.parametrize(
    ("reasons", "said"),
    [
        ([], "The same command on the same machine gives the same weights."),
        (["sums differ"], "may differ in bits: sums differ"),
        (None, "Whether another run may differ is not known."),
    ],
)
def test_a_run_promises_to_be_repeatable_only_where_it_said_so(write_run, sound_page, reasons, said):
    assert said in sound_page(run_page(write_run(not_reproducible=reasons)))


def test_no_time_spent_waiting_is_not_an_unknown_time(write_run, sound_page):
    assert "0% of the last epoch" in sound_page(run_page(write_run(data_share=0.0)))
    assert "waiting for data not known" in sound_page(run_page(write_run("other", data_share=None)))
