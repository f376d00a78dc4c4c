"""From a label map to contours on a machine that has torch and numbers, but no library for images.

The whole path runs in a process of its own from which every other compiled library is hidden.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from thoar.core.geometry import Geometry
from thoar.core.labels import SEGTHOR
from thoar.core.volume import Volume
from thoar.io.formats import read_labels, write_volume

HIDDEN = (
    "nibabel",
    "SimpleITK",
    "pydicom",
    "gdcm",
    "_gdcm",
    "python_gdcm",
    "PIL",
    "matplotlib",
    "tensorboard",
    "monai",
)
COMPILED = {"torch", "functorch", "numpy", "scipy", "skimage", "safetensors", "msgspec"}
"""What may bring machine code."""
OF_THESE = {"markupsafe", "yaml", "_yaml", "triton", "nvidia", "gmpy2", "pydantic_core"}
"""What comes with torch, and with a typer newer than 0.20 (scripts/thorax/carrying.py carries that)."""

PROGRAM = """
import json, sys, sysconfig
hidden, commands = json.loads(sys.argv[1])

class Without:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in hidden else self.finder.find_spec(name, path, target)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path if hasattr(finder, "find_spec")]
from thoar.cli.app import main
for words in commands:
    try:
        main(words)
    except SystemExit as left:
        if left.code:
            sys.exit(f"{words} left with {left.code}")
files = [getattr(module, "__file__", None) or "" for module in sys.modules.values()]
places = {sysconfig.get_paths()[name] for name in ("purelib", "platlib")}
ours = [f[len(p) + 1:] for f in files for p in places if f.startswith(p) and f.endswith((".so", ".pyd"))]
print("COMPILED", json.dumps(sorted({f.replace("\\\\", "/").split("/")[0].split(".")[0] for f in ours})))
"""

RECIPE = """
name = "small"
[preparation]
spacing_zyx_mm = [6.0, 6.0, 6.0]
[network]
stem_channels = 4
average = "logits"
blocks = [
    { channels = 6, convolutions = 1 },
    { channels = 8, convolutions = 1, stride_zyx = [2, 2, 2] },
    { channels = 8, convolutions = 1 },
]
[localisation]
threshold = 0.5
organ_threshold = {}
min_box_cells = 2
[train]
coarse_epochs = 1
joint_epochs = 1
validation_cases = 0
threads = 1
"""

STRUCTURES = (
    "lung_upper_lobe_left",
    "lung_upper_lobe_right",
    "vertebrae_T6",
    "heart",
    "trachea",
    "aorta",
    "esophagus",
)


def small_person() -> Volume:
    """Return a label map of 5 mm: two lungs, a spine, and between them the four organs."""
    z, y, x = np.meshgrid(*(np.arange(n) for n in (44, 36, 50)), indexing="ij")
    labels = np.zeros(z.shape, dtype=np.uint8)
    for number, left in ((1, 35), (2, 14)):
        labels[((z - 22) / 20) ** 2 + ((y - 17) / 14) ** 2 + ((x - left) / 9) ** 2 < 1] = number
    labels[(y - 29) ** 2 + (x - 25) ** 2 < 12] = 3
    labels[((z - 12) / 9) ** 2 + ((y - 12) / 7) ** 2 + ((x - 26) / 8) ** 2 < 1] = 4
    labels[((y - 19) ** 2 + (x - 24) ** 2 < 5) & (z > 24)] = 5
    labels[(y - 24) ** 2 + (x - 29) ** 2 < 5] = 6
    labels[(y - 24) ** 2 + (x - 23) ** 2 < 2] = 7
    return Volume(voxels=labels, geometry=Geometry.axial(labels.shape, (5.0, 5.0, 5.0)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_volume(tmp_path / "map.safetensors", small_person())
    lines = [f"{name},{number}" for number, name in enumerate(STRUCTURES, start=1)]
    (tmp_path / "structures.csv").write_text("\n".join(["structure,id", *lines]) + "\n")
    (tmp_path / "small.toml").write_text(RECIPE)
    return tmp_path


def without_libraries(*commands: list[str], cwd: Path) -> list[str]:
    """Run commands in one process that lacks the hidden libraries; return what compiled ones it loaded."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps([HIDDEN, commands])],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.rpartition("COMPILED ")[2])


def test_label_map_becomes_cases_a_model_and_contours_without_any_imaging_library(folder: Path) -> None:
    map_options = ["--from-map", "map.safetensors", "--structures", "structures.csv"]
    grid = ["--spacing-zyx-mm", "6", "6", "6"]
    scan = str(Path("data") / "map_0000" / "map_0000.safetensors")
    loaded = without_libraries(
        [
            "phantom",
            "data",
            "--cases",
            "2",
            "--format",
            "safetensors",
            *grid,
            *map_options,
            "--device",
            "cpu",
        ],
        ["train", "small.toml", "--data", "data", "-o", "run", "--device", "cpu"],
        ["model", "verify", "run"],
        ["segment", scan, "-o", "out", "--model", "run", "--formats", "safetensors", "--device", "cpu"],
        cwd=folder,
    )
    found = read_labels(folder / "out" / "segmentation.safetensors", SEGTHOR)
    truth = read_labels(folder / "data" / "map_0000" / "GT.safetensors", SEGTHOR)
    assert found.geometry.same_grid(truth.geometry)
    assert np.unique(truth.voxels).size > 1
    assert set(loaded) <= COMPILED | OF_THESE, sorted(set(loaded) - COMPILED - OF_THESE)


def test_file_of_a_library_that_is_absent_is_refused_with_its_name(folder: Path) -> None:
    (folder / "a.nii.gz").write_bytes(b"x")
    with pytest.raises(AssertionError, match=r"needs nibabel, which is not installed here"):
        without_libraries(["segment", "a.nii.gz", "-o", "out", "--device", "cpu"], cwd=folder)
