"""Options that every command which reads DICOM has in common, declared once."""

from typing import TYPE_CHECKING, Annotated

import typer

from thoar.core.errors import UsageError

if TYPE_CHECKING:
    from thoar.io.dicom.records import ReadOptions

PANEL = "Reading DICOM"

SeriesUid = Annotated[
    str | None,
    typer.Option(
        "--series",
        metavar="UID",
        help="Which of several series: its SeriesInstanceUID, or the beginning or end of it.",
        rich_help_panel=PANEL,
    ),
]
Select = Annotated[
    str | None,
    typer.Option(
        "--select",
        metavar="KEYWORD=VALUE",
        help="Only slices with this value, as in AcquisitionNumber=2, where a series holds several volumes.",
        rich_help_panel=PANEL,
    ),
]
Rectify = Annotated[
    bool,
    typer.Option(
        "--rectify",
        help="Take tilted or unevenly spaced slices, resampled onto a regular grid by their true places.",
        rich_help_panel=PANEL,
    ),
]
FillGaps = Annotated[
    int,
    typer.Option(
        "--fill-gaps",
        metavar="N",
        min=0,
        help="Interpolate gaps of up to so many missing slices.",
        rich_help_panel=PANEL,
    ),
]
AssumeIntercept = Annotated[
    float | None,
    typer.Option(
        "--assume-intercept",
        metavar="HU",
        help="RescaleIntercept of files that have no rescale, such as -1024.",
        rich_help_panel=PANEL,
    ),
]
AnyModality = Annotated[
    bool,
    typer.Option("--any-modality", help="Take MR or PET too.", rich_help_panel=PANEL),
]


def read_options(
    *,
    series: str | None,
    select: str | None,
    rectify: bool,
    fill_gaps: int,
    assume_intercept: float | None,
    any_modality: bool,
) -> "ReadOptions":
    """Return what the options ask of the reader.

    Raises:
        UsageError: if ``--select`` is no KEYWORD=VALUE.
    """
    from thoar.io.dicom.records import ReadOptions

    keyword, equals, value = (select or "").partition("=")
    if select is not None and not (equals and keyword.strip() and value.strip()):
        raise UsageError(f"--select {select}: write KEYWORD=VALUE, as in AcquisitionNumber=2")
    return ReadOptions(
        series=series,
        select=None if select is None else (keyword.strip(), value.strip()),
        rectify=rectify,
        fill_gaps=fill_gaps,
        assume_intercept=assume_intercept,
        any_modality=any_modality,
    )
