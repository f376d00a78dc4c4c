"""``thoar dataset import dicom``: CT series and the contours drawn on them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from thoar.cli.dicom_options import AnyModality, AssumeIntercept, FillGaps, Rectify, Select, read_options
from thoar.cli.text import listed
from thoar.core.errors import PartialFailureError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from thoar.datasets.dicom_import import FoundName, Imported, Wish
    from thoar.datasets.import_report import CaseRecord

SHOWN = 20


def dicom(
    folder: Annotated[
        Path, typer.Argument(help="CT series with RTSTRUCT or DICOM-SEG files, of any number of patients.")
    ],
    *,
    out: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder to make: the data set, which names nobody.")
    ] = None,
    names: Annotated[
        Path | None, typer.Option(help="TOML file that says which organ a structure's name means.")
    ] = None,
    propose: Annotated[
        Path | None, typer.Option(help="Import nothing; write such a file with every name found.")
    ] = None,
    organs: Annotated[str, typer.Option(help="Only these, as in heart,aorta.")] = "",
    key: Annotated[
        Path | None,
        typer.Option(help="Also write which file is called what in messages. It holds file names: keep it."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier import.")] = False,
    select: Select = None,
    rectify: Rectify = False,
    fill_gaps: FillGaps = 0,
    assume_intercept: AssumeIntercept = None,
    any_modality: AnyModality = False,
) -> None:
    """Make a training set of CT series and the contours drawn on them; nobody's identity is taken over."""
    from thoar.datasets.dicom_import import Wish

    if (out is None) == (propose is None):
        raise UsageError("give --out for the data set, or --propose for a file of names; one of them")
    wish = Wish(
        names_file=names,
        organs=listed(organs),
        options=read_options(
            series=None,
            select=select,
            rectify=rectify,
            fill_gaps=fill_gaps,
            assume_intercept=assume_intercept,
            any_modality=any_modality,
        ),
    )
    if propose is not None:
        _propose(folder, propose, wish=wish, overwrite=overwrite)
    elif out is not None:
        _import_into(out, folder, wish=wish, key=key, overwrite=overwrite)


def _propose(folder: Path, path: Path, *, wish: "Wish", overwrite: bool) -> None:
    from thoar.datasets.dicom_import import names_in
    from thoar.datasets.names_proposal import proposal
    from thoar.datasets.structure_names import read_names
    from thoar.io.atomic import atomic_bytes

    if path.exists() and not overwrite:
        raise UsageError(f"{path}: is there already; name another file, or replace it with --overwrite")
    found = names_in(folder, wish=wish)
    atomic_bytes(path, proposal(found, read_names(wish.names_file, organs=wish.organs)).encode())
    doubtful = sum(name.meaning.kind == "doubtful" for name in found)
    typer.echo(f"{path}: {len(found)} names, {doubtful} of them undecided; look through it, then use --names")


def _import_into(out: Path, folder: Path, *, wish: "Wish", key: Path | None, overwrite: bool) -> None:
    import msgspec

    from thoar.datasets.dicom_import import import_dicom
    from thoar.io.atomic import atomic_bytes

    if key is not None and key.resolve().is_relative_to(out.resolve()):
        raise UsageError(f"{key}: lies in the data set, which is to name nobody; write it beside the scans")
    imported = import_dicom(folder, out, wish=wish, overwrite=overwrite)
    if key is not None:
        atomic_bytes(key, msgspec.json.format(msgspec.json.encode(imported.key)) + b"\n")
    _show(imported)
    lost = len(imported.report.refused) + len(imported.report.unreadable_files)
    if lost:
        raise PartialFailureError(
            f"{len(imported.report.refused)} structure files were refused and "
            f"{len(imported.report.unreadable_files)} files could not be read, as listed above; the "
            f"{len(imported.report.cases)} other cases are in {out}"
        )


def _show(imported: "Imported") -> None:
    report = imported.report
    for case in report.cases:
        typer.echo(f"{case.id}  {case.group}  {_organs(case)}")
        for organ in case.organs:
            for fault in organ.faults:
                typer.echo(f"    {organ.organ}: {fault}")
        for what, volume_ml in case.overlaps_ml.items():
            typer.echo(f"    {what}: {volume_ml:.1f} mL")
    for refusal in report.refused:
        typer.echo(f"{refusal.id}  refused: {refusal.reason}")
    for reason in report.unreadable_files:
        typer.echo(f"unreadable: {reason}")
    _show_names(imported.names)
    if report.series_without_structures:
        typer.echo(f"series without structures, left out: {report.series_without_structures}")


def _organs(case: "CaseRecord") -> str:
    volumes = {
        organ.organ: f"{organ.volume_ml:.1f} mL" if organ.volume_ml else "empty" for organ in case.organs
    }
    return ", ".join(f"{organ} {volume}" for organ, volume in volumes.items())


def _show_names(names: "Sequence[FoundName]") -> None:
    """List what was not taken: here alone, since such names may be personal."""
    doubtful = [n for n in names if n.meaning.kind == "doubtful"]
    unknown = [f"{n.name!r} ({n.sets})" for n in names if n.meaning.kind == "unknown"]
    for name in doubtful:
        typer.echo(f"undecided name {name.name!r} in {name.sets}: {' or '.join(name.meaning.organs)}?")
    if unknown:
        more = ", … (--propose lists all)" if len(unknown) > SHOWN else ""
        typer.echo(f"{len(unknown)} names left out: {', '.join(unknown[:SHOWN])}{more}")
