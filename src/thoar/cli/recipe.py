"""What commands that train have in common: recipes by name, and times as people write them."""

import math
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thoar.core.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from thoar.core.configuration import Configuration

OF_MODELS = ("adapt", "add-organ")
"""Shipped recipes that change a model's settings instead of describing a network."""


def recipe_values(recipe: str) -> tuple[dict[str, Any], str]:
    """Return what a shipped recipe or a TOML file says, and what to call it in an error.

    Raises:
        ConfigError: if it is neither.
    """
    from thoar.core.configuration import load_toml

    shipped = Path(str(files("thoar"))) / "configs" / f"{recipe}.toml"
    path = shipped if shipped.is_file() else Path(recipe)
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in shipped.parent.glob("*.toml")))
        raise ConfigError(f"{recipe}: is neither a shipped recipe ({known}) nor a TOML file")
    return load_toml(path), str(path)


def read_recipe(recipe: str, overrides: Sequence[str] = ()) -> "Configuration":
    """Return the configuration that a recipe describes, with ``section.key=value`` overrides.

    Raises:
        ConfigError: if there is no such recipe, or it or an override cannot mean anything.
        UsageError: for a recipe that changes a model, since here is none.
    """
    from thoar.core.configuration import configuration_from

    if recipe in OF_MODELS:
        raise UsageError(
            f"{recipe}: changes the settings of a model; say of which one: thoar train --from MODEL"
        )
    values, source = recipe_values(recipe)
    return configuration_from(values, overrides=overrides, source=source)


def seconds(text: str) -> float:
    """Return the seconds of a time such as 90s, 40m or 2h.

    Raises:
        UsageError: if it is none.
    """
    units = {"s": 1, "m": 60, "h": 3600}
    number, unit = (text[:-1], text[-1:]) if text[-1:] in units else (text, "s")
    try:
        value = float(number) * units[unit]
    except ValueError:
        value = math.nan
    if not value > 0:
        raise UsageError(f"--max-time {text}: expected a time such as 90s, 40m or 2h")
    return value
