"""One synthetic case from any source: parametric, a map of structures, or a labelled real CT."""

from typing import Literal

import msgspec
import numpy as np
import torch

from thoar.core.errors import ConfigError
from thoar.core.geometry import Vector3
from thoar.core.labels import SEGTHOR, THORAX, LabelSet
from thoar.core.volume import LabelVolume, Volume
from thoar.phantoms.body_map import BodyMap
from thoar.phantoms.copies.copied import CopyParameters, copied, draw_copy
from thoar.phantoms.copies.labelled_scan import LabelledScan, moved
from thoar.phantoms.deform import Deformation, draw_deformation
from thoar.phantoms.label_map.body import LabelMapParameters, ReadyLabelMap, draw_label_map, label_map_body
from thoar.phantoms.paint import Appearance, draw_appearance, painted
from thoar.phantoms.parametric.thorax import ThoraxParameters, draw_thorax, thorax_map
from thoar.phantoms.pathology.apply import diseased
from thoar.phantoms.pathology.draw import draw_pathology
from thoar.phantoms.pathology.record import Pathology
from thoar.phantoms.patient import Patient, patient_of
from thoar.phantoms.posture import Posture
from thoar.phantoms.scanning.field import Field, draw_field
from thoar.phantoms.scanning.scanner import Scanner, draw_scanner
from thoar.phantoms.scanning.site import Site, at_site
from thoar.phantoms.scanning.view import scan_patient

SourceName = Literal["thorax", "label_map", "copy"]
Source = Literal["thorax"] | ReadyLabelMap | LabelledScan
"""The parametric thorax, a map of structures readied once, or a labelled CT readied once."""

STRENGTH: dict[SourceName, float] = {"thorax": 0.5, "label_map": 1.2, "copy": 1.0}
"""How strong deformations are: every parametric thorax differs already."""
POSTURES: dict[Posture, float] = {"supine": 0.92, "prone": 0.04, "left_side": 0.02, "right_side": 0.02}


class CaseParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that makes one case of a source; the same parameters give the same case on the same device kind.

    Attributes:
        source: which of the anatomies below is given.
        thorax: the parametric one.
        label_map: the map's.
        copy: the real scan's, whose values stay; it has no illness and no appearance.
        pathology: illness and devices of a map.
        appearance: values of a map's tissues.
        deformation: pose, size and shape.
        field: what is in view.
        scanner: what the picture suffers.
        posture: how the patient lies.
    """

    source: SourceName
    thorax: ThoraxParameters | None = None
    label_map: LabelMapParameters | None = None
    copy: CopyParameters | None = None
    pathology: Pathology | None = None
    appearance: Appearance | None = None
    deformation: Deformation
    field: Field
    scanner: Scanner
    posture: Posture


def with_site(parameters: CaseParameters, site: Site, *, rng: np.random.Generator) -> CaseParameters:
    """Return the same patient, in the same pose, under the scanner of a site."""
    scanner, field = at_site(parameters.scanner, parameters.field, site=site, rng=rng)
    return msgspec.structs.replace(parameters, scanner=scanner, field=field)


def draw_case(rng: np.random.Generator, source: SourceName) -> CaseParameters:
    """Draw the parameters of one case of a source; a real scan's patient lies as he was scanned."""
    postures = list(POSTURES)
    posture = postures[int(rng.choice(len(postures), p=list(POSTURES.values())))]
    painted_too = source != "copy"
    return CaseParameters(
        source=source,
        thorax=draw_thorax(rng) if source == "thorax" else None,
        label_map=draw_label_map(rng) if source == "label_map" else None,
        copy=draw_copy(rng) if source == "copy" else None,
        pathology=draw_pathology(rng) if painted_too else None,
        appearance=draw_appearance(rng) if painted_too else None,
        deformation=draw_deformation(rng, strength=STRENGTH[source]),
        field=draw_field(rng),
        scanner=draw_scanner(rng),
        posture=posture if painted_too else "supine",
    )


def name_of(source: Source) -> SourceName:
    """Return what a source is called in records."""
    if isinstance(source, str):
        return source
    return "copy" if isinstance(source, LabelledScan) else "label_map"


def make_case(
    source: Source,
    parameters: CaseParameters,
    *,
    spacing_zyx_mm: Vector3,
    device: torch.device | str = "cpu",
    label_set: LabelSet = SEGTHOR,
) -> tuple[Volume, LabelVolume]:
    """Make one case, int16 Hounsfield units and exact labels, on an axial grid of the spacing given.

    Which organs are labelled, some of ``core.labels.THORAX``, changes nothing else.

    Raises:
        ConfigError: if the parameters are those of another kind of source, or the source lacks an organ.
    """
    patient = make_patient(source, parameters, device=torch.device(device), label_set=label_set)
    return scan_patient(
        patient,
        deformation=parameters.deformation,
        field=parameters.field,
        scanner=parameters.scanner,
        posture=parameters.posture,
        spacing_zyx_mm=spacing_zyx_mm,
        label_set=label_set,
    )


def make_patient(
    source: Source, parameters: CaseParameters, *, device: torch.device, label_set: LabelSet = SEGTHOR
) -> Patient:
    """Return a case's patient, before any deformation and scanner.

    He has SegTHOR's organs, which deformations move, and those of the label set.

    Raises:
        ConfigError: if the parameters are those of another kind of source, or the source lacks an organ.
    """
    if isinstance(source, LabelledScan):
        if parameters.copy is None:
            raise _mismatch(parameters, "copy")
        refuse_unlabelled(source, label_set)
        return copied(moved(source, device), parameters.copy)
    body = _body(source, parameters, device)
    if parameters.pathology is not None:
        body = diseased(body, parameters.pathology, posture=parameters.posture)
    if parameters.appearance is None:
        raise ConfigError("the parameters of a painted case lack their appearance")
    hu = painted(body, parameters.appearance, posture=parameters.posture)
    return patient_of(body, hu, label_set=THORAX.subset((*SEGTHOR.names, *label_set.names)))


def refuse_unlabelled(source: Source, label_set: LabelSet) -> None:
    """Refuse organs that cases of a source cannot have labels of.

    Raises:
        ConfigError: if there is one.
    """
    known = source.label_set if isinstance(source, LabelledScan) else THORAX
    strange = [name for name in label_set.names if name not in known.names]
    if strange:
        raise ConfigError(
            f"cases of {name_of(source)!r} have no labels of {', '.join(strange)}; they have "
            f"{', '.join(known.names)}"
        )


def _body(
    source: Literal["thorax"] | ReadyLabelMap, parameters: CaseParameters, device: torch.device
) -> BodyMap:
    if isinstance(source, str):
        if parameters.thorax is None:
            raise _mismatch(parameters, "thorax")
        return thorax_map(parameters.thorax, device=device)
    if parameters.label_map is None:
        raise _mismatch(parameters, "label_map")
    return label_map_body(source, parameters.label_map, device=device, posture=parameters.posture)


def _mismatch(parameters: CaseParameters, name: SourceName) -> ConfigError:
    return ConfigError(f"the parameters are those of a case of {parameters.source!r}, the source is {name!r}")
