"""What a run leaves to be read: ``metrics.csv`` always, TensorBoard where it is installed, pictures."""

import csv
import importlib.util
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

from thoar.io.atomic import atomic_file

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

_log = logging.getLogger(__name__)
COLUMNS = ("epoch", "stage", "name", "value")


class RunLog:
    """The logs of one run: one row per epoch and value, in the order they came; pictures where Pillow is.

    Args:
        run: the run's folder.
        first_epoch: rows of this epoch and later ones, left by an interrupted run, are dropped.
    """

    def __init__(self, run: Path, *, first_epoch: int) -> None:
        self._csv = run / "metrics.csv"
        self._pictures = run / "pictures"
        self.takes_pictures = importlib.util.find_spec("PIL") is not None
        self._rows = [row for row in _read_rows(self._csv) if int(row[0]) < first_epoch]
        self._board = _board(run / "tensorboard", first_epoch)

    def add(self, epoch: int, stage: str, values: Mapping[str, float]) -> None:
        """Record an epoch's values; the file is whole at every instant."""
        self._rows += [(str(epoch), stage, name, f"{value:.12g}") for name, value in values.items()]
        atomic_file(self._csv, self._write_rows)
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, epoch)
            self._board.flush()

    def add_picture(self, epoch: int, rgb: UInt8[np.ndarray, "row column 3"]) -> None:
        """Keep an epoch's picture of a validation case; only where ``takes_pictures`` says so."""
        from thoar.pictures.png import write_png  # noqa: PLC0415 (needs Pillow, which training does not)

        self._pictures.mkdir(exist_ok=True)
        write_png(self._pictures / f"epoch-{epoch:04d}.png", rgb)
        if self._board is not None:
            self._board.add_image("validation", rgb, epoch, dataformats="HWC")

    def close(self) -> None:
        """Finish the TensorBoard file."""
        if self._board is not None:
            self._board.close()

    def _write_rows(self, path: Path) -> None:
        with path.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([COLUMNS, *self._rows])


def _read_rows(path: Path) -> list[tuple[str, str, str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return [(row[0], row[1], row[2], row[3]) for row in list(csv.reader(stream))[1:]]


def _board(folder: Path, first_epoch: int) -> "SummaryWriter | None":
    if importlib.util.find_spec("tensorboard") is None:
        _log.info("tensorboard is not installed (pip install thoar[logs]): metrics.csv alone is written")
        return None
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 (optional, and slow to import)

    return SummaryWriter(str(folder), purge_step=first_epoch)
