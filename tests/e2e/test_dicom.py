"""DICOM in, RTSTRUCT and DICOM-SEG out: the shipped model, our own readers, and other people's programs."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest

from thoar.core.geometry import Geometry
from thoar.core.labels import SEGTHOR
from thoar.core.volume import LabelVolume, Volume, to_canonical
from thoar.io.dicom.series import read_series
from thoar.io.formats import read_labels, read_volume
from thoar.io.structures.rasterise import rtstruct_masks
from thoar.io.structures.rtstruct_reader import read_rtstruct
from thoar.io.structures.seg_reader import read_segmentation, segment_masks
from thoar.io.structures.structure_mask import StructureMask
from thoar.metrics.overlap import dice

Peer = Callable[[str], str]
ORGANS = {organ.tg263: organ.name for organ in SEGTHOR.organs}
"""What an organ is called in RTSTRUCT and DICOM-SEG, and what everywhere else."""
FORMATS = ("--formats", "nifti,rtstruct,dicom-seg", "--probabilities")
RTSTRUCT, SEG = "rtstruct.dcm", "segmentation.dcm"


def run(*command: str | Path) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def thoar(*arguments: str | Path) -> str:
    return run(sys.executable, "-m", "thoar", *arguments)


def own_mask(out: Path, organ: str) -> np.ndarray:
    """Return an organ's own mask, which may overlap others, on the axial grid; as written to NIfTI."""
    return to_canonical(read_volume(out / f"probability_{organ}.nii.gz")).voxels >= 0.5


def on_axial_grid(mask: StructureMask, series_grid: Geometry) -> np.ndarray:
    """Return a structure read back as a whole volume, in the same order as :func:`own_mask`."""
    whole = np.zeros(series_grid.shape_zyx, np.uint8)
    if mask.box_zyx is not None and mask.mask is not None:
        whole[mask.box_zyx.slices] = mask.mask
    return to_canonical(Volume(voxels=whole, geometry=series_grid)).voxels > 0


def assert_no_errors(dciodvfy: str, path: Path) -> None:
    done = subprocess.run([dciodvfy, str(path)], capture_output=True, text=True, timeout=60, check=False)
    errors = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]
    assert not errors, errors


@pytest.fixture(scope="module")
def written(
    tmp_path_factory: pytest.TempPathFactory, chest: Volume, write_slices: Callable[..., Path]
) -> tuple[Path, Path]:
    """The phantom as DICOM, and its contours in all three formats."""
    # the slices of a sagittal acquisition: nothing here may count on axial ones
    order = {"axes": (2, 0, 1), "flipped": (False, True, False)}
    sagittal = Volume(
        voxels=np.flip(chest.voxels.transpose(order["axes"]), 1), geometry=chest.geometry.reordered(**order)
    )
    folder = write_slices(tmp_path_factory.mktemp("series"), sagittal, edit=ordinary)
    out = tmp_path_factory.mktemp("out")
    thoar("segment", folder, "-o", out, *FORMATS)
    return folder, out


def ordinary(ds: pydicom.Dataset, k: int) -> None:
    """Give a slice what scanners write and a reader of volumes does not need."""
    ds.StudyDate, ds.StudyTime, ds.StudyID = "20260101", "120000", "1"
    ds.AccessionNumber = ds.ReferringPhysicianName = ds.PatientBirthDate = ds.PatientSex = ""
    ds.SeriesNumber, ds.InstanceNumber = 3, k + 1


def test_one_command_writes_three_formats_that_agree(written: tuple[Path, Path]) -> None:
    folder, out = written
    assert {RTSTRUCT, SEG, "segmentation.nii.gz", "run.json"} <= {file.name for file in out.iterdir()}
    record = json.loads((out / "run.json").read_text())
    found = [name for name, organ in record["organs"].items() if not organ["flags"]["not_found"]]
    assert len(found) >= 3
    series = read_series(folder)
    assert series.volume is not None
    drawn = {ORGANS[mask.name]: mask for mask in rtstruct_masks(read_rtstruct(out / RTSTRUCT), series)}
    coded = {ORGANS[mask.name]: mask for mask in segment_masks(read_segmentation(out / SEG), series)}
    assert set(drawn) == set(coded) == set(found)
    for organ in found:
        truth = own_mask(out, organ)
        assert np.array_equal(on_axial_grid(coded[organ], series.volume.geometry), truth), organ
        assert dice(on_axial_grid(drawn[organ], series.volume.geometry), truth) > 0.98, organ


