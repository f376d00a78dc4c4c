"""A model as a folder for other programs: graphs, a manifest, and the one Python file that runs them.

EXPORT/
  manifest.json            labels, grid, localisation, sources, the check's result, SHA-256 of all the rest
  encoder_coarse.onnx  fine_<organ>.onnx
  runtime.py               a scan in, masks out, on numpy and one engine alone
  card.md                  (where the model has one) what a person should know before using it
"""

from importlib.resources import files
from pathlib import Path

import msgspec
from onnx import ModelProto

from thoar.core.versions import version_of
from thoar.inference.bundle import CARD, Bundle
from thoar.inference.export.check import RUNTIME, CheckScan, measured
from thoar.inference.export.graph import OPSET, encoder_coarse, fine
from thoar.inference.export.manifest import EXPORT_MANIFEST, Engine, ExportManifest
from thoar.inference.manifest import MANIFEST
from thoar.inference.predictor import Predictor
from thoar.io.atomic import replace_folder
from thoar.io.digest import sha256_of


def export_model(bundle: Bundle, out: Path, *, engine: Engine, scan: CheckScan) -> ExportManifest:
    """Write a model's export, whole or not at all, after it has drawn in a scan what thoar draws there.

    Args:
        bundle: read with the organs to export.
        out: the folder to make or replace.
        engine: what is to run it.
        scan: what to check it on.

    Raises:
        ModelError: if the model cannot be exported, or its export does not do what thoar does.
    """
    graphs = {"encoder_coarse.onnx": encoder_coarse(bundle.network)}
    graphs |= {f"fine_{name}.onnx": fine(bundle.network, name) for name in bundle.network.drawn}
    expected = Predictor.from_bundle(bundle, device="cpu", precision="float32").predict(scan.volume)
    manifests: list[ExportManifest] = []

    def fill(folder: Path) -> None:
        _write_files(folder, graphs, bundle)
        unchecked = _manifest(bundle, folder, engine)
        _write_manifest(folder, unchecked)
        agreement = measured(folder, expected, scan, engine=engine)
        manifests.append(msgspec.structs.replace(unchecked, agreement=agreement))
        _write_manifest(folder, manifests[0])

    replace_folder(out, fill)
    return manifests[0]


def _write_files(folder: Path, graphs: dict[str, ModelProto], bundle: Bundle) -> None:
    for name, graph in graphs.items():
        (folder / name).write_bytes(graph.SerializeToString(deterministic=True))
    (folder / RUNTIME).write_bytes((files("thoar.inference.export") / RUNTIME).read_bytes())
    card = bundle.folder / CARD
    if card.is_file():
        (folder / CARD).write_bytes(card.read_bytes())


def _manifest(bundle: Bundle, folder: Path, engine: Engine) -> ExportManifest:
    about, settings = bundle.manifest, bundle.configuration
    label_set = about.label_set.subset(bundle.network.drawn)
    return ExportManifest(
        name=about.name,
        thoar_version=version_of("thoar"),
        model_sha256=sha256_of(bundle.folder / MANIFEST),
        engine=engine,
        opset=OPSET,
        label_set=label_set,
        strides_zyx=bundle.network.strides_zyx,
        preparation=settings.preparation,
        body=settings.body,
        localisation=settings.localisation,
        organ_localisation={name: about.localisation[name] for name in label_set.names},
        sources=about.sources,
        trained_on=about.history.trained_on,
        added={name: seen for name, seen in about.added.items() if name in label_set.names},
        sha256={file.name: sha256_of(file) for file in sorted(folder.iterdir())},
    )


def _write_manifest(folder: Path, manifest: ExportManifest) -> None:
    content = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    (folder / EXPORT_MANIFEST).write_bytes(content)
