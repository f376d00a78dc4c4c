"""Illness put into a map of structures, from any source."""

from dataclasses import replace

import torch

from thoar.core.random import seed_for
from thoar.phantoms.body_map import BodyMap
from thoar.phantoms.pathology.aorta import sicken_aorta
from thoar.phantoms.pathology.devices import add_devices
from thoar.phantoms.pathology.gullet import sicken_gullet
from thoar.phantoms.pathology.heart import sicken_heart
from thoar.phantoms.pathology.lungs import add_collapse, add_consolidation, add_dependent, add_emphysema
from thoar.phantoms.pathology.pleura import add_air, add_fluid
from thoar.phantoms.pathology.record import Pathology
from thoar.phantoms.pathology.shifts import deviate, raise_dome
from thoar.phantoms.pathology.subject import Subject
from thoar.phantoms.pathology.tumours import add_nodes, add_tumour
from thoar.phantoms.posture import Posture, gravity_zyx


def diseased(body: BodyMap, pathology: Pathology, *, posture: Posture) -> BodyMap:
    """Return a body with illness and devices; the body itself where there are none.

    What needs structures that the map lacks is left out. Voxels keep to their organs: see ``structures``.

    Args:
        body: from any source; it is not changed.
        pathology: what is wrong.
        posture: which way fluid and gas go.
    """
    if pathology == Pathology(seed=pathology.seed):
        return body
    generator = torch.Generator(device=body.device)
    generator.manual_seed(seed_for(pathology.seed, "pathology"))
    subject = Subject(
        structure=body.structure.clone(memory_format=torch.contiguous_format),
        spacing_zyx_mm=body.spacing_zyx_mm,
        gravity_zyx=gravity_zyx(posture),
        generator=generator,
    )
    _move(subject, pathology)
    _sicken_lungs(subject, pathology)
    if pathology.devices is not None:
        add_devices(subject, pathology.devices)
    return replace(body, structure=subject.structure)


def _move(subject: Subject, pathology: Pathology) -> None:
    """What changes the shapes of organs comes first, so that the rest finds them in place."""
    if pathology.diaphragm is not None:
        raise_dome(subject, pathology.diaphragm)
    if pathology.deviation is not None:
        deviate(subject, pathology.deviation)
    if pathology.aorta is not None:
        sicken_aorta(subject, pathology.aorta)
    if pathology.gullet is not None:
        sicken_gullet(subject, pathology.gullet)
    if pathology.heart is not None:
        sicken_heart(subject, pathology.heart)


def _sicken_lungs(subject: Subject, pathology: Pathology) -> None:
    if pathology.emphysema is not None:
        add_emphysema(subject, pathology.emphysema)
    if pathology.consolidation is not None:
        add_consolidation(subject, pathology.consolidation)
    for tumour in pathology.tumours:
        add_tumour(subject, tumour)
    if pathology.nodes is not None:
        add_nodes(subject, pathology.nodes)
    if pathology.collapse is not None:
        add_collapse(subject, pathology.collapse)
    if pathology.dependent is not None:
        add_dependent(subject, pathology.dependent)
    if pathology.effusion is not None:
        add_fluid(subject, pathology.effusion)
    if pathology.pneumothorax is not None:
        add_air(subject, pathology.pneumothorax)
