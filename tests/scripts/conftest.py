"""The scripts are no package: their folder is put where they themselves find their parts."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
