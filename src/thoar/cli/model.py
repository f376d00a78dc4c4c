"""``thoar model``: which models there are, what they are, whether they are whole; their organs; exports."""

from typing import Annotated

import typer

from thoar.cli.model_export import export
from thoar.cli.model_organs import add_organ, remove_organ

model = typer.Typer(help="List, describe, verify, change and export models.", no_args_is_help=True)
model.command("add-organ")(add_organ)
model.command("remove-organ")(remove_organ)
model.command("export")(export)

Name = Annotated[
    str, typer.Argument(metavar="MODEL", help="A shipped model's name, or the folder of a bundle or a run.")
]


@model.command("list")
def list_models() -> None:
    """List the models that came with the package."""
    from thoar.inference.manifest import read_manifest
    from thoar.inference.shipped import DEFAULT_MODEL, real_name, shipped_models

    shipped = shipped_models()
    for name, folder in shipped.items():
        manifest = read_manifest(folder)
        organs = ", ".join(manifest.usual)
        optional = f"; with --organs also {', '.join(manifest.optional)}" if manifest.optional else ""
        typer.echo(f"{name}: {organs}{optional}; {manifest.parameters / 1e6:.1f} M parameters")
    on_cpu, on_gpu = real_name(DEFAULT_MODEL), real_name(DEFAULT_MODEL, accelerated=True)
    if on_cpu in shipped:
        stands_for = on_cpu if on_cpu == on_gpu else f"{on_cpu} on a CPU, {on_gpu} on a GPU"
        typer.echo(f"{DEFAULT_MODEL} (default): {stands_for}")
    if not shipped:
        typer.echo("no model came with this package; train one with `thoar train`")


@model.command("info")
def show_model(
    name: Name = "thorax",
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Describe a model: organs, what it was trained on, its card."""
    import msgspec

    from thoar.inference.bundle import CARD
    from thoar.inference.manifest import read_manifest
    from thoar.inference.shipped import find_model

    folder = find_model(name)
    manifest = read_manifest(folder)
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(manifest), indent=2).decode())
        return
    notes = dict.fromkeys(manifest.optional, ", optional")
    lines = [
        f"{manifest.name}: {manifest.parameters / 1e6:.1f} M parameters",
        f"written by thoar {manifest.thoar_version}",
        *(
            f"  {organ.id:>3} {organ.name} ({organ.tg263}){notes.get(organ.name, '')}"
            for organ in manifest.label_set.organs
        ),
        *(f"trained on: {source.name} ({source.licence}) {source.citation}" for source in manifest.sources),
        f"folder: {folder}",
    ]
    card = folder / CARD
    if card.is_file():
        lines += ["", card.read_text(encoding="utf-8")]
    typer.echo("\n".join(lines))


@model.command("verify")
def verify_model(name: Name = "thorax") -> None:
    """Check every file of a model against its checksum, and every weight."""
    from thoar.inference.bundle import read_bundle
    from thoar.inference.shipped import find_model

    bundle = read_bundle(find_model(name))
    typer.echo(
        f"{bundle.folder}: whole, {len(bundle.manifest.sha256)} files, {bundle.manifest.parameters} weights"
    )
