"""An export is whole, draws what thoar draws, and needs nothing of thoar."""

import dataclasses
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import msgspec
import numpy as np
import pytest

from thoar.core.errors import InputError, ModelError
from thoar.core.volume import Volume
from thoar.inference.bundle import read_bundle
from thoar.inference.export import runtime
from thoar.inference.export.check import CheckScan, _written, measured
from thoar.inference.export.folder import export_model
from thoar.inference.export.manifest import ExportManifest
from thoar.inference.manifest import MANIFEST
from thoar.inference.predictor import Predictor
from thoar.inference.segmentation import Segmentation
from thoar.io.digest import sha256_of

ALONE = """
import os, runpy, sys

class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("thoar", "torch", "scipy", "skimage", "onnx", "msgspec", "jaxtyping"):
            raise ImportError(f"{name} is not to be had here")

def overhear(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "urllib.Request"):
        os.write(2, f"{event} {arguments}".encode())

sys.addaudithook(overhear)
sys.meta_path.insert(0, Refusing())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a program that finds none of these packages, and says on stderr whom it calls."""


@dataclasses.dataclass(frozen=True)
class Export:
    """A model, what thoar says of the scan with it, and its export."""

    model: Path
    expected: Segmentation
    folder: Path
    manifest: ExportManifest


@pytest.fixture(scope="session")
def export(tmp_path_factory: pytest.TempPathFactory, write_model, scan: Volume) -> Export:
    work = tmp_path_factory.mktemp("export")
    model = write_model(work / "model")
    bundle = read_bundle(model)
    manifest = export_model(bundle, work / "out", engine="onnxruntime", scan=described(scan))
    expected = Predictor.from_bundle(bundle, device="cpu", precision="float32").predict(scan)
    return Export(model=model, expected=expected, folder=work / "out", manifest=manifest)


def described(scan: Volume) -> CheckScan:
    return CheckScan(volume=scan, description="a phantom")


def directions(volume: Volume) -> np.ndarray:
    return (volume.geometry.lps_from_index[:3, :3] / volume.geometry.spacing_zyx_mm).T


def run_alone(folder: Path, *arguments: object) -> "subprocess.CompletedProcess[str]":
    program = [sys.executable, "-P", "-c", ALONE, str(folder / "runtime.py"), *map(str, arguments)]
    home = folder.parent / "home"
    home.mkdir(exist_ok=True)
    outside_ci = {key: value for key, value in os.environ.items() if key not in ("CI", "PYTHONHOME")}
    return subprocess.run(
        program, capture_output=True, text=True, check=False, env=outside_ci | {"HOME": str(home)}
    )


def test_the_folder_holds_what_its_manifest_says(export: Export) -> None:
    names = ["card.md", "encoder_coarse.onnx", "fine_aorta.onnx", "fine_cord.onnx", "fine_heart.onnx"]
    assert sorted(export.manifest.sha256) == [*names, "runtime.py"]
    assert {file.name for file in export.folder.iterdir()} == {*export.manifest.sha256, "manifest.json"}
    for name, digest in export.manifest.sha256.items():
        assert sha256_of(export.folder / name) == digest
    written = (export.folder / "manifest.json").read_bytes()
    assert msgspec.json.decode(written, type=ExportManifest) == export.manifest
    assert export.manifest.model_sha256 == sha256_of(export.model / MANIFEST)
    assert export.manifest.added.keys() == {"cord"}
    assert (export.folder / "card.md").read_text() == "Not for patients.\n"


