"""Training that begins with a trained model: adapting it to other data, or adding an organ to it."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import torch

from thoar.core.configuration import Configuration, configuration_from, plain
from thoar.core.errors import ConfigError, InputError, LabelError
from thoar.core.labels import LabelSet, Organ
from thoar.core.random import seed_for
from thoar.datasets.manifest import Dataset
from thoar.inference.bundle import Bundle, read_bundle
from thoar.inference.localisation import uncalibrated
from thoar.inference.manifest import TrainedOn
from thoar.inference.organs import Pairs, with_only, with_organ, with_pairs, write_model
from thoar.network.network import build_network

TRAINING, MODEL = "training", "best"
"""Sub-folders of an added organ's folder: the run that trained it, and the model that has it."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Start:
    """What a run begins with.

    Attributes:
        initial: its weights.
        label_set: the organs of its network, by the ids that they have in the data set's labels.
    """

    initial: Bundle
    label_set: LabelSet


def adapted_configuration(
    model: Bundle, values: Mapping[str, Any], *, overrides: Sequence[str] = (), source: str = "configuration"
) -> Configuration:
    """Return a model's own configuration, changed where a recipe or an override says otherwise.

    Args:
        model: to begin with.
        values: the recipe's; what it does not say stays as it was.
        overrides: as ``section.key=value``.
        source: what to call the values in an error.

    Raises:
        ConfigError: for what :func:`thoar.core.configuration.configuration_from` refuses; or if the network
            would be another.
    """
    own = model.configuration
    known, recipe = own.name.split("+"), values.get("name", own.name)
    name = own.name if recipe in (*known, own.name) else f"{own.name}+{recipe}"
    merged = _overlaid(plain(own), {**values, "name": name})
    configuration = configuration_from(merged, overrides=overrides, source=source)
    if configuration.network != own.network:
        raise ConfigError(
            f"{source}: has another [network] than {model.folder}; a run that begins with a model keeps its "
            "network, so leave that section out (or begin with nothing)"
        )
    return configuration


def adapting(model: Bundle, dataset: Dataset, configuration: Configuration) -> Start:
    """Return the start of a run that adapts a model to a data set.

    Organs of the model that the data set does not label stay in it, untouched, where the encoder stays
    (``train.encoder_rate = 0``). Where it changes they would be spoilt in silence: they are left out.

    Args:
        model: read with all its organs.
        dataset: its organs are the model's, or some of them.
        configuration: the run's.

    Raises:
        LabelError: if the data set has an organ that the model does not know.
        InputError: if it labels none.
    """
    known = model.manifest.label_set
    strangers = [name for name in dataset.label_set.names if name not in known.names]
    if strangers:
        raise LabelError(
            f"{dataset.root}: has {', '.join(strangers)}, which {model.folder} does not know (it knows "
            f"{', '.join(known.names)}); add it first, with: thoar model add-organ {strangers[0]} --model … "
            "--data …, or leave it out of the data set's label_set"
        )
    labelled = {name for case in dataset.cases for name in case.organs}
    if not labelled:
        raise InputError(f"{dataset.root}: labels no organ; say which ones in dataset.toml")
    others = [name for name in known.names if name not in labelled]
    if others and configuration.train.encoder_rate:
        _log.warning(
            "%s: not labelled here, and left out of the new model, since its encoder changes; "
            "train.encoder_rate=0 keeps encoder and organs as they are",
            ", ".join(others),
        )
        model = with_only(model, [name for name in known.names if name in labelled])
    return Start(initial=model, label_set=_with_ids_of(dataset.label_set, model.manifest.label_set))


def adding(model: Bundle, organ: str, dataset: Dataset, configuration: Configuration) -> Start:
    """Return the start of a run that trains one more organ's decoders on a model's encoder.

    Args:
        model: the one to be added to.
        organ: its name in the data set.
        dataset: labels it in some cases at least; its other organs take no part.
        configuration: the run's.

    Raises:
        LabelError: if the model knows the organ, or the data set does not.
        InputError: if no case labels it.
        ConfigError: if the encoder would change.
    """
    if organ in model.manifest.label_set.names:
        raise LabelError(f"{model.folder}: knows {organ} already; to train it on, use: thoar train … --from")
    label_set = dataset.label_set.subset((organ,))
    if not any(organ in case.organs for case in dataset.cases):
        raise InputError(f"{dataset.root}: no case labels {organ}; add it to the cases' organs")
    if configuration.train.encoder_rate:
        raise ConfigError(
            "train.encoder_rate: must be 0 to add an organ, so that the others stay as they are"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(configuration.train.seed, "weights"))
        network = build_network(configuration.network, label_set.names, label_set.names)
    network.encoder = model.network.encoder
    manifest = msgspec.structs.replace(
        model.manifest,
        label_set=label_set,
        localisation={organ: uncalibrated(configuration.localisation, organ)},
        added={organ: TrainedOn()},
        optional=(),
    )
    return Start(initial=replace(model, network=network, manifest=manifest), label_set=label_set)


def finish_adding(model: Bundle, folder: Path, *, optional: bool = False, pairs: Pairs = ()) -> Bundle:
    """Write the model with the organ that a finished run of ``adding`` has trained.

    Args:
        model: the one to be added to.
        folder: holds the run, in ``training``, and gets the model, in ``best``.
        optional: see :func:`thoar.inference.organs.with_organ`.
        pairs: see there.

    Returns:
        The model as it was written.
    """
    joined = with_organ(model, read_bundle(folder / TRAINING / "best"), optional=optional, pairs=pairs)
    write_model(folder / MODEL, joined)
    return read_bundle(folder / MODEL)


def _with_ids_of(labels: LabelSet, organs: LabelSet) -> LabelSet:
    """Return a model's organs by the ids that they have in labels; others get numbers nobody has."""
    taken = [organ.id for organ in labels.organs]
    renumbered: list[Organ] = []
    for organ in organs.organs:
        if organ.name in labels.names:
            number = labels.organ(organ.name).id
        else:
            number = organ.id if organ.id not in taken else 1 + max(taken)
            taken.append(number)
        renumbered.append(msgspec.structs.replace(organ, id=number))
    renamed = LabelSet(organs=tuple(renumbered), symmetric_pairs=organs.symmetric_pairs)
    return with_pairs(renamed, labels.symmetric_pairs)


def _overlaid(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested values with those of another in their place, section by section."""
    merged = dict(below)
    for key, value in above.items():
        old: Any = merged.get(key)
        sections = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = _overlaid(old, value) if sections else value
    return merged
