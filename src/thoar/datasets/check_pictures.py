"""A picture of every case that is checked, so that a person can look at what numbers only suspect."""

from pathlib import Path

from thoar.core.volume import LabelVolume, Volume
from thoar.datasets.manifest import Case
from thoar.pictures.overview import overview
from thoar.pictures.png import write_png

PICTURES = "pictures"


def draw_case(path: Path, case: Case, *, image: Volume, labels: LabelVolume) -> None:
    """Write a PNG: slices through the labelled organs, each outlined in its colour."""
    organs = [organ for organ in labels.label_set.organs if organ.name in case.organs]
    masks = {organ: labels.voxels == organ.id for organ in organs}
    write_png(path, overview(image, masks, title=case.id))
