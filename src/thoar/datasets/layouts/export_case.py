"""A data set's cases written in another layout, where an organ is labelled or background."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from thoar.core.errors import LabelError, UsageError
from thoar.core.labels import LabelSet
from thoar.datasets.layouts.put import put_image
from thoar.datasets.layouts.read_case import read_case
from thoar.datasets.layouts.segthor import source_case
from thoar.datasets.layouts.vocabulary import Vocabulary
from thoar.datasets.manifest import Case, Dataset
from thoar.io.formats import write_labels

Partial = Literal["refuse", "drop", "background"]
"""What to do with a case in which an organ is not labelled."""

ENDING = ".nii.gz"
_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be written.

    Attributes:
        label_set: organs, with the ids of the new layout.
        labelled: cases with a label map.
        bare: cases without one.
        dropped: ids of cases that are left out, since an organ is not labelled in them.
        vocabulary: of the data set's label maps, with these ids.
    """

    label_set: LabelSet
    labelled: tuple[Case, ...]
    bare: tuple[Case, ...]
    dropped: tuple[str, ...]
    vocabulary: Vocabulary


def plan_export(dataset: Dataset, label_set: LabelSet, *, partial: Partial) -> Plan:
    """Say which cases can be written in a layout that knows no unlabelled organ.

    Args:
        dataset: to be written.
        label_set: organs to be written, with their new ids.
        partial: what to do with a case in which one is not labelled.

    Raises:
        LabelError: if there is such a case and it is to be refused.
        UsageError: if all are to be left out.
    """
    lacking = {
        case.id: [name for name in label_set.names if name not in case.organs]
        for case in dataset.cases
        if case.label is not None
    }
    lacking = {case_id: organs for case_id, organs in lacking.items() if organs}
    if lacking and partial == "refuse":
        raise LabelError(_partial(dataset.root, lacking))
    dropped = tuple(lacking) if partial == "drop" else ()
    labelled = tuple(case for case in dataset.cases if case.label is not None and case.id not in dropped)
    if not labelled:
        raise UsageError(f"{dataset.root}: no case is left to write; each lacks an organ or has no label")
    return Plan(
        label_set=label_set,
        labelled=labelled,
        bare=tuple(case for case in dataset.cases if case.label is None),
        dropped=dropped,
        vocabulary=_vocabulary(dataset.label_set, label_set),
    )


def put_case(case: Case, plan: Plan, *, image_to: Path, label_to: Path | None, link: bool) -> None:
    """Read a case, and write its image and label map under other names.

    Args:
        case: of the plan.
        plan: the export's.
        image_to: the image's new path, without its ending.
        label_to: the label map's new path.
        link: make a symbolic link to an image that need not be written anew.

    Raises:
        InputError: or one of its kinds, if a file cannot be used, or the label's grid is not the image's.
    """
    read = read_case(source_case(case, organs_said=True), plan.vocabulary)
    image_to.parent.mkdir(parents=True, exist_ok=True)
    put_image(case.image, read.image, to=image_to, link=link, as_they_are=(ENDING,))
    if label_to is not None and read.labels is not None:
        label_to.parent.mkdir(parents=True, exist_ok=True)
        write_labels(label_to, read.labels)


def _vocabulary(own: LabelSet, written: LabelSet) -> Vocabulary:
    return Vocabulary(
        label_set=written,
        organ_of={name: name for name in written.names if name in own.names},
        priority=written.names,
        ids={organ.id: organ.name for organ in own.organs},
        left_out=tuple(name for name in own.names if name not in written.names),
        known=own.names,
    )


def _partial(place: Path, lacking: Mapping[str, Sequence[str]]) -> str:
    shown = "; ".join(
        f"{case_id} lacks {', '.join(organs)}" for case_id, organs in [*lacking.items()][:_SHOWN]
    )
    more = f" and {len(lacking) - _SHOWN} more" if len(lacking) > _SHOWN else ""
    return (
        f"{place}: {len(lacking)} cases have organs that nobody labelled ({shown}{more}), which this layout "
        "cannot say: --drop-partial leaves these cases out, --as-background teaches a network that the organ "
        "is not there, --organs takes only organs that are labelled everywhere"
    )
