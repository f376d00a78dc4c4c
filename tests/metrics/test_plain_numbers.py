import json
import math

import pytest

from thoar.metrics.plain_numbers import numbers_again, plain_numbers


@pytest.mark.parametrize("number", [0.5, -3.0, 2, math.inf])
def test_numbers_come_back_as_they_were(number):
    written = json.dumps(plain_numbers({"heart": {"dice": number}}), allow_nan=False)
    assert numbers_again(json.loads(written)) == {"heart": {"dice": number}}


def test_undefined_numbers_come_back_undefined():
    assert math.isnan(numbers_again(plain_numbers({"dice": math.nan}))["dice"])


def test_what_is_no_number_is_left_as_it_is():
    assert plain_numbers({"a": ("x", None, True, [1])}) == {"a": ["x", None, True, [1]]}
