import pytest

from thoar.cli.app import main


def leave(*arguments):
    with pytest.raises(SystemExit) as left:
        main([str(a) for a in arguments])
    return left.value.code


def test_report_writes_a_page_and_says_where(tmp_path, capsys):
    (tmp_path / "metrics.csv").write_text("epoch,stage,name,value\n0,coarse,train/coarse,0.5\n")
    assert leave("report", tmp_path, "-o", tmp_path / "pages" / "run.html") == 0
    page = tmp_path / "pages" / "run.html"
    assert capsys.readouterr().out.strip() == str(page)
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_report_refuses_what_is_no_page_or_no_run(tmp_path, capsys):
    assert leave("report", tmp_path, "-o", tmp_path / "run.pdf") == 2
    assert leave("report", tmp_path) == 3
    assert "run.json" in capsys.readouterr().err
