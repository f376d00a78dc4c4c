import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
import real_scans
from findings import Agreement, Chest, Findings, Score, page
from real_scans import SAMPLE_MAP, Bench, knows, refuse_unless_synthetic

from thoar.core.geometry import Geometry
from thoar.core.labels import SEGTHOR
from thoar.core.volume import Volume
from thoar.inference.manifest import Manifest, Source
from thoar.metrics.scores import score_organ

GRID = Geometry.axial((6, 8, 8), (2.0, 1.0, 1.0))
ABOUT = {
    "model": "made up", "date": "2026-01-02", "device": "cpu", "threads": 2, "torch": "2", "parameters": 5e6,
    "commit": "abc", "changed": "yes", "processor": "slow",
    "learnt_from": ["phantoms"], "learnt_from_sample": True,
}  # fmt: skip


def manifest(**values):
    return Manifest(
        name="m", thoar_version="0", label_set=SEGTHOR, localisation={}, parameters=5, sha256={}, **values
    )


def cube(*, start=2, stop=5):
    mask = np.zeros(GRID.shape_zyx, dtype=bool)
    mask[start:stop, 2:6, 2:6] = True
    return mask


def score(part, scan, organ, *masks):
    scores = score_organ(*masks, spacing_zyx_mm=GRID.spacing_zyx_mm)
    return Score(part=part, scan=scan, organ=organ, scores=scores)


@pytest.mark.parametrize(
    ("values", "known"),
    [
        ({}, False),
        ({"training_cases": ("LIDC-IDRI-0001",)}, True),
        ({"sources": (Source(name="x", cases=("LIDC-IDRI-0001",)),)}, True),
        ({"sources": (Source(name="the label map of LIDC-IDRI-0001"),)}, True),
        ({"training_sources": {"copies of LIDC-IDRI-0001": 7}}, True),
        ({"sources": (Source(name="phantoms"),), "training_cases": ("phantom_0001",)}, False),
    ],
)
def test_a_model_knows_a_scan_that_its_manifest_names_in_any_form(values, known):
    assert knows(manifest(**values), "LIDC-IDRI-0001") == known


def test_the_sample_s_label_map_is_known_by_the_digest_that_the_recipe_records():
    sources = (Path(__file__).parents[2] / "scripts" / "thorax" / "sources.py").read_text()
    assert f'SAMPLE_MAP = "{SAMPLE_MAP}"' in sources
    assert 'MAP_PREFIX = "label map "' in sources
    assert knows(manifest(training_sources={f"label map {SAMPLE_MAP}": 3}), "LIDC-IDRI-0001")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"training_sources": {"LIDC-IDRI-0001": 1}}, "says that it learnt from LIDC-IDRI-0001"),
        ({}, "does not say what it learnt from"),
        ({"training_sources": {"": 7, "parametric thorax": 3}}, "does not say what it learnt from"),
    ],
)
def test_a_model_that_is_or_may_be_of_more_than_synthesis_is_refused_as_synthetic(values, said):
    with pytest.raises(SystemExit, match=said):
        refuse_unless_synthetic(manifest(**values), "m")
    refuse_unless_synthetic(manifest(training_sources={"parametric thorax": 3}), "m")


def test_a_reference_of_another_place_is_refused(tmp_path, monkeypatch):
    moved = Geometry.axial(GRID.shape_zyx, GRID.spacing_zyx_mm, origin_xyz_mm=(0.0, 0.0, 4.0))
    scan, elsewhere = (Volume(voxels=cube().astype(np.int16), geometry=g) for g in (GRID, moved))
    monkeypatch.setattr(real_scans, "read_volume", lambda _: scan)
    monkeypatch.setattr(real_scans, "read_integers", lambda _: elsewhere)
    bench = Bench(predictor=_Predictor(), manifest=manifest(), pictures=None)
    with pytest.raises(SystemExit, match="does not lie on its scan's grid"):
        real_scans.on_chest(bench, tmp_path, "image.nii.gz", agree=False)


