"""Independent programs on what we write: plastimatch draws it, dciodvfy judges it, dcmdump reads it."""

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest

from thoar.core.box import Box
from thoar.core.geometry import Geometry
from thoar.core.labels import Organ
from thoar.core.volume import Volume
from thoar.io.dicom.series import read_series
from thoar.io.structures.organ_mask import Maker, OrganMask
from thoar.io.structures.rtstruct_writer import write_rtstruct

pytestmark = pytest.mark.peer

MAKER = Maker(model="thorax-fast", model_version="0123456789ab", software_version="0.1.0")


def masks_by_plastimatch(program: str, rtstruct: Path, series: Path, out: Path) -> dict[str, np.ndarray]:
    """Each structure as plastimatch rasterises it, in the order of the series' own slices."""
    command = [program, "convert", "--input", rtstruct, "--referenced-ct", series, "--output-prefix", out]
    subprocess.run([*command, "--prefix-format", "nii.gz"], check=True, capture_output=True)
    masks = {}
    for path in out.iterdir():
        image = nib.load(path)
        assert nib.aff2axcodes(image.affine) == ("L", "P", "S")
        masks[path.name.removesuffix(".nii.gz")] = np.asarray(image.dataobj).transpose(2, 1, 0) > 0
    return masks


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def soft(signed_distance_mm: np.ndarray, width_mm: float = 1.0) -> np.ndarray:
    """A probability that falls from 1 to 0 across a surface."""
    return 1 / (1 + np.exp(np.clip(signed_distance_mm / width_mm, -30, 30)))


def shapes(zyx_mm: np.ndarray) -> dict[str, np.ndarray]:
    """Organ-like shapes, rings and slivers in a field of about 110 mm; z runs over 20 mm."""
    z, y, x = zyx_mm
    heart = np.hypot(np.hypot((y - 60) / 1.2, (x - 66) / 1.4), (z - 9) * 2) - 24
    wall = np.abs(np.hypot(y - 52, x - 52) - 36) - 1.6
    arch = np.abs(np.hypot(y - 40, (x - 30) / 1.5) - 16 - z / 5) - 6
    slit = np.abs(x - 30 - 0.3 * y + 0.5 * z) - 0.7
    return {
        "heart": soft(heart),
        "esophagus": soft(np.hypot(y - 70 - z / 4, (x - 40 + z / 3) / 1.6) - 4),
        "trachea": soft(np.hypot(y - 33, x - 50 + z / 6) - 8, 0.3),
        "aorta": soft(np.maximum(arch, y - 44)),
        "wall": soft(wall, 0.4),
        "rings": soft(np.abs((np.hypot(y - 52, x - 52) + z / 4) % 9 - 4.5) - 1.5, 0.5),
        "sliver": soft(np.maximum(slit, np.abs(y - 50) - 40), 0.2),
        "bubbles": soft(np.maximum(heart, 4 - np.hypot((y + z) % 11 - 5, x % 13 - 6)), 0.4),
        "noise": np.random.default_rng(0).random(z.shape) * soft(heart),
    }


@pytest.mark.parametrize("spacing_mm", [0.7, 1.3671875])
def test_plastimatch_draws_the_same_pixels(spacing_mm: float, tmp_path, write_series, peer) -> None:
    size = round(110 / spacing_mm)
    spacing_zyx_mm = (2.5, spacing_mm, spacing_mm)
    geometry = Geometry.axial((5, size, size), spacing_zyx_mm, origin_xyz_mm=(-66.3, -71.7, -340.1))
    folder = write_series(Volume(voxels=np.zeros(geometry.shape_zyx, np.int16), geometry=geometry))
    found = shapes(np.indices(geometry.shape_zyx) * np.reshape(spacing_zyx_mm, (3, 1, 1, 1)))
    organs = [
        OrganMask(
            organ=Organ(name=name, id=k), box_zyx=Box.of_shape(geometry.shape_zyx), probability=probability
        )
        for k, (name, probability) in enumerate(found.items(), start=1)
    ]
    write_rtstruct(tmp_path / "rt.dcm", read_series(folder), organs, maker=MAKER)
    drawn = masks_by_plastimatch(peer("plastimatch"), tmp_path / "rt.dcm", folder, tmp_path / "masks")
    assert sorted(drawn) == sorted(found)
    for organ in organs:
        assert organ.mask.sum() > 0
        assert dice(drawn[organ.organ.name], organ.mask) >= 0.9999, organ.organ.name


