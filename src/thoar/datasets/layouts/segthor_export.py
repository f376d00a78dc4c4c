"""A data set written in SegTHOR's layout: ``train/`` with ``GT.nii.gz``, ``test/`` without."""

import re
from pathlib import Path

from thoar.core.errors import LabelError
from thoar.core.labels import SEGTHOR
from thoar.datasets.layouts.export_case import ENDING, Partial, Plan, plan_export, put_case
from thoar.datasets.manifest import Dataset
from thoar.datasets.target import check_target
from thoar.io.atomic import replace_folder

OURS = re.compile("train|test")
"""What ``overwrite`` may replace."""


def export_segthor(
    dataset: Dataset,
    out: Path,
    *,
    organs: tuple[str, ...] = (),
    partial: Partial = "refuse",
    link: bool = False,
    overwrite: bool = False,
) -> Plan:
    """Write a folder in SegTHOR's layout, whole or not at all, and return what was written.

    The layout has four organs; one that is not in the data set counts as not labelled.

    Args:
        dataset: to be written.
        out: the folder, new or empty.
        organs: only these; the others become background.
        partial: what to do with a case in which an organ is not labelled.
        link: symbolic links to images that are ``.nii.gz``, in place of copies.
        overwrite: replace such a folder.

    Raises:
        UsageError: if the folder must not be replaced.
        LabelError: if the layout lacks an organ, or one is not labelled and that is to be refused.
        InputError: or one of its kinds, if a case cannot be used; then nothing is written.
        ResourceError: if disk or memory are full.
    """
    check_target(out, OURS, overwrite=overwrite)
    strangers = [name for name in organs or dataset.label_set.names if name not in SEGTHOR.names]
    if strangers:
        raise LabelError(
            f"{dataset.root}: SegTHOR's layout has no {', '.join(strangers)}; name those of "
            f"{', '.join(SEGTHOR.names)} to write with --organs"
        )
    label_set = SEGTHOR.subset(organs) if organs else SEGTHOR
    plan = plan_export(dataset, label_set, partial=partial)
    replace_folder(out.resolve(), lambda new: _fill(new, plan, link=link))
    return plan


def _fill(new: Path, plan: Plan, *, link: bool) -> None:
    for case in plan.labelled:
        place = new / "train" / case.id
        put_case(case, plan, image_to=place / case.id, label_to=place / f"GT{ENDING}", link=link)
    for case in plan.bare:
        put_case(case, plan, image_to=new / "test" / case.id, label_to=None, link=link)
