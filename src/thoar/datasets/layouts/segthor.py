"""SegTHOR's layout, and any folder that we read as a data set.

``train/Patient_01/Patient_01.nii.gz`` with ``GT.nii.gz`` beside it, and ``test/Patient_41.nii.gz`` without
labels; the level ``train/`` may be missing (arXiv 1912.05950).
"""

from pathlib import Path

from thoar.datasets.layouts.source import LabelFile, Source, SourceCase
from thoar.datasets.manifest import MANIFEST, Case, read_dataset
from thoar.io.formats import volume_stem

LAYOUT = "segthor"


def find(folder: Path) -> Source:
    """Return the cases of a folder.

    Where it has a ``dataset.toml``, that says which organs are labelled; else those with a voxel are.

    Raises:
        InputError: if it is no such folder.
    """
    dataset = read_dataset(folder)
    said = (folder / MANIFEST).is_file()
    cases = tuple(source_case(case, organs_said=said) for case in dataset.cases)
    tests = () if said else _test_cases(folder / "test")
    return Source(
        layout=LAYOUT,
        place=folder,
        cases=(*cases, *tests),
        label_set=dataset.label_set if said else None,
    )


def source_case(case: Case, *, organs_said: bool) -> SourceCase:
    """Return a data set's case as a source's.

    Args:
        case: of a data set.
        organs_said: somebody listed which organs are labelled.
    """
    return SourceCase(
        id=case.id,
        image=case.image,
        labels=() if case.label is None else (LabelFile(path=case.label),),
        organs=case.organs if organs_said and case.label is not None else None,
        absent=case.absent,
        group=case.group,
        source=case.source,
    )


def _test_cases(folder: Path) -> tuple[SourceCase, ...]:
    if not folder.is_dir():
        return ()
    scans = sorted(p for p in folder.iterdir() if p.name.endswith((".nii", ".nii.gz")) and p.name[0] != ".")
    return tuple(SourceCase(id=volume_stem(path), image=path) for path in scans)
