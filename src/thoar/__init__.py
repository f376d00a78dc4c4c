"""Contours of the thoracic organs at risk from a chest CT, and the training of the networks that draw them.

The names below are the public interface in memory; each is imported when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from thoar.core.geometry import Geometry
    from thoar.core.labels import LabelSet
    from thoar.core.volume import Volume
    from thoar.inference.predictor import Predictor, segment
    from thoar.inference.segmentation import Segmentation
    from thoar.io.formats import read_volume

    __version__: str

__all__ = [
    "Geometry",
    "LabelSet",
    "Predictor",
    "Segmentation",
    "Volume",
    "__version__",
    "read_volume",
    "segment",
]

_HOMES = {
    "Geometry": "thoar.core.geometry",
    "LabelSet": "thoar.core.labels",
    "Predictor": "thoar.inference.predictor",
    "Segmentation": "thoar.inference.segmentation",
    "Volume": "thoar.core.volume",
    "read_volume": "thoar.io.formats",
    "segment": "thoar.inference.predictor",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        return import_module("thoar.core.versions").version_of("thoar")
    if name not in _HOMES:
        raise AttributeError(f"module 'thoar' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