def errors_of(program: str, path: Path) -> list[str]:
    done = subprocess.run([program, path], check=False, capture_output=True, text=True)
    lines = (done.stdout + done.stderr).splitlines()
    assert any("RTStructureSet" in line for line in lines)
    return [line for line in lines if line.startswith("Error")]


Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, planes_of, series_of, blob) -> Write:
    """Write the blob on a small series."""

    def run(
        edit: Callable[[pydicom.Dataset], None] = str,
        *,
        frames: bool = False,
        organs: Sequence = (),
        **options,
    ) -> Path:
        series = series_of(planes_of(turned=(0, 0, 10)), edit=edit, frames=frames)
        write_rtstruct(tmp_path / "rt.dcm", series, list(organs) or [blob], **{"maker": MAKER, **options})
        return tmp_path / "rt.dcm"

    return run


def without_type_2(ds: pydicom.Dataset) -> None:
    for keyword in ("PatientName", "PatientID", "PatientSex", "StudyTime", "SpecificCharacterSet"):
        delattr(ds, keyword)


def in_japanese(ds: pydicom.Dataset) -> None:
    ds.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    ds.PatientName = "Yamada^Tarou=山田^太郎=やまだ^たろう"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"frames": True},
        {"edit": without_type_2},
        {"edit": in_japanese},
        {"maker": Maker(automatic=False)},
        {"maker": Maker(uid_seed="seed", model="m" * 100, model_version="é\\" * 12)},
    ],
)
def test_dciodvfy_finds_no_error(write: Write, peer, options) -> None:
    assert errors_of(peer("dciodvfy"), write(**options)) == []


def test_dciodvfy_finds_no_error_after_adding(write: Write, peer, organ_of) -> None:
    path = write()
    write(organs=[organ_of(np.ones((1, 3, 3)), name="aorta", id=4)], append_to=path)
    assert len(pydicom.dcmread(path).ROIContourSequence) == 2
    assert errors_of(peer("dciodvfy"), path) == []


def test_dciodvfy_knows_no_xor_and_finds_nothing_else(write: Write, peer) -> None:
    errors = errors_of(peer("dciodvfy"), write(holes="xor"))
    assert all("CLOSEDPLANAR_XOR" in error for error in errors)


@pytest.mark.parametrize("options", [{}, {"frames": True}, {"holes": "xor"}])
def test_dcmdump_reads_every_element(write: Write, peer, options) -> None:
    path = write(**options)
    done = subprocess.run([peer("dcmdump"), path], check=True, capture_output=True, text=True)
    assert done.stderr == ""
    contours = pydicom.dcmread(path).ROIContourSequence[0].ContourSequence
    assert done.stdout.count("ContourData") == len(contours)


def test_contours_of_more_than_64_kilobytes_are_read(tmp_path, write_series, peer) -> None:
    geometry = Geometry.axial((3, 84, 84), (3.0, 1.0, 1.0), origin_xyz_mm=(-48.3, -48.7, -340.1))
    folder = write_series(Volume(voxels=np.zeros(geometry.shape_zyx, np.int16), geometry=geometry))
    comb = np.random.default_rng(0).random(geometry.shape_zyx) * 0.4
    comb[:, ::2] += 0.5
    comb[:, :, 0] = 1
    organ = OrganMask(
        organ=Organ(name="comb", id=1), box_zyx=Box.of_shape(geometry.shape_zyx), probability=comb
    )
    report = write_rtstruct(tmp_path / "rt.dcm", read_series(folder), [organ], maker=MAKER)
    assert report.points["comb"] > 3 * 3_000
    drawn = masks_by_plastimatch(peer("plastimatch"), tmp_path / "rt.dcm", folder, tmp_path / "masks")
    np.testing.assert_array_equal(drawn["comb"], organ.mask)
    assert errors_of(peer("dciodvfy"), tmp_path / "rt.dcm") == []
    subprocess.run([peer("dcmdump"), tmp_path / "rt.dcm"], check=True, capture_output=True)
