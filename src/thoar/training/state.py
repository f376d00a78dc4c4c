"""A run in memory: its weights, their moving average, the optimiser, and where it stands."""

import copy
from collections.abc import Collection
from dataclasses import dataclass, field

import msgspec
import torch
from torch import nn

from thoar.core.configuration import Configuration, Train
from thoar.core.errors import ConfigError
from thoar.core.labels import LabelSet
from thoar.core.random import seed_for
from thoar.inference.bundle import Bundle
from thoar.inference.localisation import OrganLocalisation, uncalibrated
from thoar.inference.manifest import History, TrainedOn
from thoar.network.encoder import Encoder
from thoar.network.network import CoarseToFineNetwork, build_network

_FIRST_SCALE = {"float16": 2.0**16}
_NO_HISTORY = History()


class Progress(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Where a run stands.

    Attributes:
        epoch: the one that is under way, counted over both stages from 0.
        step: steps of it that are done.
        steps: of the whole run.
        loss_sums: of this epoch's steps, per loss its sum and number.
        best_score: of the present stage's validations; None before the first.
        localisation: per organ, calibrated or not.
        data_key: of the cases trained on.
        since_best: validations of the present stage in a row that were no better.
        loss_scale: of half precision: losses are multiplied by it, so that small gradients are no zeros.
        steps_at_scale: in a row, without an overflow.
        float32_steps: steps that were computed anew in single precision, since half had overflowed.
        before: history of the model it began with.
        state_sha256: of the weights' file.
    """

    epoch: int = 0
    step: int = 0
    steps: int = 0
    loss_sums: dict[str, tuple[float, int]] = msgspec.field(default_factory=dict)
    best_score: float | None = None
    localisation: dict[str, OrganLocalisation] = msgspec.field(default_factory=dict)
    data_key: str = ""
    since_best: int = 0
    loss_scale: float = 1.0
    steps_at_scale: int = 0
    float32_steps: int = 0
    before: History = History()
    state_sha256: str = ""


@dataclass(kw_only=True, eq=False)
class TrainingState:
    """A run in memory.

    Attributes:
        network: as it is trained.
        averaged: its exponential moving average, what is validated and kept; None without averaging.
        optimiser: of ``network``'s weights.
        progress: where the run stands.
    """

    network: CoarseToFineNetwork
    averaged: CoarseToFineNetwork | None
    optimiser: torch.optim.Optimizer
    progress: Progress = field(default_factory=Progress)

    @property
    def kept(self) -> CoarseToFineNetwork:
        """The network that is validated and written into bundles."""
        return self.averaged or self.network


def new_state(
    configuration: Configuration,
    label_set: LabelSet,
    device: torch.device,
    *,
    decoder_device: torch.device | None = None,
    before: History = _NO_HISTORY,
    kept: Collection[str] = (),
) -> TrainingState:
    """Return a run at its start; the weights depend on ``train.seed`` alone.

    Args:
        configuration: the run's.
        label_set: its organs.
        device: of all weights.
        decoder_device: of the fine decoders' weights, where they lie elsewhere.
        before: history of the model it begins with, which may have organs added.
        kept: organs that are not trained.
    """
    train = configuration.train
    dtype = torch.float64 if train.precision == "float64" else torch.float32
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(train.seed, "weights"))
        added = [name for name in label_set.names if name in before.added]
        network = build_network(configuration.network, label_set.names, added).to(dtype)
    averaged = copy.deepcopy(network).requires_grad_(False) if train.averaging else None
    for one in (network, averaged):
        if one is not None:
            place(one, device, decoder_device)
    if train.encoder_rate == 0:
        network.encoder.requires_grad_(False)
    for name in kept:
        network.fine[name].requires_grad_(False)
        if name in network.own_coarse:
            network.own_coarse[name].requires_grad_(False)
    for encoder in network.encoder.modules():
        if isinstance(encoder, Encoder):
            encoder.recomputed_levels = train.recomputed_levels
    localisation = {name: uncalibrated(configuration.localisation, name) for name in label_set.names}
    return TrainingState(
        network=network,
        averaged=averaged,
        optimiser=_optimiser(network, train, decayed=not kept),
        progress=Progress(
            localisation=localisation, loss_scale=_FIRST_SCALE.get(train.precision, 1.0), before=before
        ),
    )


def place(network: CoarseToFineNetwork, device: torch.device, decoder_device: torch.device | None) -> None:
    """Move a network to its device, the fine decoders to theirs."""
    network.to(device)
    if decoder_device is not None:
        network.fine.to(decoder_device)


def begin_with(state: TrainingState, bundle: Bundle) -> None:
    """Take over a bundle's weights and localisation, for a run that goes on from another's end.

    Raises:
        ConfigError: if its network or its organs are others.
    """
    weights, organs = bundle.network.state_dict(), tuple(bundle.network.fine)
    if organs != tuple(state.network.fine):
        raise ConfigError(
            f"{bundle.folder}: knows {', '.join(organs)}, the data set {', '.join(state.network.fine)}; a "
            "run can begin with a model of the same organs in the same order"
        )
    for network in (state.network, state.averaged):
        if network is not None:
            try:
                network.load_state_dict(weights)
            except RuntimeError as error:
                raise ConfigError(
                    f"{bundle.folder}: has another network than this run's configuration; begin with a model "
                    f"of the same [network] ({str(error).splitlines()[-1].strip()})"
                ) from error
    state.progress.localisation = dict(bundle.manifest.localisation)


def history_of(bundle: Bundle) -> History:
    """Return a bundle's history; cases of which it says nothing count as being of no source."""
    history = bundle.manifest.history
    seen = history.trained_on
    untold = {} if seen.sources else {"": max(1, len(seen.cases))}
    return msgspec.structs.replace(history, trained_on=seen + TrainedOn(sources=untold))


def update_average(state: TrainingState, decay: float) -> None:
    """Move the averaged weights towards the trained ones; quickly while the run is young."""
    if state.averaged is None:
        return
    steps = state.progress.steps
    weight = 1 - min(decay, (1 + steps) / (10 + steps))
    with torch.no_grad():
        for average, value in zip(state.averaged.parameters(), state.network.parameters(), strict=True):
            average.lerp_(value, weight)


def set_rate(state: TrainingState, rate: float) -> None:
    """Set the learning rate of every group of weights, each by its share."""
    for group in state.optimiser.param_groups:
        group["lr"] = rate * group["share"]


def _optimiser(network: CoarseToFineNetwork, train: Train, *, decayed: bool) -> torch.optim.Optimizer:
    """Return the optimiser, with a group of weights for every share of the rate, the largest first.

    Where ``decayed`` is false the shared coarse decoder, some of whose channels are not trained, does not
    decay: those channels stay as they are.
    """
    encoder = {id(p) for p in network.encoder.parameters()}
    coarse = set[int]() if decayed else {id(p) for p in network.coarse.parameters()}
    most = train.weight_decay if train.optimiser == "adamw" else 0.0
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in network.parameters():
        if parameter.requires_grad:
            share = train.encoder_rate if id(parameter) in encoder else 1.0
            groups.setdefault((share, 0.0 if id(parameter) in coarse else most), []).append(parameter)
    members = [
        {"params": groups[share, decay], "share": share, "weight_decay": decay}
        for share, decay in sorted(groups, reverse=True)
    ]
    if train.optimiser == "adamw":
        return torch.optim.AdamW(members, lr=train.learning_rate)
    return torch.optim.Adam(members, lr=train.learning_rate, amsgrad=True)
