"""``make demo``: a real chest CT from nothing to scored contours, by the commands a user would type."""

import json
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path("demo")
CASE = "LIDC-IDRI-0001"


def thoar(*arguments: str | Path) -> None:
    """Run a command, show it, and end with its exit code if it fails."""
    words = [str(argument) for argument in arguments]
    print(f"\n$ thoar {' '.join(words)}", flush=True)
    code = subprocess.run([sys.executable, "-m", "thoar", *words], check=False).returncode  # noqa: S603
    if code:
        sys.exit(code)


def main() -> None:
    """Fetch, segment, evaluate, and say where everything lies."""
    began = time.monotonic()
    sample, result, scores = FOLDER / "sample", FOLDER / "result", FOLDER / "results.json"
    if not (sample / "dataset.toml").is_file():
        thoar("sample", sample)
    thoar("segment", sample / CASE / f"{CASE}.nii.gz", "-o", result, "--overwrite")
    thoar("evaluate", result, sample, "-o", scores, "--overwrite")
    record = json.loads((result / "run.json").read_text(encoding="utf-8"))
    print(f"\ncontours  {result / 'segmentation.nii.gz'}")
    print(f"overview  {result / 'overview.png'}")
    print(f"record    {result / 'run.json'}")
    print(f"scores    {scores}")
    print(f"segmented in {sum(record['seconds'].values()):.0f} s, all in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
