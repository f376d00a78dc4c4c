"""Where a model is: shipped with the package, a bundle, or a training run."""

from importlib.resources import files
from pathlib import Path

from thoar.core.errors import ModelError
from thoar.inference.bundle import MANIFEST

DEFAULT_MODEL = "thorax"
"""Stands for one of the two below, as the device asks for."""
FAST_MODEL = "thorax-fast"
PAPER_MODEL = "thorax-paper"


def shipped_models() -> dict[str, Path]:
    """Return the folder of every model that came with the package, by name."""
    root = Path(str(files("thoar"))) / "models"
    if not root.is_dir():
        return {}
    return {folder.name: folder for folder in sorted(root.iterdir()) if (folder / MANIFEST).is_file()}


def real_name(name: str, *, accelerated: bool = False) -> str:
    """Return the name of the shipped model that a name means: ``thorax`` is one or the other.

    Args:
        name: as it was given.
        accelerated: whether the model will run on a GPU, where the larger one is taken if it is shipped.
    """
    if name != DEFAULT_MODEL:
        return name
    return PAPER_MODEL if accelerated and PAPER_MODEL in shipped_models() else FAST_MODEL


def find_model(name: str | Path, *, accelerated: bool = False) -> Path:
    """Return the bundle folder that a name or path means.

    Args:
        name: a shipped model's name, a bundle's folder, or a run's folder (whose ``best`` is taken, else
            ``last``).
        accelerated: see :func:`real_name`.

    Raises:
        ModelError: if there is no such model.
    """
    shipped, meant = shipped_models(), real_name(str(name), accelerated=accelerated)
    if meant in shipped:
        return shipped[meant]
    path = Path(name)
    for folder in (path, path / "best", path / "last"):
        if (folder / MANIFEST).is_file():
            return folder
    if meant in (FAST_MODEL, PAPER_MODEL):
        raise ModelError(
            f"{name}: this version of thoar ships no {meant} (it ships {_listed(shipped)}); train it with "
            f"scripts/train_thorax.py --recipe {meant.removeprefix('thorax-')}, as "
            "docs/how-to/train-the-shipped-models.md says, or name another --model"
        )
    raise ModelError(
        f"{name}: is neither a shipped model ({_listed(shipped)}) nor the folder of a bundle or a training "
        "run"
    )


def _listed(shipped: dict[str, Path]) -> str:
    return ", ".join(shipped) or "none"
