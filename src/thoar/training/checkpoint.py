"""Everything a run needs to go on as if it had not been interrupted, and its checkpoint on disk.

    RUN/last/     a bundle (see thoar.inference.bundle), and beside its files
      state.safetensors   the weights as they are trained, their moving average, the optimiser's moments
      progress.json       where the run stands, and the SHA-256 of state.safetensors
    RUN/previous/ the checkpoint before that, for when RUN/last turns out to be damaged
    RUN/best/     the bundle that scored best in validation

No pickle. Random streams are named by seed, epoch and case, so none needs saving.
"""

import hashlib
import logging
from collections.abc import Collection
from pathlib import Path

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from thoar.core.configuration import Configuration, configuration_from, load_toml
from thoar.core.errors import ConfigError, InputError, ModelError
from thoar.core.labels import LabelSet
from thoar.inference.bundle import CONFIGURATION, write_bundle
from thoar.inference.localisation import OrganLocalisation
from thoar.inference.manifest import MANIFEST, History, read_manifest
from thoar.io.atomic import recover_folder, replace_folder
from thoar.io.digest import sha256_of
from thoar.network.network import CoarseToFineNetwork
from thoar.training.state import Progress, TrainingState, new_state

LAST, PREVIOUS, BEST = "last", "previous", "best"
STATE = "state.safetensors"
PROGRESS = "progress.json"

_log = logging.getLogger(__name__)


def save_last(
    run: Path,
    state: TrainingState,
    *,
    configuration: Configuration,
    label_set: LabelSet,
    history: History,
) -> None:
    """Replace ``RUN/last`` by the present state; a kill at any instant leaves the old one or this one."""

    def fill(folder: Path) -> None:
        write_bundle(
            folder,
            network=state.kept,
            configuration=configuration,
            label_set=label_set,
            localisation=state.progress.localisation,
            history=history,
            fine_trained=_fine_trained(state, configuration),
        )
        content = save(_tensors_of(state))
        (folder / STATE).write_bytes(content)
        state.progress.state_sha256 = hashlib.sha256(content).hexdigest()
        (folder / PROGRESS).write_bytes(msgspec.json.format(msgspec.json.encode(state.progress), indent=2))

    replace_folder(run / LAST, fill, keep_old_as=run / PREVIOUS)


def save_best(
    run: Path,
    network: CoarseToFineNetwork,
    *,
    configuration: Configuration,
    label_set: LabelSet,
    localisation: dict[str, OrganLocalisation],
    history: History,
    fine_trained: bool = True,
) -> None:
    """Replace ``RUN/best`` by a bundle of a network."""
    replace_folder(
        run / BEST,
        lambda folder: write_bundle(
            folder,
            network=network,
            configuration=configuration,
            label_set=label_set,
            localisation=localisation,
            history=history,
            fine_trained=fine_trained,
        ),
    )


def recover_checkpoints(run: Path) -> bool:
    """Mend what a kill left of a run's checkpoints, and say whether there is one."""
    recover_folder(run / LAST, keep_old_as=run / PREVIOUS)
    recover_folder(run / BEST)
    return (run / LAST).is_dir() or (run / PREVIOUS).is_dir()


def load_last(
    run: Path,
    *,
    configuration: Configuration,
    label_set: LabelSet,
    data_key: str,
    device: torch.device,
    decoder_device: torch.device | None = None,
    kept: Collection[str] = (),
) -> TrainingState:
    """Return the state that ``RUN/last`` holds, or ``RUN/previous`` where that is damaged.

    Raises:
        InputError: if there is none, or both are damaged.
        ConfigError: if it was made with another configuration, other cases or other organs.
    """

    def load_from(folder: Path) -> TrainingState:
        refuse_other_configuration(folder, configuration, run=run)
        progress, tensors = _read_checkpoint(folder)
        if progress.data_key != data_key:
            raise ConfigError(f"{run}: was started with other cases; resume with the same data set")
        _refuse_other_organs(folder, label_set, run=run)
        state = new_state(
            configuration,
            label_set,
            device,
            decoder_device=decoder_device,
            before=progress.before,
            kept=kept,
        )
        _restore(state, tensors)
        state.progress = progress
        return state

    try:
        return load_from(run / LAST)
    except InputError as error:
        if not (run / PREVIOUS).is_dir():
            raise
        _log.warning("%s; going on from the checkpoint before it (%s)", error, run / PREVIOUS)
        return load_from(run / PREVIOUS)


def refuse_other_configuration(folder: Path, configuration: Configuration, *, run: Path) -> None:
    """Refuse to go on from a checkpoint, or beside a finished run, with another configuration.

    Args:
        folder: of the checkpoint.
        configuration: asked for now.
        run: to name.

    Raises:
        ConfigError: saying what differs.
        InputError: if the checkpoint is damaged.
    """
    kept = _configuration_of(folder)
    if kept != configuration:
        raise ConfigError(
            f"{run}: was started with another configuration ({_first_difference(kept, configuration)}); "
            "resume with the same one, or train into another folder"
        )


def _refuse_other_organs(folder: Path, label_set: LabelSet, *, run: Path) -> None:
    kept = read_manifest(folder).label_set.names
    if kept != label_set.names:
        raise ConfigError(
            f"{run}: was started with {', '.join(kept)}, not with {', '.join(label_set.names)}; resume with "
            "the same data set and the same --from"
        )


def _configuration_of(folder: Path) -> Configuration:
    path = folder / CONFIGURATION
    try:
        if sha256_of(path) != read_manifest(folder).sha256.get(CONFIGURATION):
            raise InputError(f"{path}: does not match its SHA-256 in {MANIFEST}; it is damaged")
        return configuration_from(load_toml(path), source=str(path))
    except (ConfigError, ModelError) as error:
        raise InputError(f"{folder}: holds no checkpoint to resume from ({error})") from error


def _first_difference(kept: msgspec.Struct, asked: msgspec.Struct, path: str = "") -> str:
    for name in kept.__struct_fields__:
        old, new = getattr(kept, name), getattr(asked, name)
        if old != new:
            if isinstance(old, msgspec.Struct) and isinstance(new, msgspec.Struct):
                return _first_difference(old, new, f"{path}{name}.")
            return f"{path}{name} was {old!r}, now {new!r}"
    return "no difference"


def _read_checkpoint(folder: Path) -> tuple[Progress, dict[str, Tensor]]:
    try:
        progress = msgspec.json.decode((folder / PROGRESS).read_bytes(), type=Progress)
        content = (folder / STATE).read_bytes()
        if hashlib.sha256(content).hexdigest() != progress.state_sha256:
            raise InputError(f"{folder / STATE}: does not match its SHA-256 in {PROGRESS}; it is damaged")
        return progress, load(content)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, SafetensorError) as error:
        raise InputError(f"{folder}: is no whole checkpoint ({error}); nothing to resume from") from error


def _fine_trained(state: TrainingState, configuration: Configuration) -> bool:
    joint_epochs_begun = state.progress.epoch - configuration.train.coarse_epochs
    return joint_epochs_begun > 0 or (joint_epochs_begun == 0 and state.progress.step > 0)


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
