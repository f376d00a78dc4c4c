"""Where a model is: shipped with the package, a bundle, or a training run."""

from importlib.resources import files
from pathlib import Path

from thoar.core.errors import ModelError
from thoar.inference.bundle import MANIFEST

DEFAULT_MODEL = "thorax"


def shipped_models() -> dict[str, Path]:
    """Return the folder of every model that came with the package, by name."""
    root = Path(str(files("thoar"))) / "models"
    if not root.is_dir():
        return {}
    return {folder.name: folder for folder in sorted(root.iterdir()) if (folder / MANIFEST).is_file()}


def find_model(name: str | Path) -> Path:
    """Return the bundle folder that a name or path means.

    Args:
        name: a shipped model's name, a bundle's folder, or a run's folder (whose ``best`` is taken, else
            ``last``).

    Raises:
        ModelError: if there is no such model.
    """
    shipped = shipped_models()
    if str(name) in shipped:
        return shipped[str(name)]
    path = Path(name)
    for folder in (path, path / "best", path / "last"):
        if (folder / MANIFEST).is_file():
            return folder
    known = ", ".join(shipped) or "none"
    raise ModelError(
        f"{name}: is neither a shipped model ({known}) nor the folder of a bundle or a training run"
    )
