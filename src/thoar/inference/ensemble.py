"""A model that may be several: the folds of a cross-validation, read as one bundle of their mean."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from thoar.core.box import Index3
from thoar.core.errors import ModelError
from thoar.inference.bundle import Bundle, read_bundle
from thoar.inference.localisation import OrganLocalisation
from thoar.inference.manifest import MANIFEST, Manifest, TrainedOn, read_manifest
from thoar.inference.shipped import find_members
from thoar.io.digest import sha256_of
from thoar.network.ensemble import ensemble


def read_model(name: str | Path, *, organs: Sequence[str] | None = None, accelerated: bool = False) -> Bundle:
    """Read the model that a name or path means; of the folds of a cross-validation, all of them as one.

    Args:
        name: see :func:`thoar.inference.shipped.find_members`.
        organs: whose decoders are wanted; where None, of all that are not optional.
        accelerated: see :func:`thoar.inference.shipped.real_name`.

    Returns:
        The bundle; of several, one whose ``folder`` is that of all folds and whose manifest names every
        member's manifest under ``sha256``.

    Raises:
        ModelError: if there is no such model, anything of it is missing or damaged, or its members are not
            of one kind.
        LabelError: if the model does not know an organ.
    """
    folders = find_members(name, accelerated=accelerated)
    members = [_read_member(folder, organs) for folder in folders]
    if len(members) == 1:
        return members[0]
    for member in members[1:]:
        _refuse_other_kind(members[0], member)
    return Bundle(
        folder=Path(name),
        manifest=_joint_manifest(Path(name), members),
        configuration=members[0].configuration,
        network=ensemble([member.network for member in members]).eval(),
    )


def manifests_of(bundle: Bundle) -> dict[str, str]:
    """Return the SHA-256 of the manifests that say what a model is, by their paths from its folder.

    Of a bundle it is its own; of several read as one, every member's.
    """
    own = bundle.folder / MANIFEST
    return {MANIFEST: sha256_of(own)} if own.is_file() else bundle.manifest.sha256


def _read_member(folder: Path, organs: Sequence[str] | None) -> Bundle:
    return read_bundle(folder, organs=read_manifest(folder).usual if organs is None else organs)


def _refuse_other_kind(first: Bundle, other: Bundle) -> None:
    one, two = _kind(first), _kind(other)
    differing = [part for part in one if one[part] != two[part]]
    if differing:
        raise ModelError(
            f"{other.folder}: has another {' and '.join(differing)} than {first.folder}; the folds of one "
            "model are trained with one configuration on one data set, so name one of them as the model"
        )


def _kind(bundle: Bundle) -> dict[str, object]:
    """Return what the members of one model have in common, by its name."""
    configuration, manifest = bundle.configuration, bundle.manifest
    return {
        "preparation": (configuration.preparation, configuration.body),
        "network": (configuration.network, manifest.own_coarse),
        "localisation": configuration.localisation,
        "label set": (manifest.label_set, manifest.optional),
    }


def _joint_manifest(folder: Path, members: Sequence[Bundle]) -> Manifest:
    manifests = [member.manifest for member in members]
    seen = _joint_trained_on([manifest.history.trained_on for manifest in manifests])
    return msgspec.structs.replace(
        manifests[0],
        name=f"{manifests[0].name} ({len(members)} folds)",
        localisation=_joint_localisation([manifest.localisation for manifest in manifests]),
        training_cases=seen.cases,
        training_sources=seen.sources,
        parameters=sum(manifest.parameters for manifest in manifests),
        fine_trained=all(manifest.fine_trained for manifest in manifests),
        added={
            name: _joint_trained_on([manifest.added[name] for manifest in manifests])
            for name in manifests[0].added
        },
        sha256={
            (member.folder / MANIFEST).relative_to(folder).as_posix(): sha256_of(member.folder / MANIFEST)
            for member in members
        },
    )


def _joint_trained_on(members: Sequence[TrainedOn]) -> TrainedOn:
    """Return what the members have seen; of a source as many cases as one of them, since folds share them."""
    sources = sorted({name for seen in members for name in seen.sources})
    return TrainedOn(
        cases=tuple(sorted({case for seen in members for case in seen.cases})),
        sources={name: max(seen.sources.get(name, 0) for seen in members) for name in sources},
    )


def _joint_localisation(
    members: Sequence[Mapping[str, OrganLocalisation]],
) -> dict[str, OrganLocalisation]:
    """Return the mean threshold and the largest margins: no member's box is cut short."""
    return {
        organ: OrganLocalisation(
            threshold=float(np.mean([member[organ].threshold for member in members])),
            margin_before_zyx=_largest([member[organ].margin_before_zyx for member in members]),
            margin_after_zyx=_largest([member[organ].margin_after_zyx for member in members]),
        )
        for organ in members[0]
    }


def _largest(margins_zyx: Sequence[Index3]) -> Index3:
    z, y, x = (max(values) for values in zip(*margins_zyx, strict=True))
    return (z, y, x)
