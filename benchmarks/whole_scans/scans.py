"""The scans: a real one in three kinds of file, and one synthetic body on grids of hospital size."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from jaxtyping import Bool, Float, Int16, UInt8
from provenance import code

from thoar.core.box import Index3
from thoar.core.geometry import Geometry, Vector3
from thoar.core.labels import SEGTHOR
from thoar.core.random import rng_for
from thoar.core.volume import LabelVolume, Volume
from thoar.datasets.sample import CASE_ID
from thoar.io.atomic import atomic_bytes
from thoar.io.formats import read_volume, write_labels, write_volume
from thoar.phantoms.scanning.site import Site
from thoar.phantoms.synthesis import CaseParameters, draw_case, make_case, with_site

SEED, NUMBER = 6, 11
"""Of the body: an adult of usual build, supine."""
SITE = Site(slice_mm=(2.5, 2.5), noise_hu=(10.0, 10.0), gain=(1.0, 1.0), offset_hu=(0.0, 0.0))
PIXEL_MM = 0.9765625
MADE_ZYX_MM = (2.5, PIXEL_MM, PIXEL_MM)
"""Voxels that the body is made with, once."""
NOISE_HU = 12.0
"""Of every voxel by itself, besides the scanner's: without it files would be smaller than real ones."""
AIR_HU, LOWEST_HU, HIGHEST_HU = -1000, -1024, 3071


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A grid of the synthetic body."""

    shape_zyx: Index3
    spacing_zyx_mm: Vector3


GRIDS: Mapping[str, Grid] = {
    "x178": Grid(shape_zyx=(178, 512, 512), spacing_zyx_mm=MADE_ZYX_MM),
    "x300": Grid(shape_zyx=(300, 512, 512), spacing_zyx_mm=(1.5, PIXEL_MM, PIXEL_MM)),
    "x600": Grid(shape_zyx=(600, 512, 512), spacing_zyx_mm=(1.0, PIXEL_MM, PIXEL_MM)),
    "tiny": Grid(shape_zyx=(40, 96, 96), spacing_zyx_mm=(10.0, 5.2, 5.2)),
}
"""Neck, chest and upper belly; of ``x600`` more of neck and belly. ``tiny`` is for trying things out."""
SAMPLE_KINDS = ("sample", "sample-nii", "sample-dicom")
"""As .nii.gz, as .nii, and as uncompressed DICOM."""
SCANS = (*SAMPLE_KINDS, *GRIDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """A scan that is segmented.

    Attributes:
        name: of :data:`SCANS`.
        image: a file, or a folder of DICOM.
        labels: what is where.
    """

    name: str
    image: Path
    labels: Path


def scan_of(work: Path, name: str, *, sample: Path) -> Scan:
    """Return a scan, made first where the folder does not hold it.

    Args:
        work: keeps what is made.
        name: of :data:`SCANS`.
        sample: what ``thoar sample --dicom`` wrote.

    Raises:
        SystemExit: if the sample is not there.
    """
    return _sample(work, name, sample / CASE_ID) if name in SAMPLE_KINDS else _phantom(work, name)


def _sample(work: Path, name: str, case: Path) -> Scan:
    zipped, plain, labels = case / f"{CASE_ID}.nii.gz", work / f"{CASE_ID}.nii", case / "GT.nii.gz"
    image = {"sample": zipped, "sample-nii": plain, "sample-dicom": case / "dicom"}[name]
    if image == plain and zipped.is_file() and not plain.is_file():
        write_volume(plain, read_volume(zipped))
    if not (image.exists() and labels.is_file()):
        raise SystemExit(f"{image}: is missing; make it with: thoar sample {case.parent} --dicom")
    return Scan(name=name, image=image, labels=labels)


def _phantom(work: Path, name: str) -> Scan:
    place = work / name
    scan = Scan(name=name, image=place / f"{name}.nii.gz", labels=place / "GT.nii.gz")
    made = place / "made.json"
    if not made.is_file():
        place.mkdir(parents=True, exist_ok=True)
        image, labels = placed(*_body(work / "body.npz"), GRIDS[name])
        write_volume(scan.image, image)
        write_labels(scan.labels, labels)
        atomic_bytes(made, msgspec.json.encode(code()))
    return scan


def _body(path: Path) -> tuple[Int16[np.ndarray, "z y x"], UInt8[np.ndarray, "z y x"]]:
    """Return the body's values and labels, made once."""
    if not path.is_file():
        image, labels = make_case("thorax", parameters(), spacing_zyx_mm=MADE_ZYX_MM)
        np.savez(path, hu=image.voxels, labels=labels.voxels)
    with np.load(path) as kept:
        return kept["hu"], kept["labels"]


