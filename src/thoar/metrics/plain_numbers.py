"""Scores in JSON, which has no NaN and no infinity: ``null`` is undefined (NaN), ``"inf"`` infinite."""

import math
from collections.abc import Sequence
from typing import Any, cast


def plain_numbers(value: Any) -> Any:
    """Return nested dictionaries and lists with every NaN and infinity as JSON can say it.

    >>> plain_numbers({"dice": math.nan, "hausdorff_mm": [math.inf, 2.0]})
    {'dice': None, 'hausdorff_mm': ['inf', 2.0]}
    """
    if isinstance(value, dict):
        return {key: plain_numbers(item) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [plain_numbers(item) for item in cast("Sequence[Any]", value)]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf"
    return value


def numbers_again(value: Any) -> Any:
    """Undo :func:`plain_numbers` on dictionaries that hold nothing but numbers.

    >>> numbers_again({"heart": {"dice": None, "hausdorff_mm": "inf"}})
    {'heart': {'dice': nan, 'hausdorff_mm': inf}}
    """
    if isinstance(value, dict):
        return {key: numbers_again(item) for key, item in cast("dict[str, Any]", value).items()}
    if value is None:
        return math.nan
    return math.inf if value == "inf" else value
