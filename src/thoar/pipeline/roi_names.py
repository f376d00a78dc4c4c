"""What structures are to be called in RTSTRUCT and DICOM-SEG, where somebody says so."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from thoar.core.configuration import load_toml
from thoar.core.errors import ConfigError

LONGEST = 64
"""Characters of an ROIName or SegmentLabel (value representation LO)."""


def read_roi_names(path: Path) -> dict[str, str]:
    """Read a TOML file of lines such as ``heart = "Heart PRV"``.

    Raises:
        ConfigError: if it is no TOML, a name is no text of at most 64 plain characters, or two are the same.
    """
    names: dict[str, str] = {}
    for organ, name in load_toml(path).items():
        if not isinstance(name, str) or not _is_fit(name):
            raise ConfigError(
                f"{path}: {organ} = {name!r} is no name; write text of 1 to {LONGEST} characters without "
                "backslash"
            )
        if name in names.values():
            raise ConfigError(f"{path}: two structures are to be called {name!r}; names must differ")
        names[organ] = name
    return names


def refuse_unknown(names: Mapping[str, str], known: Iterable[str]) -> None:
    """Refuse names for structures that there are none of: a misspelt one would be lost in silence.

    Raises:
        ConfigError: naming them.
    """
    there = tuple(known)
    strange = sorted(set(names) - set(there))
    if strange:
        raise ConfigError(f"--names: there is no {', '.join(strange)} here; there are {', '.join(there)}")


def _is_fit(name: str) -> bool:
    return 0 < len(name) <= LONGEST and name == name.strip() and name.isprintable() and "\\" not in name