def test_the_check_is_recorded_and_names_no_file(export: Export, scan: Volume) -> None:
    agreement = export.manifest.agreement
    assert agreement is not None
    assert agreement.scan == "a phantom"
    assert agreement.shape_zyx == scan.geometry.shape_zyx
    assert agreement.engine.startswith("onnxruntime 1.")
    assert set(agreement.dice) == {"heart", "aorta", "cord"}
    assert all(score is not None and score >= 0.999 for score in agreement.dice.values())


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1)])
@pytest.mark.parametrize("flipped", [(False, False, False), (True, False, True)])
def test_masks_volumes_and_flags_are_thoars(
    export: Export, scan: Volume, axes: tuple[int, int, int], flipped: tuple[bool, bool, bool]
) -> None:
    backwards = tuple(axis for axis in range(3) if flipped[axis])
    turned = Volume(
        voxels=np.flip(scan.voxels.transpose(axes), backwards),
        geometry=scan.geometry.reordered(axes, flipped=flipped),
    )
    found = runtime.Model(export.folder, threads=1).segment(
        turned.voxels, turned.geometry.spacing_zyx_mm, directions_xyz=directions(turned)
    )
    assert found.short_scan == export.expected.short_scan
    for organ in export.expected.organs:
        mine, name = found.organs[organ.organ.name], organ.organ.name
        assert organ.mask is not None
        mask = np.flip(export.expected.mask(name).transpose(axes), backwards)
        different = np.count_nonzero(found.mask(name) != mask)
        assert different <= 1e-3 * np.count_nonzero(mask)
        assert mine.volume_ml == pytest.approx(organ.volume_ml, rel=1e-3)
        flags = msgspec.to_builtins(organ.flags)
        assert mine.flags.pop("coarse_fine_dice") == pytest.approx(flags.pop("coarse_fine_dice"), abs=1e-3)
        assert mine.flags == {key: list(v) if isinstance(v, tuple) else v for key, v in flags.items()}
    labels = np.flip(export.expected.label_volume().voxels.transpose(axes), backwards)
    assert np.mean(found.label_map() != labels) < 1e-3


def test_the_flags_compared_are_not_all_of_one_kind(export: Export) -> None:
    flags = [organ.flags for organ in export.expected.organs]
    assert any(f.cut_by_scan for f in flags)
    assert any(f.regrown for f in flags)
    assert any(f.removed_components for f in flags)
    assert any(f.unusual_volume for f in flags)


def test_only_what_is_asked_for_is_drawn(export: Export, scan: Volume) -> None:
    model = runtime.Model(export.folder, threads=1)
    place = {"spacing_zyx_mm": scan.geometry.spacing_zyx_mm, "directions_xyz": runtime.AXIAL}
    found = model.segment(scan.voxels, organs=["cord"], **place)
    assert list(found.organs) == ["cord"]
    assert np.count_nonzero(found.mask("cord") != export.expected.mask("cord")) < 10
    for strange in (["liver"], []):
        with pytest.raises(ValueError, match="there are heart, aorta, cord"):
            model.segment(scan.voxels, organs=strange, **place)


