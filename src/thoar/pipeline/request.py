"""What is wanted for every case, and the loaded model that does it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from thoar.core.errors import UsageError
from thoar.core.versions import version_of
from thoar.datasets.scans import is_series
from thoar.inference.bundle import Bundle
from thoar.inference.device import choose_device
from thoar.inference.ensemble import read_model
from thoar.inference.heap import keep_freed_slabs
from thoar.inference.predictor import Predictor
from thoar.inference.shipped import DEFAULT_MODEL
from thoar.inference.slabs.precision import PrecisionName
from thoar.io.dicom.records import PLAIN, ReadOptions
from thoar.io.structures.organ_mask import Maker
from thoar.pipeline.inputs import InputCase
from thoar.pipeline.outputs import WriteOptions
from thoar.pipeline.record import ModelRecord
from thoar.pipeline.roi_names import refuse_unknown

_VERSION_DIGITS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is wanted for every case.

    Attributes:
        model: a shipped name, a bundle, a run, or a cross-validation's folder.
        organs: names; None for all that are not optional.
        device: see :func:`thoar.inference.device.choose_device`.
        precision: see :func:`thoar.inference.slabs.precision.choose_precision`.
        max_ram_bytes: that the process may take; see :class:`thoar.inference.memory.Allowance`.
        max_vram_bytes: that its tensors may take of a GPU; likewise.
        reading: what the reader of DICOM may do.
        writing: what is written.
        deterministic: DICOM files, too, are the same bytes whenever input and model are the same.
        overwrite: results in the output folder may be replaced.
    """

    model: str | Path = DEFAULT_MODEL
    organs: tuple[str, ...] | None = None
    device: str = "auto"
    precision: PrecisionName = "auto"
    max_ram_bytes: int | None = None
    max_vram_bytes: int | None = None
    reading: ReadOptions = PLAIN
    writing: WriteOptions = field(default_factory=WriteOptions)
    deterministic: bool = False
    overwrite: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segmenter:
    """A loaded model and what is wanted of it; made by :func:`load_segmenter`."""

    bundle: Bundle
    predictor: Predictor
    request: Request


def load_segmenter(request: Request) -> Segmenter:
    """Load the model and check what can be checked before any scan is read.

    Raises:
        ModelError: if the model is missing or damaged.
        LabelError: if it does not know an organ.
        ConfigError: if a name is given to an organ that it does not know.
        UsageError: for an unknown device.
    """
    keep_freed_slabs()
    accelerated = choose_device(request.device).type != "cpu"
    bundle = read_model(request.model, organs=request.organs, accelerated=accelerated)
    refuse_unknown(request.writing.names, bundle.manifest.label_set.names)
    return Segmenter(
        bundle=bundle,
        predictor=Predictor.from_bundle(
            bundle,
            device=request.device,
            precision=request.precision,
            max_ram_bytes=request.max_ram_bytes,
            max_vram_bytes=request.max_vram_bytes,
        ),
        request=request,
    )


def check_cases(request: Request, cases: Sequence[InputCase]) -> None:
    """Refuse formats that the inputs cannot give, before any is read.

    Raises:
        UsageError: if RTSTRUCT or DICOM-SEG is asked for of what is no DICOM, or one RTSTRUCT is to be
            appended to for several scans.
    """
    if request.writing.append_to is not None and len(cases) > 1:
        raise UsageError(f"--append-to takes one scan, and these are {len(cases)}")
    if not request.writing.needs_series:
        return
    for case in cases:
        if not is_series(case.path):
            raise UsageError(
                f"{case.path}: is no DICOM series, and the formats rtstruct and dicom-seg lie on one; give "
                "the series as INPUT, or write --formats nifti and bring that onto its series with: "
                "thoar convert --like SERIES"
            )


def maker_of(request: Request, model: ModelRecord, *, input_sha256: str) -> Maker:
    """Return what DICOM files say of who made them."""
    seed = hashlib.sha256(f"{input_sha256} {model.manifest_sha256}".encode()).hexdigest()
    return Maker(
        model=model.name,
        model_version=model.manifest_sha256[:_VERSION_DIGITS],
        software_version=version_of("thoar"),
        uid_seed=seed if request.deterministic else None,
    )
