"""``dataset.json``, in which nnU-Net (both versions) and the Medical Segmentation Decathlon list a data set.

Version 1 and the Decathlon write labels as ``{"0": "background", "1": "heart"}`` and the channels as
``modality``, version 2 ``{"background": 0, "heart": 1}`` and ``channel_names``.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from thoar.core.errors import InputError, LabelError, UnsupportedFormatError
from thoar.core.labels import LabelSet
from thoar.datasets.structure_names import plain_form

FILE = "dataset.json"


class OurCase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the file cannot say of a case in its own words."""

    id: str
    organs: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    group: str = ""
    source: str = ""


class OurPart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the file cannot say in its own words, under a key that other programs leave alone."""

    label_set: LabelSet
    cases: tuple[OurCase, ...]


class DatasetJson(msgspec.Struct, frozen=True, kw_only=True, rename={"num_training": "numTraining"}):
    """The keys that we read; the format allows any others beside them."""

    labels: dict[str, Any]
    channel_names: dict[str, Any] | None = None
    modality: dict[str, Any] | None = None
    num_training: int | None = None
    file_ending: str = ".nii.gz"
    regions_class_order: Any = None
    dataset: dict[str, Any] | None = None
    training: tuple[Any, ...] = ()
    test: tuple[Any, ...] = ()
    thoar: OurPart | None = None


def read_dataset_json(folder: Path) -> DatasetJson:
    """Read a folder's ``dataset.json``.

    Raises:
        InputError: if it is absent or broken.
        UnsupportedFormatError: if its scans are not one channel of CT.
    """
    path = folder / FILE
    try:
        said = msgspec.json.decode(path.read_bytes(), type=DatasetJson)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); name the folder that holds it"
        ) from error
    except (msgspec.DecodeError, LabelError) as error:
        raise InputError(f"{path}: {error}") from error
    channels = said.channel_names or said.modality or {}
    if [str(channel).strip().casefold() for channel in channels.values()] != ["ct"]:
        raise UnsupportedFormatError(
            f"{path}: its channels are {channels or 'not said'}; we read scans of one channel that is CT "
            '(channel_names or modality = {"0": "CT"})'
        )
    return said


def labels_of(said: DatasetJson, path: Path) -> Mapping[int, str]:
    """Return the structures by id, without the background.

    Raises:
        LabelError: for an ignore label, for regions, and where 0 is no background, or a name or id is double
            or no id.
    """
    pairs = [_pair(key, value, path) for key, value in said.labels.items()]
    doubles = [w for w, n in (Counter(i for i, _ in pairs) + Counter(s for _, s in pairs)).items() if n > 1]
    if doubles:
        raise LabelError(f"{path}: its labels say {doubles[0]!r} twice; a name has one id, an id one name")
    names = dict(sorted(pairs))
    if not plain_form(names.pop(0, "")).startswith("back"):
        raise LabelError(f"{path}: its labels lack a background of id 0; 0 is no structure here")
    if "ignore" in (name.casefold() for name in names.values()):
        raise LabelError(
            f"{path}: has an ignore label, of voxels that nobody labelled; we know organs that nobody "
            "labelled in a case, not voxels: leave such cases out, or take the label out of maps and labels"
        )
    if said.regions_class_order is not None:
        raise LabelError(_REGIONS.format(path))
    return names


_REGIONS = (
    "{}: has regions, which join or overlap other labels (regions_class_order); an organ here has one id of "
    "its own: list the ids as labels, and join them with --names where they make one organ"
)


def _pair(key: str, value: Any, path: Path) -> tuple[int, str]:
    if isinstance(value, list):
        raise LabelError(_REGIONS.format(path))
    if isinstance(value, str) and key.isdecimal():
        return int(key), value
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value, key
    raise LabelError(f"{path}: its label {key!r} has the id {value!r}; write a whole number from 0 on")
