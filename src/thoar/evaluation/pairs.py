"""Which prediction is compared with which reference: by case id, and none is left over in silence."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from thoar.core.errors import InputError, LabelError
from thoar.core.labels import SEGTHOR, LabelSet
from thoar.datasets.manifest import Case, read_dataset
from thoar.evaluation.predictions import Prediction, find_predictions


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A prediction and the reference it is compared with.

    Attributes:
        case_id: what the case is called in the results.
        prediction: label map.
        reference: label map.
        organs: which organs the reference shows and the prediction was asked for; the others are skipped.
        in_training_data: whether the model was trained on this case; None where no record says.
    """

    case_id: str
    prediction: Path
    reference: Path
    organs: tuple[str, ...]
    in_training_data: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """Everything that is to be compared.

    Attributes:
        pairs: in the order of the references.
        label_set: what the ids of all label maps mean.
        unlabelled_cases: ids of predicted cases for which the data set has no label map.
    """

    pairs: tuple[Pair, ...]
    label_set: LabelSet
    unlabelled_cases: tuple[str, ...]


def pair_up(predictions: Path, references: Path) -> Pairing:
    """Pair predictions with the labelled cases of a data set, or one prediction with one label file.

    A single prediction that does not say its case id is paired with the only labelled case.

    Raises:
        InputError: naming every prediction without a reference and every reference without a prediction.
        LabelError: if a prediction's record gives an organ another id than the references'.
    """
    found: Sequence[Prediction] = find_predictions(predictions)
    if references.is_dir():
        return _with_dataset(found, references)
    if not references.exists():
        raise InputError(f"{references}: no such data set or label map")
    if len(found) != 1:
        raise InputError(
            f"{predictions}: holds {len(found)} predictions ({_listed([p.name for p in found])}) for the one "
            f"label map {references}; give the data set's folder, or one prediction"
        )
    _refuse_other_ids(found[0], SEGTHOR)
    pair = _pair(found[0], found[0].name, reference=references, organs=SEGTHOR.names)
    return Pairing(pairs=(pair,), label_set=SEGTHOR, unlabelled_cases=())


def _with_dataset(found: Sequence[Prediction], folder: Path) -> Pairing:
    dataset = read_dataset(folder)
    labelled = [case for case in dataset.cases if case.label is not None]
    by_id = _by_id(found, labelled)
    unlabelled = tuple(case.id for case in dataset.cases if case.label is None and case.id in by_id)
    _refuse_unpaired(by_id, labelled, unlabelled=unlabelled, folder=folder)
    for prediction in by_id.values():
        _refuse_other_ids(prediction, dataset.label_set)
    pairs = tuple(
        _pair(by_id[case.id], case.id, reference=case.label, organs=case.organs, group=case.group)
        for case in labelled
        if case.label is not None
    )
    return Pairing(pairs=pairs, label_set=dataset.label_set, unlabelled_cases=unlabelled)


def _by_id(found: Sequence[Prediction], labelled: Sequence[Case]) -> dict[str, Prediction]:
    if len(found) == len(labelled) == 1 and not found[0].named:
        return {labelled[0].id: found[0]}
    return {prediction.name: prediction for prediction in found}


def _pair(
    prediction: Prediction,
    case_id: str,
    *,
    reference: Path,
    organs: tuple[str, ...],
    group: str | None = None,
) -> Pair:
    trained = prediction.training_cases
    return Pair(
        case_id=case_id,
        prediction=prediction.path,
        reference=reference,
        organs=tuple(name for name in organs if prediction.organs is None or name in prediction.organs),
        in_training_data=None if trained is None else not trained.isdisjoint({case_id, group or case_id}),
    )


def _refuse_other_ids(prediction: Prediction, label_set: LabelSet) -> None:
    for organ in label_set.organs:
        found = prediction.ids.get(organ.name, organ.id)
        if found != organ.id:
            raise LabelError(
                f"{prediction.path}: its record gives {organ.name} the id {found}, the references "
                f"{organ.id}; evaluate against a data set with the model's label set"
            )


def _refuse_unpaired(
    by_id: dict[str, Prediction], labelled: Sequence[Case], *, unlabelled: Sequence[str], folder: Path
) -> None:
    known = {case.id for case in labelled}
    strangers = [name for name in by_id if name not in known and name not in unlabelled]
    missing = [case.id for case in labelled if case.id not in by_id]
    if not labelled:
        raise InputError(f"{folder}: no case of this data set has a label map to compare with")
    if strangers or missing:
        raise InputError(
            f"{folder}: predictions without a case of that id: {_listed(strangers)}; labelled cases without "
            f"a prediction: {_listed(missing)}; rename, predict or remove these, so that every one has its "
            "counterpart"
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
