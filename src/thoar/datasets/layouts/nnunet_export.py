"""A data set written in nnU-Net's raw layout, version 2; :mod:`.nnunet` reads it back."""

import re
from pathlib import Path

import msgspec

from thoar.core.configuration import plain
from thoar.core.errors import UsageError
from thoar.core.labels import LabelSet
from thoar.datasets.layouts.dataset_json import FILE, OurCase, OurPart
from thoar.datasets.layouts.export_case import ENDING, Partial, Plan, plan_export, put_case
from thoar.datasets.layouts.nnunet import CHANNEL
from thoar.datasets.manifest import Dataset
from thoar.datasets.target import check_target
from thoar.io.atomic import atomic_bytes, replace_folder

NAME = "Dataset501_Thorax"
OURS = re.compile(r"dataset\.json|imagesTr|imagesTs|labelsTr")
"""What ``overwrite`` may replace."""


def export_nnunet(
    dataset: Dataset,
    out: Path,
    *,
    name: str = NAME,
    organs: tuple[str, ...] = (),
    partial: Partial = "refuse",
    link: bool = False,
    overwrite: bool = False,
) -> Plan:
    """Write ``out/name``, whole or not at all, and return what was written.

    Ids become 1, 2, 3 in the label set's order, as nnU-Net wants them; what its file cannot say (our ids,
    colours, which organs are labelled, groups) stands in ``dataset.json`` under a key that it leaves alone.

    Args:
        dataset: to be written.
        out: the folder ``nnUNet_raw``.
        name: of the folder made in it, such as ``Dataset501_Thorax``.
        organs: only these; all without any.
        partial: what to do with a case in which an organ is not labelled.
        link: symbolic links to images that are ``.nii.gz``, in place of copies.
        overwrite: replace such a folder.

    Raises:
        UsageError: if the name is none of nnU-Net's, or the folder must not be replaced.
        LabelError: if there are unlabelled organs and they are to be refused, or an organ is unknown.
        InputError: or one of its kinds, if a case cannot be used; then nothing is written.
        ResourceError: if disk or memory are full.
    """
    if not re.fullmatch(r"Dataset\d{3}_[\w-]+", name):
        raise UsageError(f"{name!r} is no name of a data set of nnU-Net; write one like {NAME}")
    target = out.resolve() / name
    check_target(target, OURS, overwrite=overwrite)
    asked = dataset.label_set.subset(organs) if organs else dataset.label_set
    plan = plan_export(dataset, _consecutive(asked), partial=partial)
    said = msgspec.json.format(msgspec.json.encode(_said(plan, asked, name=name)))
    replace_folder(target, lambda new: _fill(new, plan, said=said, link=link))
    return plan


def _consecutive(label_set: LabelSet) -> LabelSet:
    organs = tuple(msgspec.structs.replace(o, id=k) for k, o in enumerate(label_set.organs, 1))
    return LabelSet(organs=organs, symmetric_pairs=label_set.symmetric_pairs)


def _fill(new: Path, plan: Plan, *, said: bytes, link: bool) -> None:
    for case in plan.labelled:
        image, label = new / "imagesTr" / f"{case.id}{CHANNEL}", new / "labelsTr" / f"{case.id}{ENDING}"
        put_case(case, plan, image_to=image, label_to=label, link=link)
    for case in plan.bare:
        put_case(case, plan, image_to=new / "imagesTs" / f"{case.id}{CHANNEL}", label_to=None, link=link)
    atomic_bytes(new / FILE, said + b"\n")


def _said(plan: Plan, own: LabelSet, *, name: str) -> dict[str, object]:
    cases = tuple(
        OurCase(
            id=case.id,
            organs=tuple(organ for organ in case.organs if organ in own.names),
            absent=tuple(organ for organ in case.absent if organ in own.names),
            group=case.group,
            source=case.source,
        )
        for case in (*plan.labelled, *plan.bare)
    )
    return {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, **{organ.name: organ.id for organ in plan.label_set.organs}},
        "numTraining": len(plan.labelled),
        "file_ending": ENDING,
        "name": name,
        "thoar": plain(OurPart(label_set=own, cases=cases)),
    }