def parameters() -> CaseParameters:
    """Return what makes the body, all of it in view."""
    rng = rng_for(SEED, "scan", NUMBER)
    drawn = with_site(draw_case(rng, "thorax"), SITE, rng=rng)
    whole = {"bottom": 0.0, "top": 1.0, "width_mm": 500.0, "circle": False, "shift_xy_mm": (0.0, 0.0)}
    return msgspec.structs.replace(drawn, field=msgspec.structs.replace(drawn.field, **whole))


def placed(
    hu: Int16[np.ndarray, "z y x"], labels: UInt8[np.ndarray, "z y x"], grid: Grid
) -> tuple[Volume, LabelVolume]:
    """Return the body in the middle of a grid: linear between its voxels, with fine noise.

    Where the grid is longer than the body, its last slices go on to the ends, as trunk and neck do; beside
    the body lies air. It is done slice by slice, and so takes little memory at any size.
    """
    rng = rng_for(SEED, "noise", *grid.shape_zyx)
    z, y, x = (
        (n - 1) / 2 + (np.arange(count) - (count - 1) / 2) * step / made
        for n, count, step, made in zip(
            hu.shape, grid.shape_zyx, grid.spacing_zyx_mm, MADE_ZYX_MM, strict=True
        )
    )
    seen = _within(y, hu.shape[1])[:, None] & _within(x, hu.shape[2])
    image, ids = np.empty(grid.shape_zyx, dtype=np.int16), np.zeros(grid.shape_zyx, dtype=np.uint8)
    nearest = np.ix_(
        *(np.rint(at.clip(0, n - 1)).astype(int) for at, n in zip((y, x), hu.shape[1:], strict=True))
    )
    for index, level in enumerate(z.clip(0, len(hu) - 1)):
        values = between(between(between(hu, np.array([level]))[0], y).T, x).T
        noisy = np.where(seen, values, AIR_HU) + rng.normal(0, NOISE_HU, values.shape)
        image[index] = np.rint(noisy).clip(LOWEST_HU, HIGHEST_HU)
        ids[index] = np.where(seen, labels[round(level)][nearest], 0)
    geometry = Geometry.axial(grid.shape_zyx, grid.spacing_zyx_mm)
    return (
        Volume(voxels=image, geometry=geometry),
        LabelVolume(voxels=ids, geometry=geometry, label_set=SEGTHOR),
    )


def between(values: np.ndarray, at: Float[np.ndarray, " place"]) -> np.ndarray:
    """Return values between neighbours along the first axis; beyond the ends, the last ones.

    >>> between(np.array([0.0, 4.0]), np.array([-1.0, 0.25, 9.0])).tolist()
    [0.0, 1.0, 4.0]
    """
    at = at.clip(0, len(values) - 1)
    lower = np.minimum(at.astype(int), len(values) - 2)
    share = (at - lower).astype(np.float32).reshape(-1, *[1] * (values.ndim - 1))
    return values[lower] * (1 - share) + values[lower + 1] * share


def _within(at: Float[np.ndarray, " place"], size: int) -> Bool[np.ndarray, " place"]:
    return (at >= 0) & (at <= size - 1)
