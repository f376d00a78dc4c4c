"""What a run begins or goes on with: its context, and its weights fresh, a model's, or a checkpoint's."""

from collections.abc import Collection, Sequence
from pathlib import Path

import torch

from thoar.core.configuration import Configuration
from thoar.core.errors import InputError
from thoar.core.labels import LabelSet
from thoar.inference.bundle import Bundle
from thoar.inference.manifest import History
from thoar.training.boxes import cap_of
from thoar.training.cases import TrainingCase
from thoar.training.checkpoint import load_last
from thoar.training.state import TrainingState, begin_with, history_of, new_state
from thoar.training.steps import Context


def begin(
    folder: Path,
    configuration: Configuration,
    label_set: LabelSet,
    *,
    training: Sequence[TrainingCase],
    data_key: str,
    devices: tuple[torch.device, torch.device | None],
    initial: Bundle | None,
    resumed: bool,
) -> tuple[Context, TrainingState]:
    """Return what every step shares, and the state that the next one changes.

    Args:
        folder: of the run.
        configuration: the run's.
        label_set: the organs of the network.
        training: cases trained on.
        data_key: of all cases.
        devices: of the encoder, and of the fine decoders where they have one of their own.
        initial: the model to begin with. Those of its organs that no case labels are left as they are where
            the encoder is; without a model every organ must be learnt.
        resumed: whether to go on from the folder's checkpoint.

    Raises:
        InputError: if no case shows an organ that is to be learnt, or the checkpoint is damaged.
        ConfigError: if the checkpoint is of another configuration, other organs or other cases; or the
            initial weights are another network's.
    """
    kept = _kept(training, label_set, configuration) if initial is not None else ()
    context = Context(
        configuration=configuration,
        label_set=label_set,
        device=devices[0],
        decoder_device=devices[1],
        cap_cells=_caps(training, label_set, configuration, kept=kept),
    )
    if not resumed:
        return context, _fresh(context, data_key, initial, kept=kept)
    state = load_last(
        folder,
        configuration=configuration,
        label_set=label_set,
        data_key=data_key,
        device=devices[0],
        decoder_device=devices[1],
        kept=kept,
    )
    return context, state


def _kept(
    training: Sequence[TrainingCase], label_set: LabelSet, configuration: Configuration
) -> tuple[str, ...]:
    """Return the organs that are left as they are: no case labels them, and the encoder does not change."""
    if configuration.train.encoder_rate:
        return ()
    labelled = {name for case in training for name in case.organs}
    return tuple(name for name in label_set.names if name not in labelled)


def _caps(
    training: Sequence[TrainingCase],
    label_set: LabelSet,
    configuration: Configuration,
    *,
    kept: Collection[str],
) -> dict[str, float]:
    """Return the most cells of the training boxes of each organ that is trained.

    Raises:
        InputError: if no training case shows one.
    """
    sizes = {
        name: [case.box_cells[name].voxels for case in training if name in case.box_cells]
        for name in label_set.names
        if name not in kept
    }
    unseen = [name for name, boxes in sizes.items() if not boxes]
    if unseen:
        raise InputError(
            f"no training case shows {', '.join(unseen)}; add cases, or leave them out of the label set"
        )
    return {name: cap_of(boxes, configuration.boxes) for name, boxes in sizes.items()}


def _fresh(
    context: Context, data_key: str, initial: Bundle | None, *, kept: Collection[str]
) -> TrainingState:
    state = new_state(
        context.configuration,
        context.label_set,
        context.device,
        decoder_device=context.decoder_device,
        before=history_of(initial) if initial is not None else History(),
        kept=kept,
    )
    if initial is not None:
        begin_with(state, initial)
    state.progress.data_key = data_key
    return state
