"""Which cases a data set has, where their files lie and which organs are labelled in each.

A data set is a folder with a ``dataset.toml``::

    [[label_set.organs]]            # optional; SegTHOR's four organs without it
    name = "heart"
    id = 2

    [[cases]]
    id = "Patient_01"
    image = "Patient_01/Patient_01.nii.gz"
    label = "Patient_01/GT.nii.gz"  # optional
    organs = ["heart"]              # labelled ones; all of the label set without it
    absent = ["heart"]              # labelled ones that were looked for and are not there; none without it
    group = "Patient_01"            # cases of one group are never parted by a split; the id without it
    source = "our clinic"           # whose anatomy it shows; models say what they were trained on

Paths are relative to the folder, with forward slashes. A folder without ``dataset.toml`` is read as
SegTHOR's layout (arXiv 1912.05950): ``Patient_01/Patient_01.nii.gz`` and ``Patient_01/GT.nii.gz``, with or
without a ``train/`` level, ``.nii`` or ``.nii.gz``, with or without labels.
"""

import logging
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath

import msgspec
import tomli_w

from thoar.core.configuration import load_toml, plain
from thoar.core.errors import ConfigError, InputError, LabelError
from thoar.core.labels import SEGTHOR, LabelSet
from thoar.io.atomic import atomic_bytes

_log = logging.getLogger(__name__)

