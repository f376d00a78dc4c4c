"""The Medical Segmentation Decathlon's layout: a list of every image and label (arXiv 1902.09063)."""

from pathlib import Path
from typing import Any

from thoar.core.errors import InputError
from thoar.datasets.layouts.dataset_json import FILE, DatasetJson, labels_of, read_dataset_json
from thoar.datasets.layouts.source import LabelFile, Source, SourceCase, inside
from thoar.io.formats import volume_stem

LAYOUT = "msd"


def find(folder: Path) -> Source:
    """Return the cases that a folder's ``dataset.json`` lists, for training and for tests.

    Raises:
        InputError: if the file is absent or broken, or lists no case.
        LabelError: if its labels are not organs with one id each.
        UnsupportedFormatError: if its scans are not one channel of CT.
    """
    path = folder / FILE
    said = read_dataset_json(folder)
    names = labels_of(said, path)
    _refuse_wrong_count(said, path)
    training = tuple(
        SourceCase(
            id=volume_stem(image),
            image=image,
            labels=(LabelFile(path=_file(folder, entry, "label"), names=names),),
        )
        for entry in said.training
        for image in (_file(folder, entry, "image"),)
    )
    tests = tuple(_file(folder, {"image": entry}, "image") for entry in said.test)
    bare = tuple(SourceCase(id=volume_stem(image), image=image) for image in tests)
    return Source(layout=LAYOUT, place=folder, cases=(*training, *bare))


def _refuse_wrong_count(said: DatasetJson, path: Path) -> None:
    if said.num_training is not None and said.num_training != len(said.training):
        raise InputError(
            f"{path}: says numTraining {said.num_training}, but lists {len(said.training)} training cases; "
            "fetch the data set again, or correct the number"
        )


def _file(folder: Path, entry: Any, key: str) -> Path:
    if not isinstance(entry, dict) or not isinstance(entry.get(key), str):
        raise InputError(f"{folder / FILE}: an entry is {entry!r}; it needs the path of an {key}")
    return inside(folder, entry[key], said_by=folder / FILE)
