"""What a layout says of its cases before any voxel is read: all layouts come down to this."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Literal

from thoar.core.errors import InputError
from thoar.core.labels import LabelSet
from thoar.datasets.manifest import check_ids

Empty = Literal["unlabelled", "absent"]
"""What it means where nobody says which organs are labelled, and one has no voxel in a case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelFile:
    """A label map, or the mask of one structure.

    Attributes:
        path: a volume file.
        names: the structure that each id stands for; None where the layout does not say. Ids other than
            these and 0 are refused.
    """

    path: Path
    names: Mapping[int, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceCase:
    """One scan, and where its labels lie.

    Attributes:
        id: what the case is to be called.
        image: a volume file or a DICOM folder.
        labels: files of its labels; none where it has none.
        organs: structures or organs that are labelled; None where nobody says.
        absent: those of them that were looked for and are not there.
        group: cases that belong on one side of a split; the id where it is empty.
        source: whose anatomy it shows.
    """

    id: str
    image: Path
    labels: tuple[LabelFile, ...] = ()
    organs: tuple[str, ...] | None = None
    absent: tuple[str, ...] = ()
    group: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The cases of a layout.

    Attributes:
        layout: its name.
        place: the folder or file that was named.
        cases: at least one.
        label_set: where the source itself says what organs it speaks of, with ids and colours.
        usual: organs to take where none is asked for; all without any.
        empty: what it means there that an organ has no voxel.
        any_region: its scans show any part of the body, so one without an organ asked for is no fault.

    Raises:
        InputError: if there is no case, an id cannot name a folder, or two are one name.
    """

    layout: str
    place: Path
    cases: tuple[SourceCase, ...]
    label_set: LabelSet | None = None
    usual: tuple[str, ...] = ()
    empty: Empty = "unlabelled"
    any_region: bool = False

    def __post_init__(self) -> None:
        check_ids([case.id for case in self.cases], self.place)

    @property
    def folder(self) -> Path:
        """Where the source lies."""
        return self.place if self.place.is_dir() else self.place.parent

    def labels_named(self) -> Iterator[tuple[int, str]]:
        """Yield each id with its name, as the label files are said to hold them; often the same again."""
        for case in self.cases:
            for label in case.labels:
                yield from (label.names or {}).items()


def inside(folder: Path, text: str, *, said_by: Path) -> Path:
    """Return a path that a file of a stranger names, refused where it leads out of the file's folder.

    Raises:
        InputError: naming both.
    """
    parts = PureWindowsPath(text)  # knows both slashes and drive letters
    if parts.anchor or ".." in parts.parts or "\0" in text or not parts.parts:
        raise InputError(f"{said_by}: names the file {text!r}; only files below {folder.name}/ are read")
    return folder / text
