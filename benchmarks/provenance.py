"""What computed a result: the code, the libraries, the machine."""

import datetime as dt
import hashlib
import os
import platform
import subprocess
from pathlib import Path

import torch

import thoar


def code() -> dict[str, str]:
    """Name what computes: the commit, whether files differ from it, and the phantoms' source by its hash."""
    source = Path(thoar.__file__).parent
    digest = hashlib.sha256()
    for path in sorted((source / "phantoms").rglob("*.py")):
        digest.update(path.read_bytes())
    return {
        "commit": git("rev-parse", "--short", "HEAD"),
        "changed": "yes" if git("status", "--porcelain", "--", ":/src") else "no",
        "phantoms_sha256": digest.hexdigest()[:12],
        "torch": str(torch.__version__),
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
    }


def git(*words: str) -> str:
    """Return what git says about this checkout; nothing outside one."""
    command = ["git", "-C", str(Path(__file__).parent), *words]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (git alone)
    return answer.stdout.strip()


def processor() -> str:
    """Return the processor's name."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"
