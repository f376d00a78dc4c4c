"""What ``thoar segment`` does not import: seconds of a cold start."""

import subprocess
import sys
from pathlib import Path

FOREIGN = (
    *("SimpleITK", "highdicom", "matplotlib", "onnx", "onnxruntime", "openvino", "skimage"),
    *("sympy", "torch._dynamo", "torch.onnx"),
)
"""Libraries of other inputs, of other outputs and of other commands."""


def test_a_nifti_is_segmented_without_the_libraries_of_other_tasks(
    tmp_path: Path, model: Path, write_scan
) -> None:
    source = write_scan(tmp_path / "a.nii.gz")
    arguments = ["--quiet", "segment", str(source), "-o", str(tmp_path / "out"), "--model", str(model)]
    program = (
        "import sys\n"
        "from thoar.cli.app import main\n"
        "try:\n"
        f"    main({arguments!r})\n"
        "except SystemExit as left:\n"
        "    assert not left.code\n"
        f"    print(sorted({set(FOREIGN)!r} & set(sys.modules)), 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[] True"
    assert (tmp_path / "out" / "overview.png").is_file()
