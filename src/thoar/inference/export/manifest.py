"""What stands beside exported graphs: all that ``runtime.py`` needs, where the model is from, the check."""

from typing import Literal

import msgspec

from thoar.core import configuration
from thoar.core.box import Index3
from thoar.core.geometry import Vector3
from thoar.core.labels import LabelSet
from thoar.inference.localisation import OrganLocalisation
from thoar.inference.manifest import Source, TrainedOn

EXPORT_MANIFEST = "manifest.json"
FORMAT = 1

Engine = Literal["onnxruntime", "openvino"]


class Agreement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How well an export's masks agree with thoar's on one scan, by ``runtime.py`` run as a program.

    Attributes:
        scan: which one, in words; never a file's name, which may be a patient's.
        shape_zyx: of the scan.
        spacing_zyx_mm: likewise.
        engine: what ran the graphs, with its version.
        dice: per organ; None where neither found it.
    """

    scan: str
    shape_zyx: Index3
    spacing_zyx_mm: Vector3
    engine: str
    dice: dict[str, float | None]


class ExportManifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What stands beside exported graphs.

    Attributes:
        format: version of this layout.
        name: the model's.
        thoar_version: that exported it.
        model_sha256: of the bundle's own manifest, which says exactly which model it is.
        engine: what the export was made for and checked with; the files are the same for both.
        opset: of ONNX.
        label_set: the organs, in the order of the coarse channels.
        strides_zyx: voxels of the prepared grid per feature voxel of each level, the stem's first.
        preparation: spacing and window.
        body: how to crop and mask.
        localisation: settings of boxes, their growth, and cleaning.
        organ_localisation: per organ, its threshold and margins.
        sources: what the model was trained on, with licences.
        trained_on: the cases and numbers of these.
        added: organs that were added later, and what their own decoders have seen.
        agreement: see :class:`Agreement`; None while it is not measured.
        sha256: of every other file, by name.
    """

    format: int = FORMAT
    name: str
    thoar_version: str
    model_sha256: str
    engine: Engine
    opset: int
    label_set: LabelSet
    strides_zyx: tuple[Index3, ...]
    preparation: configuration.Preparation
    body: configuration.Body
    localisation: configuration.Localisation
    organ_localisation: dict[str, OrganLocalisation]
    sources: tuple[Source, ...]
    trained_on: TrainedOn
    added: dict[str, TrainedOn]
    agreement: Agreement | None = None
    sha256: dict[str, str]
