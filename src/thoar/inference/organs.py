"""A trained model with an organ more or fewer, and nothing else of it changed."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import msgspec
import torch
from torch import nn

from thoar.core.errors import LabelError, ModelError
from thoar.core.labels import LabelSet, Organ
from thoar.inference.bundle import CARD, Bundle, write_bundle
from thoar.io.atomic import replace_folder
from thoar.network.coarse import CoarseDecoder
from thoar.network.network import CoarseToFineNetwork

Pairs = Sequence[tuple[str, str]]
"""Organs that are left and right of each other."""


def with_organ(model: Bundle, addition: Bundle, *, optional: bool = False, pairs: Pairs = ()) -> Bundle:
    """Return a model that knows one organ more.

    No weight that it had changes: the boxes, probabilities and masks of its other organs stay as they were,
    bit for bit.

    Args:
        model: read with all its organs.
        addition: the organ alone, trained with a coarse decoder of its own on the model's encoder.
        optional: the organ is drawn only when it is asked for by name.
        pairs: where the model knows the other one of its pair, the model says so from now on.

    Raises:
        LabelError: if the model knows the organ already.
        ModelError: if the addition is no such bundle.
    """
    organ = _added_organ(model, addition)
    network, manifest = model.network, model.manifest
    joined = CoarseToFineNetwork(
        encoder=network.encoder,
        coarse=network.coarse,
        fine={**dict(network.fine.items()), organ.name: addition.network.fine[organ.name]},
        strides_zyx=network.strides_zyx,
        own_coarse={
            **dict(network.own_coarse.items()),
            organ.name: addition.network.own_coarse[organ.name],
        },
    )
    more = msgspec.structs.replace(manifest.label_set, organs=(*manifest.label_set.organs, organ))
    about = msgspec.structs.replace(
        manifest,
        label_set=with_pairs(more, pairs),
        localisation=manifest.localisation | addition.manifest.localisation,
        added=manifest.added | addition.manifest.added,
        optional=(*manifest.optional, organ.name) if optional else manifest.optional,
    )
    return dataclasses.replace(model, network=joined.eval(), manifest=about)


def with_only(model: Bundle, organ_names: Sequence[str]) -> Bundle:
    """Return a model that knows only some of its organs, with the weights they had.

    Without an added organ the others stay bit for bit as they were. Without one that shared its coarse
    decoder, the last bit of a coarse probability may differ: fewer channels are summed in another order.
    Where only optional organs are left, they are optional no more.

    Args:
        model: read with all its organs.
        organ_names: which ones stay.

    Raises:
        LabelError: if it does not know one, or none would be left.
    """
    network, manifest = model.network, model.manifest
    label_set = manifest.label_set.subset(tuple(organ_names))
    shared = [name for name in network.located if name not in network.own_coarse]
    channels = [0, *(1 + index for index, name in enumerate(shared) if name in label_set.names)]
    left = CoarseToFineNetwork(
        encoder=network.encoder,
        coarse=_of_channels(network.coarse, channels, model),
        fine=_named(network.fine, label_set),
        strides_zyx=network.strides_zyx,
        own_coarse=_named(network.own_coarse, label_set),
    )
    optional = tuple(name for name in manifest.optional if name in label_set.names)
    about = msgspec.structs.replace(
        manifest,
        label_set=label_set,
        localisation={name: manifest.localisation[name] for name in label_set.names},
        added={name: seen for name, seen in manifest.added.items() if name in label_set.names},
        optional=() if set(optional) == set(label_set.names) else optional,
    )
    return dataclasses.replace(model, network=left.eval(), manifest=about)


def with_pairs(label_set: LabelSet, pairs: Pairs) -> LabelSet:
    """Return a label set that also names those pairs of which it knows both organs."""
    named = {frozenset(pair) for pair in label_set.symmetric_pairs}
    more = [pair for pair in pairs if {*pair} <= {*label_set.names} and frozenset(pair) not in named]
    return msgspec.structs.replace(label_set, symmetric_pairs=(*label_set.symmetric_pairs, *more))


def write_model(folder: Path, model: Bundle, *, half: bool = False) -> None:
    """Write a model into a folder of its own, whole or not at all, with the card that it came with.

    Args:
        folder: to make or replace.
        model: to write.
        half: keep the weights in float16.
    """
    card = model.folder / CARD
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    replace_folder(
        folder,
        lambda new: write_bundle(
            new,
            network=model.network,
            configuration=model.configuration,
            label_set=model.manifest.label_set,
            localisation=model.manifest.localisation,
            about=model.manifest,
            fine_trained=model.manifest.fine_trained,
            half=half,
            card=text,
        ),
    )


def _added_organ(model: Bundle, addition: Bundle) -> Organ:
    """Return the organ of an addition, with an id that the model has not given away."""
    organs = addition.manifest.label_set.organs
    if len(organs) != 1 or addition.manifest.own_coarse != (organs[0].name,):
        raise ModelError(
            f"{addition.folder}: is no organ to be added; one organ with a coarse decoder of its own is"
        )
    (organ,), label_set = organs, model.manifest.label_set
    if organ.name.casefold() in (name.casefold() for name in label_set.names):
        raise LabelError(f"{model.folder}: knows {organ.name} already; remove it first, or add another name")
    if not _same_encoder(model, addition):
        raise ModelError(
            f"{addition.folder}: was trained on another model's encoder or voxels than {model.folder} has"
        )
    ids = [known.id for known in label_set.organs]
    return msgspec.structs.replace(organ, id=organ.id if organ.id not in ids else 1 + max(ids))


def _same_encoder(model: Bundle, addition: Bundle) -> bool:
    parts = ("preparation", "body", "network")
    if any(getattr(model.configuration, part) != getattr(addition.configuration, part) for part in parts):
        return False
    given = addition.network.encoder.state_dict()
    return all(torch.equal(value, given[key]) for key, value in model.network.encoder.state_dict().items())


def _of_channels(coarse: nn.Module, channels: Sequence[int], model: Bundle) -> CoarseDecoder:
    """Return a coarse decoder that has some of another's channels."""
    with torch.device("meta"):
        fewer = CoarseDecoder(model.configuration.network, len(channels) - 1)
    weights = {key: value[list(channels)].clone() for key, value in coarse.state_dict().items()}
    fewer.load_state_dict(weights, assign=True)
    return fewer


def _named(decoders: nn.ModuleDict, label_set: LabelSet) -> dict[str, nn.Module]:
    return {name: decoder for name, decoder in decoders.items() if name in label_set.names}
