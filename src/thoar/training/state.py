"""Everything a run needs to go on as if it had not been interrupted, and its checkpoint on disk.

    RUN/last/     a bundle (see thoar.inference.bundle), and beside its files
      state.safetensors   the weights as they are trained, their moving average, the optimiser's moments
      progress.json       where the run stands, and the SHA-256 of state.safetensors
    RUN/best/     the bundle that scored best in validation

No pickle. Random streams are named by seed, epoch and case, so none needs saving.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from thoar.core.configuration import Configuration, Train, configuration_from, load_toml
from thoar.core.errors import ConfigError, InputError
from thoar.core.labels import LabelSet
from thoar.core.random import seed_for
from thoar.inference.bundle import CONFIGURATION, Bundle, TrainedOn, write_bundle
from thoar.inference.localisation import OrganLocalisation, uncalibrated
from thoar.io.atomic import recover_folder, replace_folder
from thoar.network.network import CoarseToFineNetwork, build_network

STATE = "state.safetensors"
PROGRESS = "progress.json"


class Progress(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Where a run stands.

    Attributes:
        epoch: the one that is under way, counted over both stages from 0.
        step: cases of it that are done.
        steps: of the whole run.
        loss_sums: of this epoch's steps, per loss its sum and number.
        best_score: of the present stage's validations; None before the first.
        localisation: per organ, calibrated or not.
        data_key: of the cases trained on.
        before: what the weights it began with had been trained on.
        state_sha256: of the weights' file.
    """

    epoch: int = 0
    step: int = 0
    steps: int = 0
    loss_sums: dict[str, tuple[float, int]] = msgspec.field(default_factory=dict)
    best_score: float | None = None
    localisation: dict[str, OrganLocalisation] = msgspec.field(default_factory=dict)
    data_key: str = ""
    before: TrainedOn = TrainedOn()
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