def test_the_page_says_means_goals_faults_and_what_was_trained_on():
    chest = Chest(
        scan="a chest", kind="chest", in_training_data=True, volumes_ml=dict.fromkeys(SEGTHOR.names, 20.0),
        cut_by_scan={n: ("inferior",) * (n == "aorta") for n in SEGTHOR.names}, faults=["heart 20 mL"],
        seconds=1,
    )  # fmt: skip
    findings = Findings(
        scores=[
            score("phantoms", "one", "heart", cube(), cube()),
            score("phantoms", "two", "heart", np.zeros_like(cube()), cube()),
            score("sample", "it", "heart", cube(), cube()),
            score("sample", "it", "esophagus", cube(stop=3), cube()),
            score("trachea above the carina", "a chest", "trachea", cube(), cube()),
        ],
        chests=[chest],
        agreements=[Agreement(scan="a chest", alteration="noise", dice=dict.fromkeys(SEGTHOR.names, 0.5))],
    )
    text = "\n".join(page(ABOUT | {"learnt_from_sample": False}, findings))
    assert "| heart | 2 | 0.500 | inf | inf | 0.500 | 0.0 | 0.1 |  |" in text
    assert "| heart | 1 | 1.000 | 0.0 | 0.00 | 1.000 | 0.1 | 0.1 | ≥ 0.85: met |" in text
    assert "| esophagus | 1 | 0.500 |" in text
    assert "≥ 0.60: missed" in text
    assert "| a chest | 1 | 1.000 | 0.0 | 0.00 | 1.000 | 0.1 | 0.1 | ≥ 0.88: met |" in text
    assert "LIDC-IDRI-0001 against its automatic labels: never seen" in text
    assert "| a chest (in the training data) | chest | 20 | 20 | 20 | 20* | heart 20 mL | 1.0 |" in text
    assert "| a chest | noise | 0.500 | 0.500 | 0.500 | 0.500 |" in text


def test_a_model_that_learnt_from_the_sample_is_held_to_no_goal_there():
    text = "\n".join(page(ABOUT, Findings(scores=[score("sample", "it", "heart", cube(), cube())])))
    assert "LIDC-IDRI-0001 against its automatic labels: **in the training data**" in text
    assert "met" not in text


class _Predictor:
    """Draws the same cube for every organ, in any scan."""

    device = "cpu"

    def predict(self, volume):
        return _Drawn(volume)


class _Drawn:
    def __init__(self, volume):
        self.volume, self.label_set = volume, SEGTHOR
        self.organs = [self.organ(name) for name in SEGTHOR.names]

    def organ(self, name):
        flags = type("Flags", (), {"cut_by_scan": (), "unusual_volume": False})()
        ml = float(cube().sum()) * self.volume.geometry.voxel_volume_ml
        return type("Result", (), {"organ": SEGTHOR.organ(name), "volume_ml": ml * 100, "flags": flags})()

    def mask(self, _):
        return cube()


def test_results_and_page_are_written_and_organs_in_an_abdomen_are_faults(tmp_path, monkeypatch):
    volume = Volume(voxels=np.zeros(GRID.shape_zyx, dtype=np.int16), geometry=GRID)
    monkeypatch.setattr(real_scans, "read_volume", lambda _: volume)
    (tmp_path / "abdomen.nii.gz").touch()
    bench = Bench(predictor=_Predictor(), manifest=manifest(), pictures=None)
    real_scans.on_abdomen(bench, tmp_path / "abdomen.nii.gz", "abdomen")
    real_scans.on_abdomen(bench, tmp_path / "absent.nii.gz", "absent")
    bench.score("slab", "it", "heart", masks=(np.zeros_like(cube()), cube()), volume=volume)
    real_scans.write(tmp_path / "out" / "results.json", bench)
    [chest] = bench.findings.chests
    assert chest.faults == ["esophagus 9.6 mL", "heart 9.6 mL", "trachea 9.6 mL"]
    kept = json.loads((tmp_path / "out" / "results.json").read_text())
    assert kept["chests"][0]["faults"] == chest.faults
    assert kept["scores"][0]["scores"]["hausdorff95_mm"] == "inf"
    assert "| abdomen | abdomen | 10 | 10 | 10 | 10 |" in (tmp_path / "out" / "results.md").read_text()
    assert msgspec.json.decode(msgspec.json.encode(chest), type=Chest) == chest
