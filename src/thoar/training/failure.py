"""What a run leaves when its numbers are no numbers any more: enough to see why, and to compute it again."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from safetensors.torch import save

from thoar.io.atomic import replace_folder
from thoar.training.steps import Sample

FAILURE = "failure"


class Failure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A step that failed.

    Attributes:
        epoch: counted from 0 over both stages.
        step: of the epoch, from 0.
        cases: of the step, in this process.
        losses: by case and name, as text: JSON has no NaN.
        gradient_norm: likewise, of the whole batch.
        precision: of the arithmetic, the last that was tried.
        learning_rate: that the step was to be taken with.
    """

    epoch: int
    step: int
    cases: tuple[str, ...]
    losses: dict[str, dict[str, str]]
    gradient_norm: str
    precision: str
    learning_rate: float


def write_failure(run: Path, failure: Failure, samples: Sequence[Sample]) -> Path:
    """Write ``RUN/failure/``: the record, and every sample as the network saw it (image and labels)."""

    def fill(folder: Path) -> None:
        text = msgspec.json.format(msgspec.json.encode(failure), indent=2)
        (folder / "failure.json").write_bytes(text + b"\n")
        for sample in samples:
            tensors = {"image": sample.image.cpu().contiguous(), "labels": sample.labels.cpu().contiguous()}
            (folder / f"{sample.case.id}.safetensors").write_bytes(save(tensors))

    replace_folder(run / FAILURE, fill)
    return run / FAILURE


def spelled(losses: Mapping[str, float]) -> dict[str, str]:
    """Return losses as text."""
    return {name: f"{value:.9g}" for name, value in losses.items()}
