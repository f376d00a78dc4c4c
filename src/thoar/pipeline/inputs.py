"""Which cases a path given as INPUT stands for."""

from dataclasses import dataclass
from pathlib import Path

from thoar.core.errors import InputError
from thoar.datasets.manifest import MANIFEST, is_dataset, read_dataset
from thoar.io.formats import VOLUME_SUFFIXES, is_dicom_folder, volume_stem

_DICOM_SUFFIXES = (".zip", ".dcm", ".ima")


@dataclass(frozen=True, slots=True, kw_only=True)
class InputCase:
    """One scan to segment.

    Attributes:
        id: names its results.
        path: a volume file, or a DICOM folder, zip or file.
        root: the folder given as INPUT, where it holds many cases; summaries name files from there.
    """

    id: str
    path: Path
    root: Path | None = None


def find_cases(path: Path) -> tuple[InputCase, ...]:
    """Return the cases of a volume file, a DICOM folder, zip or file, a data set, or a folder of volumes.

    A folder with ``dataset.toml`` is a data set; one that holds DICOM is one series; one in SegTHOR's
    layout is a data set; in any other every volume is a case. Files called ``GT*`` are never inputs.

    Raises:
        InputError: if the path does not exist, or a folder holds nothing to segment.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    if path.is_file():
        return (InputCase(id=_stem(path), path=path),)
    if (path / MANIFEST).is_file():
        return _cases_of_dataset(path)
    if is_dicom_folder(path):
        return (InputCase(id=path.resolve().name, path=path),)
    if is_dataset(path):
        return _cases_of_dataset(path)
    volumes = [file for file in sorted(path.iterdir()) if _is_input(file)]
    if not volumes:
        raise InputError(
            f"{path}: holds neither DICOM, nor a data set, nor a volume ({', '.join(VOLUME_SUFFIXES)})"
        )
    cases = tuple(InputCase(id=volume_stem(file), path=file, root=path) for file in volumes)
    _refuse_same_ids(path, cases)
    return cases


def is_single(path: Path) -> bool:
    """Say whether an input stands for one scan alone, whose results lie in OUT itself."""
    return path.is_file() or (not (path / MANIFEST).is_file() and is_dicom_folder(path))


def _cases_of_dataset(path: Path) -> tuple[InputCase, ...]:
    return tuple(InputCase(id=case.id, path=case.image, root=path) for case in read_dataset(path).cases)


def _stem(file: Path) -> str:
    """Return a file's name without the ending of a volume, a zip or a DICOM file."""
    return file.stem if file.suffix.lower() in _DICOM_SUFFIXES else volume_stem(file)


def _is_input(file: Path) -> bool:
    named = file.name.lower()
    return file.is_file() and named.endswith(VOLUME_SUFFIXES) and not file.name.startswith(("GT", "."))


def _refuse_same_ids(path: Path, cases: tuple[InputCase, ...]) -> None:
    seen: dict[str, Path] = {}
    for case in cases:
        other = seen.setdefault(case.id.casefold(), case.path)
        if other is not case.path:
            raise InputError(
                f"{path}: {other.name} and {case.path.name} would write to one folder; rename one"
            )
