"""nnU-Net's raw layout, as version 2 documents it and version 1 had it.

``imagesTr/<case>_0000.nii.gz``, ``labelsTr/<case>.nii.gz``, ``imagesTs/`` without labels, ``dataset.json``.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thoar.core.errors import InputError, UnsupportedFormatError
from thoar.datasets.layouts.dataset_json import FILE, DatasetJson, OurCase, labels_of, read_dataset_json
from thoar.datasets.layouts.source import LabelFile, Source, SourceCase, inside
from thoar.io.formats import VOLUME_SUFFIXES

LAYOUT = "nnunet"
CHANNEL = "_0000"

Files = Mapping[str, tuple[Path, Path | None]]
"""Each case's image and label."""


def find(folder: Path) -> Source:
    """Return the cases of a ``DatasetXXX_Name`` folder.

    What our own export wrote into ``dataset.json`` beside nnU-Net's keys (ids, colours, which organs are
    labelled, groups) is taken from there again.

    Raises:
        InputError: if ``dataset.json`` is absent or broken, an image has no label or a label no image, or
            there are more or fewer than it says.
        LabelError: for ignore labels and regions, which we have not.
        UnsupportedFormatError: if its scans are not one channel of CT.
    """
    path = folder / FILE
    said = read_dataset_json(folder)
    names = labels_of(said, path)
    training = _listed(folder, said) if said.dataset is not None else _training(folder, said.file_ending)
    if said.num_training is not None and said.num_training != len(training):
        raise InputError(
            f"{path}: says numTraining {said.num_training}, but there are {len(training)} training cases; "
            "fetch what is missing, or correct the number"
        )
    tests = _images(folder / "imagesTs", said.file_ending) if (folder / "imagesTs").is_dir() else {}
    files: Files = {
        **training,
        **{_new_id(case_id, training, folder): (image, None) for case_id, image in tests.items()},
    }
    ours = {case.id: case for case in said.thoar.cases} if said.thoar else {}
    return Source(
        layout=LAYOUT,
        place=folder,
        cases=tuple(_case(i, *places, names=names, our=ours.get(i)) for i, places in files.items()),
        label_set=said.thoar.label_set if said.thoar else None,
    )


def _case(
    case_id: str, image: Path, label: Path | None, *, names: Mapping[int, str], our: OurCase | None
) -> SourceCase:
    labels = () if label is None else (LabelFile(path=label, names=names),)
    if our is None:
        return SourceCase(id=case_id, image=image, labels=labels)
    return SourceCase(
        id=case_id,
        image=image,
        labels=labels,
        organs=our.organs if labels else None,
        absent=our.absent,
        group=our.group,
        source=our.source,
    )


def _training(folder: Path, ending: str) -> dict[str, tuple[Path, Path]]:
    images = _images(folder / "imagesTr", ending)
    labels = {p.name.removesuffix(ending): p for p in _files(folder / "labelsTr", ending)}
    bare, lost = sorted(images.keys() - labels.keys()), sorted(labels.keys() - images.keys())
    if bare or lost:
        raise InputError(
            f"{folder}: images without a label: {', '.join(bare) or 'none'}; labels without an image: "
            f"{', '.join(lost) or 'none'}; put imagesTr/<case>{CHANNEL}{ending} and labelsTr/<case>{ending} "
            "in pairs"
        )
    return {name: (image, labels[name]) for name, image in images.items()}


def _images(folder: Path, ending: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in _files(folder, ending):
        parts = re.fullmatch(r"(.+)(_\d{4})", path.name.removesuffix(ending))
        if parts is None:
            raise InputError(
                f"{path}: is not called <case>{CHANNEL}{ending}, as nnU-Net's images are; is this "
                "the Decathlon's layout (import msd)?"
            )
        if parts[2] != CHANNEL:
            raise UnsupportedFormatError(
                f"{path}: is a second channel; we read scans of one channel, {CHANNEL}"
            )
        found[parts[1]] = path
    return found


def _files(folder: Path, ending: str) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"{folder}: is missing; name a folder with imagesTr/, labelsTr/ and {FILE}")
    files = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    for path in files:
        if path.name.lower().endswith(VOLUME_SUFFIXES) and not path.name.endswith(ending):
            raise InputError(
                f"{path}: does not end in {ending}, as all files do by {FILE} (file_ending, .nii.gz without "
                "it); correct the ending there, or take the file away"
            )
    return [path for path in files if path.name.endswith(ending)]


def _new_id(case_id: str, training: Mapping[str, Any], folder: Path) -> str:
    if case_id in training:
        raise InputError(f"{folder}: {case_id} lies both in imagesTr and imagesTs; rename or remove one")
    return case_id


def _listed(folder: Path, said: DatasetJson) -> dict[str, tuple[Path, Path]]:
    """Return the cases that ``dataset.json`` lists under ``dataset``, as version 2 allows."""
    cases: dict[str, tuple[Path, Path]] = {}
    for name, entry in (said.dataset or {}).items():
        match entry:
            case {"images": [str(image)], "label": str(label)}:
                cases[name] = tuple(inside(folder, text, said_by=folder / FILE) for text in (image, label))  # pyright: ignore[reportArgumentType]
            case _:
                raise InputError(
                    f"{folder / FILE}: dataset lists {name} as {entry!r}; it needs one path under images and "
                    "one under label"
                )
    return cases