def new_state(configuration: Configuration, label_set: LabelSet, device: torch.device) -> TrainingState:
    """Return a run at its start; the weights depend on ``train.seed`` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(configuration.train.seed, "weights"))
        network = build_network(configuration.network, label_set.names).to(device)
    averaged = None
    if configuration.train.averaging:
        averaged = build_network(configuration.network, label_set.names).to(device).requires_grad_(False)
        averaged.load_state_dict(network.state_dict())
    localisation = {name: uncalibrated(configuration.localisation, name) for name in label_set.names}
    return TrainingState(
        network=network,
        averaged=averaged,
        optimiser=_optimiser(network, configuration.train),
        progress=Progress(localisation=localisation),
    )


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
    state.progress.before = _seen_by(bundle)


def _seen_by(bundle: Bundle) -> TrainedOn:
    """Return what a bundle says it has seen; cases of which it says nothing count as being of no source."""
    seen = bundle.manifest.trained_on
    untold = {} if seen.sources else {"": max(1, len(seen.cases))}
    return seen + TrainedOn(sources=untold)


def update_average(state: TrainingState, decay: float) -> None:
    """Move the averaged weights towards the trained ones; quickly while the run is young."""
    if state.averaged is None:
        return
    steps = state.progress.steps
    weight = 1 - min(decay, (1 + steps) / (10 + steps))
    with torch.no_grad():
        for average, value in zip(state.averaged.parameters(), state.network.parameters(), strict=True):
            average.lerp_(value, weight)


def save_last(
    run: Path,
    state: TrainingState,
    *,
    configuration: Configuration,
    label_set: LabelSet,
    trained_on: TrainedOn,
) -> None:
    """Replace ``RUN/last`` by the present state; a kill at any instant leaves the old one or this one."""

    def fill(folder: Path) -> None:
        write_bundle(
            folder,
            network=state.kept,
            configuration=configuration,
            label_set=label_set,
            localisation=state.progress.localisation,
            trained_on=trained_on,
            fine_trained=_fine_trained(state, configuration),
        )
        content = save(_tensors_of(state))
        (folder / STATE).write_bytes(content)
        state.progress.state_sha256 = hashlib.sha256(content).hexdigest()
        (folder / PROGRESS).write_bytes(msgspec.json.format(msgspec.json.encode(state.progress), indent=2))

    replace_folder(run / "last", fill)


def save_best(
    run: Path,
    network: CoarseToFineNetwork,
    *,
    configuration: Configuration,
    label_set: LabelSet,
    localisation: dict[str, OrganLocalisation],
    trained_on: TrainedOn,
    fine_trained: bool = True,
) -> None:
    """Replace ``RUN/best`` by a bundle of a network."""
    replace_folder(
        run / "best",
        lambda folder: write_bundle(
            folder,
            network=network,
            configuration=configuration,
            label_set=label_set,
            localisation=localisation,
            trained_on=trained_on,
            fine_trained=fine_trained,
        ),
    )


def _fine_trained(state: TrainingState, configuration: Configuration) -> bool:
    joint_epochs_begun = state.progress.epoch - configuration.train.coarse_epochs
    return joint_epochs_begun > 0 or (joint_epochs_begun == 0 and state.progress.step > 0)


def load_last(
    run: Path, *, configuration: Configuration, label_set: LabelSet, device: torch.device
) -> TrainingState:
    """Return the state that ``RUN/last`` holds.

    Raises:
        InputError: if there is none or it is damaged.
        ConfigError: if it was made with another configuration.
    """
    for folder in (run / "last", run / "best"):
        recover_folder(folder)
    folder = run / "last"
    kept = _configuration_of(folder)
    if kept != configuration:
        raise ConfigError(
            f"{run}: was started with another configuration ({_first_difference(kept, configuration)}); "
            "resume with the same one, or train into another folder"
        )
    state = new_state(configuration, label_set, device)
    try:
        progress = msgspec.json.decode((folder / PROGRESS).read_bytes(), type=Progress)
        content = (folder / STATE).read_bytes()
        if hashlib.sha256(content).hexdigest() != progress.state_sha256:
            raise InputError(f"{folder / STATE}: does not match its SHA-256 in {PROGRESS}; it is damaged")
        _restore(state, load(content))
    except (OSError, msgspec.DecodeError, SafetensorError) as error:
        raise InputError(f"{folder}: is no whole checkpoint ({error}); nothing to resume from") from error
    state.progress = progress
    return state


def _optimiser(network: CoarseToFineNetwork, train: Train) -> torch.optim.Optimizer:
    if train.optimiser == "adamw":
        return torch.optim.AdamW(
            network.parameters(), lr=train.learning_rate, weight_decay=train.weight_decay
        )
    return torch.optim.Adam(network.parameters(), lr=train.learning_rate, amsgrad=True)


def _tensors_of(state: TrainingState) -> dict[str, Tensor]:
    tensors = {f"network/{key}": value for key, value in state.network.state_dict().items()}
    if state.averaged is not None:
        tensors |= {f"averaged/{key}": value for key, value in state.averaged.state_dict().items()}
    for index, moments in state.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser/{index}/{key}": value for key, value in moments.items()}
    return {key: value.detach().cpu().contiguous() for key, value in tensors.items()}


def _restore(state: TrainingState, tensors: dict[str, Tensor]) -> None:
    state.network.load_state_dict(_under("network/", tensors))
    if state.averaged is not None:
        state.averaged.load_state_dict(_under("averaged/", tensors))
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in _under("optimiser/", tensors).items():
        index, _, key = name.partition("/")
        moments.setdefault(int(index), {})[key] = value
    groups = state.optimiser.state_dict()["param_groups"]
    state.optimiser.load_state_dict({"state": moments, "param_groups": groups})


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _configuration_of(folder: Path) -> Configuration:
    try:
        return configuration_from(load_toml(folder / CONFIGURATION), source=str(folder / CONFIGURATION))
    except ConfigError as error:
        raise InputError(f"{folder}: holds no checkpoint to resume from ({error})") from error


def _first_difference(kept: msgspec.Struct, asked: msgspec.Struct, path: str = "") -> str:
    for name in kept.__struct_fields__:
        old, new = getattr(kept, name), getattr(asked, name)
        if old != new:
            if isinstance(old, msgspec.Struct) and isinstance(new, msgspec.Struct):
                return _first_difference(old, new, f"{path}{name}.")
            return f"{path}{name} was {old!r}, now {new!r}"
    return "no difference"