MANIFEST = "dataset.toml"
_SUFFIXES = (".nii.gz", ".nii")
_LONGEST_ID = 200  # bytes; it names a folder of results, and file systems stop at 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One scan of a data set.

    Attributes:
        id: names the case in splits, results and folders of results.
        image: a volume file or a DICOM folder.
        label: its label map, or None.
        organs: which organs are labelled; one that is not listed is unknown, not absent.
        absent: which of these were looked for and are not there, so that they have no voxel.
        group: cases of one group (a patient's scans) belong on one side of a split.
        source: whose anatomy it shows; empty where nobody said.

    Raises:
        InputError: if the id cannot name a folder, organs are listed without a label, or as absent without
            being listed.
    """

    id: str
    image: Path
    label: Path | None
    organs: tuple[str, ...]
    group: str
    source: str = ""
    absent: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_id(self.id)
        if self.organs and self.label is None:
            raise InputError(f"case {self.id}: lists labelled organs but no label; name its label file")
        unlisted = [name for name in self.absent if name not in self.organs]
        if unlisted:
            raise InputError(
                f"case {self.id}: {', '.join(unlisted)} is said to be absent but not to be labelled; list it "
                "under organs too if somebody looked for it, else take it out of absent"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """The cases of one folder.

    Raises:
        InputError: if there is no case, or two ids differ in nothing but upper and lower case.
        LabelError: if a case lists an organ that the label set lacks.
    """

    root: Path
    label_set: LabelSet
    cases: tuple[Case, ...]

    def __post_init__(self) -> None:
        check_ids([case.id for case in self.cases], self.root)
        for case in self.cases:
            try:
                for name in case.organs:
                    self.label_set.organ(name)
            except LabelError as error:
                raise LabelError(f"{self.root}: case {case.id}: {error}") from error


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A case as ``dataset.toml`` spells it."""

    id: str
    image: str
    label: str | None = None
    organs: tuple[str, ...] | None = None
    group: str | None = None
    source: str | None = None
    absent: tuple[str, ...] | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``dataset.toml`` as a whole."""

    label_set: LabelSet = SEGTHOR
    cases: tuple[Entry, ...]


def is_dataset(folder: Path) -> bool:
    """Say whether a folder has a ``dataset.toml`` or SegTHOR's layout."""
    return (folder / MANIFEST).is_file() or (folder.is_dir() and any(_segthor_cases(folder)))


def read_dataset(folder: Path) -> Dataset:
    """Read which cases a folder holds; no image is opened.

    Raises:
        InputError: naming the file and what to do, where the folder is no data set, its manifest is no
            TOML, has an unknown key, names a file that is absent or lies outside the folder, repeats an
            id, or lists no case.
        LabelError: where the manifest's organs contradict its label set.
    """
    if (folder / MANIFEST).is_file():
        return _read_manifest(folder)
    cases = tuple(_segthor_cases(folder)) if folder.is_dir() else ()
    if not cases:
        raise InputError(
            f"{folder}: is no data set; it needs a {MANIFEST}, or SegTHOR's layout: "
            "Patient_01/Patient_01.nii.gz with Patient_01/GT.nii.gz beside it, and so on"
        )
    _warn_of_others({case.image.parent for case in cases})
    return Dataset(root=folder, label_set=SEGTHOR, cases=cases)


def labelled(dataset: Dataset) -> Dataset:
    """Return a data set without the cases that have no label map, as a challenge's test scans.

    Raises:
        InputError: if no case has one.
    """
    cases = tuple(case for case in dataset.cases if case.label is not None)
    if not cases:
        raise InputError(f"{dataset.root}: no case has a label map; name the data set that has some")
    if len(cases) < len(dataset.cases):
        _log.warning("%d cases without a label map are left out", len(dataset.cases) - len(cases))
    return replace(dataset, cases=cases)


def load_manifest(path: Path) -> Manifest:
    """Read a manifest's text; whether its files exist is not looked at.

    Raises:
        InputError: if it cannot be read, is no TOML, or has an unknown key.
        LabelError: if its label set contradicts itself.
    """
    try:
        return msgspec.convert(load_toml(path), Manifest)
    except ConfigError as error:
        raise InputError(str(error)) from error
    except LabelError as error:
        raise LabelError(f"{path}: {error}") from error
    except msgspec.ValidationError as error:
        raise InputError(f"{path}: {error}") from error


def write_dataset(folder: Path, dataset: Dataset) -> None:
    """Write ``dataset.toml`` into a folder that holds the data set's files.

    Raises:
        InputError: if a file lies outside the folder.
    """
    manifest = Manifest(
        label_set=dataset.label_set, cases=tuple(_entry(folder, case) for case in dataset.cases)
    )
    text = tomli_w.dumps(plain(manifest)).encode()
    atomic_bytes(folder / MANIFEST, text)


def _read_manifest(folder: Path) -> Dataset:
    manifest = load_manifest(folder / MANIFEST)
    cases = tuple(_case(folder, entry, label_set=manifest.label_set) for entry in manifest.cases)
    return Dataset(root=folder, label_set=manifest.label_set, cases=cases)


def _case(folder: Path, entry: Entry, *, label_set: LabelSet) -> Case:
    all_organs = label_set.names if entry.label is not None else ()
    return Case(
        id=entry.id,
        image=_inside(folder, entry.image, what=f"the image of case {entry.id!r}"),
        label=None
        if entry.label is None
        else _inside(folder, entry.label, what=f"the label of case {entry.id!r}"),
        organs=all_organs if entry.organs is None else entry.organs,
        group=entry.id if entry.group is None else entry.group,
        source=entry.source or "",
        absent=entry.absent or (),
    )


def _inside(folder: Path, text: str, *, what: str) -> Path:
    """Return a manifest's path, refused where it leads out of the folder or to nothing."""
    parts = PureWindowsPath(text)  # knows both slashes and drive letters
    if parts.anchor or ".." in parts.parts or not parts.parts or "\0" in text:
        raise InputError(
            f"{folder / MANIFEST}: {what} is {text!r}; write a path below the data set's own folder"
        )
    path = folder / text
    if not path.exists():
        raise InputError(
            f"{path}: {what} is listed in {MANIFEST} but absent; put the file there or take the entry out"
        )
    return path


def _entry(folder: Path, case: Case) -> Entry:
    return Entry(
        id=case.id,
        image=_relative(folder, case.image),
        label=None if case.label is None else _relative(folder, case.label),
        organs=case.organs if case.label is not None else None,
        group=case.group,
        source=case.source or None,
        absent=case.absent or None,
    )


def _relative(folder: Path, path: Path) -> str:
    try:
        return path.relative_to(folder).as_posix()
    except ValueError:
        raise InputError(f"{path}: lies outside the data set's folder {folder}; move it there") from None


def _segthor_cases(folder: Path) -> Iterator[Case]:
    """Yield the cases of SegTHOR's layout in order of their names."""
    level = folder / "train" if (folder / "train").is_dir() else folder
    for place in sorted(p for p in level.iterdir() if p.is_dir() and not p.name.startswith(".")):
        image, label = _only(place, place.name), _only(place, "GT")
        if image is None and label is not None:
            raise InputError(f"{place}: has {label.name} but no {place.name}.nii.gz; put the image there")
        if image is not None:
            organs = SEGTHOR.names if label is not None else ()
            yield Case(id=place.name, image=image, label=label, organs=organs, group=place.name)


def _warn_of_others(taken: Collection[Path]) -> None:
    """Tell of folders beside the cases that look like one but hold no image of their own name."""
    level = next(iter(taken)).parent
    others = (p for p in level.iterdir() if p.is_dir() and p not in taken and p.name[0] != ".")
    for place in sorted(p for p in others if p.name != "test"):
        if any(file.name.endswith(_SUFFIXES) for file in place.iterdir()):
            _log.warning("%s is left out: there is no %s.nii.gz in it", place.name, place.name)


def _only(place: Path, stem: str) -> Path | None:
    found = [place / f"{stem}{suffix}" for suffix in _SUFFIXES if (place / f"{stem}{suffix}").is_file()]
    if len(found) > 1:
        raise InputError(f"{place}: has both {found[0].name} and {found[1].name}; keep one")
    return found[0] if found else None


def check_ids(ids: Sequence[str], place: Path) -> None:
    """Refuse ids of one data set that cannot stand side by side as folders of results.

    Args:
        ids: of all cases.
        place: what to name in messages.

    Raises:
        InputError: if there is none, one cannot name a folder, or two differ in nothing but upper and lower
            case.
    """
    if not ids:
        raise InputError(f"{place}: a data set without cases")
    seen: dict[str, str] = {}
    for name in ids:
        _check_id(name)
        key = unicodedata.normalize("NFC", name).casefold()
        if key in seen:
            raise InputError(
                f"{place}: two cases are called {seen[key]!r} and {name!r}, which is one name on "
                "file systems that ignore case; rename one"
            )
        seen[key] = name


def _check_id(name: str) -> None:
    if (
        not name
        or name != name.strip()
        or name.startswith(".")
        or name.endswith(".")
        or not name.isprintable()
        or any(c in name for c in '/\\:*?"<>|')
        or len(name.encode()) > _LONGEST_ID
    ):
        raise InputError(
            f"{name[:_LONGEST_ID]!r} cannot be a case's id, since it names a folder of results: use at most "
            f"{_LONGEST_ID} bytes, no leading dot, no slash, colon or other sign that file systems refuse"
        )
