"""The optional organs of a shipped model: what their card and manifest say."""

import json
from pathlib import Path

import msgspec
import pytest
from thorax.organ_card import with_organs, with_sources
from thorax.sources import KNOWN_MAPS, LIDC, MAP_PREFIX, PARAMETRIC, PHANTOMS, SourceError
from train_organs import ORGANS, Part, merge, with_thresholds

from thoar.core.labels import SEGTHOR, THORAX
from thoar.datasets.manifest import Case, Dataset, read_dataset, write_dataset
from thoar.inference.localisation import OrganLocalisation
from thoar.inference.manifest import Manifest, TrainedOn

S0327 = f"{MAP_PREFIX}{next(iter(KNOWN_MAPS))}"


def manifest_of(**sources: int) -> Manifest:
    return Manifest(
        name="thorax-fast",
        thoar_version="0",
        label_set=THORAX,
        localisation={},
        sources=(LIDC,),
        parameters=1,
        added=dict.fromkeys(ORGANS, TrainedOn(cases=("map-0-map_0000",), sources=sources)),
        optional=ORGANS,
        sha256={},
    )


def test_the_optional_organs_are_those_that_segthor_lacks() -> None:
    assert ORGANS == ("spinal_cord", "lung_left", "lung_right")


def test_sources_of_added_organs_are_cited_beside_the_models_own() -> None:
    found = with_sources(manifest_of(**{PARAMETRIC: 30, S0327: 26}))
    assert found.sources == (LIDC, PHANTOMS, KNOWN_MAPS[S0327.removeprefix(MAP_PREFIX)])
    assert found.added["lung_left"].cases == ("totalsegmentator-s0327",)
    assert found.added["lung_left"].sources == {PARAMETRIC: 30, S0327: 26}


def test_sources_nobody_knows_are_refused() -> None:
    with pytest.raises(SourceError, match="somewhere"):
        with_sources(manifest_of(somewhere=3))


def test_the_card_names_organs_sources_and_scores(tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    scores = [{"dice": 0.9, "hausdorff95_mm": 4.0}, {"dice": 0.8, "hausdorff95_mm": 6.0}]
    absent = {"dice": None, "hausdorff95_mm": "inf"}
    cases = [
        *({"scores": {"lung_left": s, "heart": absent}} for s in scores),
        {"scores": {"lung_left": absent}},
    ]
    results.write_text(json.dumps({"cases": cases, "schema": "thoar.results/1"}))
    card = with_organs("# thorax-fast\n", manifest_of(**{PARAMETRIC: 30}), scores=[("phantoms", results)])
    assert card.startswith("# thorax-fast\n")
    assert "Spinal cord, lung left, lung right are drawn only" in card
    assert "- 30 cases of thoar's own parametric thoraxes (Apache-2.0)" in card
    assert "| phantoms | lung_left | 2 | 0.850 | 5.0 |" in card
    assert "Not measured" in with_organs("", manifest_of(**{PARAMETRIC: 1}), scores=[])


def test_thresholds_set_by_hand_are_those_of_the_bundle() -> None:
    stated = OrganLocalisation(threshold=0.5, margin_before_zyx=(2, 2, 2), margin_after_zyx=(1, 1, 1))
    found = with_thresholds(
        msgspec.structs.replace(manifest_of(), localisation=dict.fromkeys(THORAX.names, stated))
    ).localisation
    assert found["spinal_cord"] == msgspec.structs.replace(stated, threshold=0.8)
    assert {name for name in found if found[name] != stated} == {"spinal_cord"}


def test_cases_of_all_sources_make_one_data_set(tmp_path: Path) -> None:
    parts = (
        Part(name="parametric", source=PARAMETRIC, cases=1),
        Part(name="map-0", source=S0327, cases=1),
    )
    for part in parts:
        place = tmp_path / part.name
        place.mkdir()
        for file in ("image.nii.gz", "GT.nii.gz"):
            (place / file).touch()
        case = Case(
            id="a",
            image=place / "image.nii.gz",
            label=place / "GT.nii.gz",
            organs=THORAX.names,
            group="a",
            absent=("heart",),
        )
        write_dataset(place, Dataset(root=place, label_set=THORAX, cases=(case,)))
    merge(tmp_path, parts)
    found = read_dataset(tmp_path)
    assert [(c.id, c.group, c.source, c.absent) for c in found.cases] == [
        ("parametric-a", "parametric-a", PARAMETRIC, ("heart",)),
        ("map-0-a", "map-0-a", S0327, ("heart",)),
    ]
    assert msgspec.structs.asdict(found.label_set.organs[0]) == msgspec.structs.asdict(SEGTHOR.organs[0])
