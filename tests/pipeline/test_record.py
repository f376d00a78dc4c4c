import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from thoar.inference.manifest import MANIFEST
from thoar.pipeline.case import segment_case
from thoar.pipeline.inputs import InputCase
from thoar.pipeline.record import LIBRARIES, versions
from thoar.pipeline.request import Request, load_segmenter


def test_every_library_that_a_result_depends_on_has_its_version() -> None:
    assert {"thoar", "python", "platform", *LIBRARIES} == set(versions())
    assert all(versions().values())


def test_the_record_of_a_model_of_folds_names_its_members(
    tmp_path: Path, model: Path, write_scan: Callable[..., Path]
) -> None:
    for number in range(2):
        shutil.copytree(model, tmp_path / "cv" / f"fold_{number}" / "best")
    segmenter = load_segmenter(Request(model=tmp_path / "cv", organs=("heart",), device="cpu"))
    case = InputCase(id="patient", path=write_scan(tmp_path / "patient.nii.gz"))
    segment_case(segmenter, case, tmp_path / "out")
    record = json.loads((tmp_path / "out" / "run.json").read_bytes())["model"]
    digest = hashlib.sha256((model / MANIFEST).read_bytes())
    assert record["members"] == {f"fold_{n}/best/{MANIFEST}": digest.hexdigest() for n in range(2)}
    assert record["manifest_sha256"] == hashlib.sha256(2 * digest.digest()).hexdigest()
    assert record["name"] == "untrained (2 folds)"


def test_the_record_of_one_model_names_no_members(
    tmp_path: Path, segmenter: Callable, write_scan: Callable[..., Path]
) -> None:
    case = InputCase(id="patient", path=write_scan(tmp_path / "patient.nii.gz"))
    assert segment_case(segmenter(), case, tmp_path / "out").model.members == {}
