"""Array shapes and types named in signatures are checked while tests run."""

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

_hook = install_import_hook("thoar", "beartype.beartype")

SHARED_DATA = Path(os.environ.get("THOAR_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real scans for trials; tests that ask for it are skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"needs the real scans that are not part of the project ({SHARED_DATA} is absent)")
    return SHARED_DATA