def test_it_runs_as_a_program_where_there_is_nothing_but_numpy_and_the_engine(
    export: Export, scan: Volume, tmp_path: Path
) -> None:
    _written(scan, tmp_path / "scan.npz")
    done = run_alone(export.folder, tmp_path / "scan.npz", tmp_path / "out.npz", "--organs", "aorta,cord")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["aorta", "cord"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out.npz", "scan.npz"]
    with np.load(tmp_path / "out.npz") as out:
        report = json.loads(str(out["report"]))
        for name in ("aorta", "cord"):
            organ = export.expected.organ(name)
            assert np.count_nonzero(out[f"mask_{name}"] != export.expected.mask(name)) < 10
            assert report["organs"][name]["volume_ml"] == pytest.approx(organ.volume_ml, rel=1e-3)
        assert set(np.unique(out["label_map"])) == {0, 4, 7}


def test_openvino_runs_it_too_in_float32_and_calls_nobody(
    export: Export, scan: Volume, tmp_path: Path
) -> None:
    if find_spec("openvino") is None:
        pytest.skip("needs openvino: pip install 'thoar[openvino]'")
    bundle = read_bundle(export.model)
    manifest = export_model(bundle, tmp_path / "out", engine="openvino", scan=described(scan))
    assert manifest.agreement is not None
    assert manifest.agreement.engine.startswith("openvino 20")
    assert all(score is not None and score >= 0.9999 for score in manifest.agreement.dice.values())
    assert manifest.sha256 == export.manifest.sha256
    _written(scan, tmp_path / "scan.npz")
    done = run_alone(tmp_path / "out", tmp_path / "scan.npz", tmp_path / "out.npz")
    assert (done.returncode, done.stderr) == (0, "")
    assert list((tmp_path / "home").iterdir()) == []


def test_what_is_wrong_is_said_in_a_line(export: Export, scan: Volume, tmp_path: Path) -> None:
    place = {"spacing_zyx_mm": (3, 2, 2), "directions_xyz": runtime.AXIAL}
    np.savez(tmp_path / "air.npz", voxels_hu=np.full((9, 9, 9), -1000), **place)
    np.savez(tmp_path / "half.npz", voxels_hu=scan.voxels, spacing_zyx_mm=(3, 2, 2))
    for scan_file, said in (("air", "no body found"), ("half", "directions_xyz"), ("none", "none.npz")):
        done = run_alone(export.folder, tmp_path / f"{scan_file}.npz", tmp_path / "out.npz")
        assert done.returncode == 1
        assert done.stderr.startswith("error: ")
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert not (tmp_path / "out.npz").exists()


def test_a_changed_file_is_refused(export: Export, tmp_path: Path) -> None:
    for name in (*export.manifest.sha256, "manifest.json"):
        (tmp_path / name).write_bytes((export.folder / name).read_bytes())
    with (tmp_path / "fine_heart.onnx").open("r+b") as stream:
        stream.seek(-20, 2)
        stream.write(b"x")
    with pytest.raises(ValueError, match=r"fine_heart\.onnx: is not as it was written"):
        runtime.Model(tmp_path)


def test_an_export_that_draws_otherwise_is_refused(
    export: Export, write_model, scan: Volume, tmp_path
) -> None:
    other = read_bundle(write_model(tmp_path / "other", "as fast"))
    expected = Predictor.from_bundle(other, device="cpu", precision="float32").predict(scan)
    with pytest.raises(ModelError, match=r"does not draw what thoar draws in a phantom: Dice .*heart 0\."):
        measured(export.folder, expected, described(scan), engine="onnxruntime")


def test_what_fails_leaves_the_earlier_export_as_it_was(
    export: Export, scan: Volume, write_model, tmp_path
) -> None:
    bundle = read_bundle(export.model)
    before = {file.name: file.read_bytes() for file in export.folder.iterdir()}
    air = Volume(voxels=np.full_like(scan.voxels, -1000), geometry=scan.geometry)
    with pytest.raises(InputError, match="no body found"):
        export_model(bundle, export.folder, engine="onnxruntime", scan=described(air))
    strict = dict.fromkeys(
        bundle.manifest.localisation,
        msgspec.structs.replace(bundle.manifest.localisation["heart"], threshold=1.0),
    )
    manifest = msgspec.structs.replace(bundle.manifest, localisation=strict)
    blind = dataclasses.replace(bundle, manifest=manifest)
    with pytest.raises(ModelError, match="no organ was found in a phantom"):
        export_model(blind, export.folder, engine="onnxruntime", scan=described(scan))
    untrained = read_bundle(write_model(tmp_path / "coarse", fine_trained=False))
    with pytest.raises(ModelError, match="fine decoders are not trained"):
        export_model(untrained, export.folder, engine="onnxruntime", scan=described(scan))
    assert {file.name: file.read_bytes() for file in export.folder.iterdir()} == before
    assert {place.name for place in export.folder.parent.iterdir()} >= {"model", "out"}
    assert not list(export.folder.parent.glob(".*"))


def test_a_second_export_gives_the_same_bytes(export: Export, scan: Volume, tmp_path: Path) -> None:
    again = export_model(
        read_bundle(export.model), tmp_path / "out", engine="onnxruntime", scan=described(scan)
    )
    assert again == export.manifest
