"""``thoar info``: what is installed here, without importing any of it."""

import json
import platform
import re
import sys
from importlib.resources import files
from typing import Annotated, Any

import typer

from thoar.core.versions import UNKNOWN, version_of


def info(
    *,
    devices: Annotated[
        bool, typer.Option("--devices", help="Also list the devices torch finds (takes seconds).")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show versions, shipped models and, if asked, devices."""
    found: dict[str, Any] = {
        "thoar": version_of("thoar"),
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "dependencies": _dependencies(),
        "models": _shipped_models(),
    }
    if devices:
        found["devices"] = _devices()
    typer.echo(json.dumps(found, indent=2) if as_json else _lines(found))


def _dependencies() -> dict[str, str | None]:
    """Return the installed version of each declared dependency, None where it is missing."""
    import importlib.metadata

    try:
        declared = importlib.metadata.requires("thoar") or []
    except importlib.metadata.PackageNotFoundError:  # run from its sources, which declare none
        declared = []
    names = (re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in declared if "extra ==" not in line)
    return {name: _version(name) for name in sorted(names, key=str.casefold)}


def _version(name: str) -> str | None:
    found = version_of(name)
    return None if found == UNKNOWN else found


def _shipped_models() -> list[str]:
    folder = files("thoar") / "models"
    if not folder.is_dir():
        return []
    return sorted(place.name for place in folder.iterdir() if (place / "manifest.json").is_file())


def _devices() -> list[str]:
    import torch

    found = [f"cpu ({torch.get_num_threads()} threads)"]
    found += [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    return [*found, "mps"] if torch.backends.mps.is_available() else found


def _lines(found: dict[str, Any]) -> str:
    lines: list[str] = []
    for name, value in found.items():
        if isinstance(value, dict):
            lines += [f"{name}:", *(f"  {key} {text or 'MISSING'}" for key, text in value.items())]
        elif isinstance(value, list):
            lines.append(f"{name}: {', '.join(value) or 'none'}")
        else:
            lines.append(f"{name}: {value}")
    return "\n".join(lines)
