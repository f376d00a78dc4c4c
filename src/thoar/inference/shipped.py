"""Where a model is: shipped with the package, a bundle, a training run, or a cross-validation's folds."""

from importlib.resources import files
from pathlib import Path

from thoar.core.errors import ModelError
from thoar.inference.manifest import MANIFEST

DEFAULT_MODEL = "thorax"
"""Stands for one of the two below, as the device asks for."""
FAST_MODEL = "thorax-fast"
PAPER_MODEL = "thorax-paper"
FOLD = "fold_"
"""What the folder of a cross-validation calls its runs, before their number."""


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
    """Return the one bundle folder that a name or path means.

    Args:
        name: see :func:`find_members`.
        accelerated: see :func:`real_name`.

    Raises:
        ModelError: if there is no such model, or it has several members.
    """
    first, *others = find_members(name, accelerated=accelerated)
    if others:
        raise ModelError(
            f"{name}: holds the {1 + len(others)} folds of a cross-validation, and one model is wanted here; "
            f"name one of them, as in {first.parent}"
        )
    return first


def find_members(name: str | Path, *, accelerated: bool = False) -> tuple[Path, ...]:
    """Return the bundle folders that a name or path means: one, or every fold's of a cross-validation.

    Args:
        name: a shipped model's name, a bundle's folder, a run's folder (whose ``best`` is taken, else
            ``last``), or the folder of a cross-validation, with ``fold_0``, ``fold_1`` and so on.
        accelerated: see :func:`real_name`.

    Raises:
        ModelError: if there is no such model, or a fold has none yet.
    """
    shipped, meant = shipped_models(), real_name(str(name), accelerated=accelerated)
    if meant in shipped:
        return (shipped[meant],)
    path = Path(name)
    bundle, runs = _bundle_of(path), folds_of(path)
    if bundle is not None:
        return (bundle,)
    if runs:
        return tuple(_fold_bundle(run) for run in runs)
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


def folds_of(folder: Path) -> tuple[Path, ...]:
    """Return the runs of a cross-validation's folder by their number; none where it is no such folder."""
    runs = [
        run for run in folder.glob(f"{FOLD}*") if run.is_dir() and run.name.removeprefix(FOLD).isdecimal()
    ]
    return tuple(sorted(runs, key=lambda run: int(run.name.removeprefix(FOLD))))


def _bundle_of(path: Path) -> Path | None:
    return next((f for f in (path, path / "best", path / "last") if (f / MANIFEST).is_file()), None)


def _fold_bundle(run: Path) -> Path:
    bundle = _bundle_of(run)
    if bundle is None:
        raise ModelError(
            f"{run}: has no model yet; train that fold, or name one that is trained as the model"
        )
    return bundle


def _listed(shipped: dict[str, Path]) -> str:
    return ", ".join(shipped) or "none"