@pytest.mark.peer
def test_validator_finds_no_error_in_what_is_written(written: tuple[Path, Path], peer: Peer) -> None:
    for name in (RTSTRUCT, SEG):
        assert_no_errors(peer("dciodvfy"), written[1] / name)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The public sample CT as DICOM; needs the network once."""
    out = tmp_path_factory.mktemp("sample") / "sample"
    thoar("sample", out, "--dicom")
    return out / "LIDC-IDRI-0001" / "dicom"


@pytest.fixture(scope="module")
def segmented(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("segmented")
    thoar("segment", sample, "-o", out, *FORMATS)
    return out


@pytest.mark.slow
@pytest.mark.peer
def test_plastimatch_reads_back_the_same_organs(
    tmp_path: Path, sample: Path, segmented: Path, peer: Peer
) -> None:
    run(peer("plastimatch"), "convert", "--input", segmented / RTSTRUCT, "--referenced-ct", sample,
        "--output-prefix", tmp_path, "--prefix-format", "nii.gz")  # fmt: skip
    read = {file.name.removesuffix(".nii.gz"): file for file in tmp_path.iterdir()}
    assert set(read) == set(ORGANS)
    for name, file in read.items():
        mask = to_canonical(read_volume(file)).voxels > 0
        assert dice(mask, own_mask(segmented, ORGANS[name])) >= 0.999, name


@pytest.mark.slow
def test_highdicom_reads_back_the_very_voxels(sample: Path, segmented: Path) -> None:
    segmentation = highdicom.seg.segread(segmented / SEG)
    slices = [pydicom.dcmread(file, stop_before_pixels=True) for file in sample.iterdir()]
    slices.sort(key=lambda ds: float(ds.ImagePositionPatient[2]))
    uids = [ds.SOPInstanceUID for ds in slices]
    for number in segmentation.segment_numbers:
        organ = ORGANS[segmentation.get_segment_description(number).segment_label]
        mask = segmentation.get_pixels_by_source_instance(
            uids, segment_numbers=[number], assert_missing_frames_are_empty=True
        )
        # the sample's rows run to the back and its columns to the left, as on the axial grid
        assert np.array_equal(mask[..., 0] > 0, own_mask(segmented, organ)), organ


@pytest.mark.slow
@pytest.mark.peer
def test_validator_finds_no_error_in_the_samples_contours(segmented: Path, peer: Peer) -> None:
    for name in (RTSTRUCT, SEG):
        assert_no_errors(peer("dciodvfy"), segmented / name)


def turned(geometry: Geometry, degrees: float) -> Geometry:
    """Return the grid turned about the patient's long axis: the patient lies askew, with the same voxels."""
    matrix = np.eye(4)
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix[:2, :2] = [[c, -s], [s, c]]
    return Geometry(shape_zyx=geometry.shape_zyx, lps_from_index=matrix @ geometry.lps_from_index)


REWRITTEN = {
    "sagittal": ((2, 0, 1), (False, True, False), "HFS", 0.0),
    "coronal": ((1, 0, 2), (False, True, False), "HFS", 0.0),
    "prone": ((0, 1, 2), (False, True, True), "HFP", 0.0),
    "feet first": ((0, 1, 2), (False, False, True), "FFS", 0.0),
    "reversed": ((0, 1, 2), (True, False, False), "HFS", 0.0),
    "oblique": ((0, 1, 2), (False, False, False), "HFS", 10.0),
}
"""How the sample is written anew: order and direction of its axes, what the header says, degrees turned."""


@pytest.mark.slow
@pytest.mark.parametrize("name", REWRITTEN)
def test_organs_stay_in_place_however_the_slices_are_cut(
    name: str, tmp_path: Path, sample: Path, segmented: Path, write_series: Callable[..., Path]
) -> None:
    axes, flipped, position, degrees = REWRITTEN[name]
    scan = read_series(sample).volume
    assert scan is not None
    scan = to_canonical(scan)
    backwards = tuple(axis for axis in range(3) if flipped[axis])
    rewritten = Volume(
        voxels=np.flip(scan.voxels.transpose(axes), backwards),
        geometry=turned(scan.geometry, degrees).reordered(axes, flipped=flipped),
    )

    def edit(ds: pydicom.Dataset, k: int) -> None:
        ordinary(ds, k)
        ds.PatientPosition = position

    folder, out = write_series(rewritten, edit=edit), tmp_path / "out"
    thoar("segment", folder, "-o", out, *FORMATS)
    ours = turned_back(read_labels(out / "segmentation.nii.gz", SEGTHOR), degrees)
    first = turned_back(read_labels(segmented / "segmentation.nii.gz", SEGTHOR), 0.0)
    assert ours.geometry.same_grid(first.geometry)
    for organ in SEGTHOR.organs:
        assert dice(ours.voxels == organ.id, first.voxels == organ.id) >= 0.99, organ.name


def turned_back(labels: LabelVolume, degrees: float) -> Volume:
    return to_canonical(Volume(voxels=labels.voxels, geometry=turned(labels.geometry, -degrees)))
