import math

import pytest

from thoar.metrics.summary import summarise


def test_undefined_scores_are_left_out_and_counted():
    summary = summarise([0.5, math.nan, 0.7])
    assert (summary.mean, summary.median, summary.n, summary.n_undefined) == (pytest.approx(0.6), 0.6, 2, 1)
    assert summary.sd == pytest.approx(0.1 * math.sqrt(2))


def test_a_missed_organ_makes_the_mean_infinite_but_not_the_median():
    summary = summarise([2.0, math.inf, 4.0])
    assert summary.mean == math.inf
    assert (summary.median, summary.n, summary.n_infinite) == (4.0, 3, 1)
    assert math.isnan(summary.sd)


@pytest.mark.parametrize("values", [[], [math.nan]])
def test_without_defined_scores_everything_is_undefined(values):
    summary = summarise(values)
    assert all(math.isnan(x) for x in (summary.mean, summary.median, summary.sd))
    assert (summary.n, summary.n_undefined) == (0, len(values))


def test_one_case_has_no_standard_deviation():
    assert math.isnan(summarise([1.0]).sd)
