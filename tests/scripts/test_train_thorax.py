"""The recipe of the shipped models: what it makes, what it refuses, and that it goes on where it stopped."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from thorax.carrying import carry_sources
from thorax.cases import _held_out, merge, pieces_of
from thorax.packing import scores_of
from thorax.plan import CONFIGURATIONS, SETTINGS, Kind, Part, Plan, counts_of
from thorax.sources import (
    KNOWN_MAPS,
    LIDC,
    MAP_PREFIX,
    PARAMETRIC,
    PHANTOMS,
    SAMPLE,
    SAMPLE_MAP,
    SourceError,
    check_synthetic,
    citations_of,
    label_map_digest,
    map_source,
)
from train_thorax import _arguments, _plan

from thoar.core.configuration import configuration_from, load_toml
from thoar.core.errors import UsageError
from thoar.core.geometry import Geometry
from thoar.core.labels import SEGTHOR
from thoar.core.volume import Volume
from thoar.datasets.manifest import Case, Dataset, read_dataset, write_dataset
from thoar.inference.localisation import OrganLocalisation
from thoar.inference.manifest import Manifest, read_manifest
from thoar.io.formats import write_volume
from thoar.training.split import held_out

SCRIPT = Path(__file__).parents[2] / "scripts" / "train_thorax.py"
S0327 = f"{MAP_PREFIX}{next(iter(KNOWN_MAPS))}"


def record_of(*, cases: tuple[str, ...] = ("phantom_0000", "training"), **sources: int) -> Manifest:
    return Manifest(
        name="model",
        thoar_version="0",
        label_set=SEGTHOR,
        localisation={
            name: OrganLocalisation(threshold=0.5, margin_before_zyx=(1, 1, 1), margin_after_zyx=(1, 1, 1))
            for name in SEGTHOR.names
        },
        training_cases=cases,
        training_sources=sources,
        parameters=1,
        sha256={},
    )


def part_of(kind: Kind, cases: int, source: str = PARAMETRIC) -> Part:
    return Part(kind=kind, source=source, cases=cases)


def plan_of(work: Path, **changes: object) -> Plan:
    plan = Plan(
        work=work,
        recipe="fast",
        protocol="synthetic",
        parts=(part_of("parametric", 5), part_of("label_map", 3, f"{MAP_PREFIX}{'ab' * 32}")),
        structures=None,
        init=None,
        validation=3,
        piece=2,
    )
    return replace(plan, **changes)


def test_model_of_parametric_thoraxes_and_another_s_label_map_is_synthetic() -> None:
    check_synthetic(record_of(**{PARAMETRIC: 100, S0327: 100}))


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (record_of(**{PARAMETRIC: 100, SAMPLE: 1}), "was trained on cases of 'LIDC-IDRI-0001'"),
        (record_of(**{PARAMETRIC: 100, "": 1}), "was trained on cases of no source"),
        (record_of(**{PARAMETRIC: 100, "a clinic": 1}), "was trained on cases of 'a clinic'"),
        (record_of(**{f"{MAP_PREFIX}{SAMPLE_MAP}": 9}), "the label map is that of LIDC-IDRI-0001"),
        (record_of(**{PARAMETRIC: 1}, cases=("copy of lidc-idri-0001",)), "named after LIDC-IDRI-0001"),
        (record_of(), "names no source"),
    ],
    ids=["copies", "no source", "strange source", "the sample's label map", "by name", "no record"],
)
def test_model_that_saw_anything_else_is_no_synthetic_one(record: Manifest, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        check_synthetic(record)


def test_digest_of_a_label_map_does_not_depend_on_its_file(tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).integers(0, 100, (4, 5, 6)).astype(np.uint8)
    volume = Volume(voxels=voxels, geometry=Geometry.axial((4, 5, 6), (3.0, 2.0, 1.0)))
    turned = Volume(
        voxels=voxels[:, ::-1].astype(np.float32),
        geometry=volume.geometry.reordered((0, 1, 2), flipped=(False, True, False)),
    )
    write_volume(tmp_path / "a.nii.gz", volume)
    write_volume(tmp_path / "b.safetensors", turned)
    assert label_map_digest(tmp_path / "a.nii.gz") == label_map_digest(tmp_path / "b.safetensors")
    voxels[0, 0, 0] += 1
    write_volume(tmp_path / "c.nii.gz", volume)
    assert label_map_digest(tmp_path / "a.nii.gz") != label_map_digest(tmp_path / "c.nii.gz")


def test_label_map_of_the_shipped_models_is_cited_and_is_not_the_sample_s(shared_data: Path) -> None:
    found = label_map_digest(shared_data / "totalseg_s0327" / "labelmap_ids_as_structures_csv.nii.gz")
    assert KNOWN_MAPS[found].licence == "CC-BY-4.0"
    assert found != SAMPLE_MAP


def test_every_source_is_cited_with_its_licence() -> None:
    sources = citations_of(record_of(**{PARAMETRIC: 1, S0327: 1, SAMPLE: 1, f"{MAP_PREFIX}{'0' * 64}": 1}))
    assert sources[:3] == (PHANTOMS, KNOWN_MAPS[S0327.removeprefix(MAP_PREFIX)], LIDC)
    assert "10.1148/ryai.230024" in sources[1].citation
    assert "your own (digest 000000000000)" in sources[3].name
    with pytest.raises(SourceError, match="knows no licence"):
        citations_of(record_of(**{"a clinic": 1}))


@pytest.mark.parametrize("recipe", SETTINGS)
def test_settings_of_every_recipe_are_ones_that_exist(recipe: str, tmp_path: Path) -> None:
    plan = plan_of(tmp_path, recipe=recipe, init="model")
    path = CONFIGURATIONS / f"{recipe}.toml"
    configuration = configuration_from(load_toml(path), overrides=plan.settings)
    assert configuration.train.coarse_epochs == 0
    assert plan.spacing_zyx_mm == configuration.preparation.spacing_zyx_mm


def test_shares_give_counts() -> None:
    assert counts_of(300, (1, 1, 0), sources=3) == [150, 150, 0]
    with pytest.raises(SystemExit, match="give 4 numbers"):
        counts_of(300, (1, 1, 0), sources=4)


def test_pieces_take_turns_and_another_map_or_grid_gives_other_folders(tmp_path: Path) -> None:
    pieces = list(pieces_of(plan_of(tmp_path)))
    kinds = [part.kind for part, *_ in pieces]
    assert kinds == ["parametric", "label_map", "parametric", "label_map", "parametric"]
    assert [cases for *_, cases in pieces] == [2, 2, 2, 1, 1]
    other_map = (part_of("parametric", 5), part_of("label_map", 3, f"{MAP_PREFIX}{'cd' * 32}"))
    changes = ({"parts": other_map}, {"overrides": ("preparation.spacing_zyx_mm=[5.0,5.0,5.0]",)})
    for change in changes:
        others = list(pieces_of(plan_of(tmp_path, **change)))
        assert not {p for _, p, *_ in pieces if "map" in p.name} & {p for _, p, *_ in others}


def fake_piece(folder: Path, cases: int, source: str) -> None:
    made = []
    for number in range(cases):
        place = folder / f"case_{number:04d}"
        place.mkdir(parents=True)
        for name in ("image.nii.gz", "GT.nii.gz"):
            (place / name).touch()
        (place / "parameters.json").write_text(json.dumps({"seed": 1, "parameters": {"source": source}}))
        made.append(
            Case(
                id=place.name,
                image=place / "image.nii.gz",
                label=place / "GT.nii.gz",
                organs=SEGTHOR.names,
                group=place.name,
            )
        )
    write_dataset(folder, Dataset(root=folder, label_set=SEGTHOR, cases=tuple(made)))


def test_pieces_become_one_data_set_that_names_sources_and_holds_some_of_each_kind_out(
    tmp_path: Path,
) -> None:
    plan = plan_of(tmp_path)
    for part, folder, _, cases in pieces_of(plan):
        fake_piece(folder, cases, "thorax" if part.kind == "parametric" else "label_map")
    merge(plan)
    cases = read_dataset(tmp_path).cases
    assert {case.source for case in cases} == {PARAMETRIC, f"{MAP_PREFIX}{'ab' * 32}"}
    split = held_out(cases, validation_cases=3, seed=0)
    assert [case.source for case in split.validation].count(PARAMETRIC) == 2
    assert {case.group for case in split.training} == {"training"}


def test_case_whose_record_contradicts_its_folder_is_refused(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, parts=(part_of("parametric", 8),))
    for _, folder, _, cases in pieces_of(plan):
        fake_piece(folder, cases, "copy")
    with pytest.raises(SourceError, match="was made of copy, not of thorax"):
        merge(plan)


def test_too_few_cases_are_refused() -> None:
    assert _held_out({"parametric": 9, "copies": 1}, 4) == {"parametric": 3, "copies": 1}
    with pytest.raises(UsageError, match="too few to hold 4 out"):
        _held_out({"parametric": 8}, 4)


def test_scores_are_a_table_or_not_measured(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    assert scores_of(None, "m") == "Not measured."

    def row(scan: str, dice: float | None, part: str = "phantoms") -> dict[str, object]:
        return {"part": part, "scan": scan, "organ": "heart", "scores": {"dice": dice, "assd_mm": "inf"}}

    rows = [row("a", 0.9), row("b", 0.8), row("c", None), row("d", 0.7, "sample")]
    chests = [{"scan": "e", "kind": "chest", "faults": ["two hearts"]}, {"scan": "f", "faults": []}]
    results = {"model": "m", "date": "today", "scores": rows, "chests": chests}
    path.write_bytes(msgspec.json.encode(results))
    with pytest.raises(SourceError, match="holds the scores of m; measure another"):
        scores_of(path, "another")
    said = scores_of(path, "m").splitlines()
    assert said[4:6] == ["| phantoms | heart | 2 | 0.850 |", "| d (sample) | heart | 1 | 0.700 |"]
    assert said[-1] == "- e: two hearts."
    path.write_bytes(msgspec.json.encode(results | {"learnt_from_sample": True}))
    assert "| d (sample, in the training data) | heart | 1 | 0.700 |" in scores_of(path, "m")


def test_synthetic_model_does_not_begin_with_one_that_saw_the_sample(tmp_path: Path) -> None:
    for name, source in {"good": PARAMETRIC, "bad": SAMPLE}.items():
        (tmp_path / name).mkdir()
        manifest = msgspec.json.encode(record_of(**{source: 5}))
        (tmp_path / name / "manifest.json").write_bytes(manifest)
    words = ["WORK", "--shares", "1:0", "--init"]
    assert _plan(_arguments([*words, str(tmp_path / "good")])).init == str(tmp_path / "good")
    with pytest.raises(SourceError, match="was trained on cases of 'LIDC-IDRI-0001'"):
        _plan(_arguments([*words, str(tmp_path / "bad")]))


def test_what_is_carried_away_makes_the_same_model_there(tmp_path: Path) -> None:
    labels = Volume(
        voxels=np.eye(4, dtype=np.uint8)[None].repeat(3, 0),
        geometry=Geometry.axial((3, 4, 4), (3.0, 2.0, 1.0)),
    )
    write_volume(tmp_path / "map.nii.gz", labels)
    (tmp_path / "table.csv").write_text("structure,id\nheart,1\n")
    of_map = replace(
        part_of("label_map", 3, map_source(tmp_path / "map.nii.gz")), made_from=tmp_path / "map.nii.gz"
    )
    plan = plan_of(
        tmp_path,
        parts=(part_of("parametric", 5), of_map),
        structures=tmp_path / "table.csv",
        overrides=("train.threads=3", "train.joint_epochs=1"),
    )
    (tmp_path / "away").mkdir()
    given = _arguments(["WORK", *carry_sources(plan, tmp_path / "away")])
    there = _plan(given)
    assert [(p.kind, p.source, p.cases) for p in there.parts] == [
        (p.kind, p.source, p.cases) for p in plan.parts
    ]
    assert (there.validation, there.piece) == (plan.validation, plan.piece)
    assert there.overrides[1:] == ("train.joint_epochs=1",)
    alone = plan_of(tmp_path, parts=(part_of("parametric", 5),), structures=tmp_path / "table.csv")
    assert _plan(_arguments(["WORK", *carry_sources(alone, tmp_path / "away")])).parts == alone.parts


def recipe(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=900, check=False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--shares", "1:1"), "synthetic takes no copies"),
        (("--label-map", "map.nii.gz"), "--label-map and --structures: give both"),
        (("--shares", "1:1:0"), "give 2 numbers"),
        (("--shares", "1:0", "--protocol", "shipped"), "goes on from the synthetic model"),
        (("--results", "nowhere.json"), "nowhere.json is no file"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    done = recipe(tmp_path / "work", *words)
    assert done.returncode == 1
    assert said in done.stderr


@pytest.mark.slow
def test_small_model_is_made_from_nothing_in_two_goes(tmp_path: Path, shared_data: Path) -> None:
    label_map = shared_data / "totalseg_s0327" / "labelmap_ids_as_structures_csv.nii.gz"
    plain, strided = "{channels=8,convolutions=1}", "{channels=8,convolutions=1,stride_zyx=[2,2,2]}"
    blocks = f"[{plain},{strided},{plain}]"
    settings = (
        "preparation.spacing_zyx_mm=[6.0,6.0,6.0]",
        "network.stem_channels=4",
        f"network.blocks={blocks}",
    )
    settings += ("network.decoder_channels=[]", "train.coarse_epochs=1", "train.joint_epochs=1")
    words = [tmp_path, "--label-map", label_map, "--structures", shared_data / "structures.csv"]
    words += ["--cases", "6", "--piece", "2", "--validation", "2", "--device", "cpu", "--threads", "1"]
    words += [word for setting in settings for word in ("--set", setting)]
    first = recipe(*words, "--minutes", "0.1")
    assert first.returncode == 9, first.stderr
    assert "not finished; go on with" in first.stdout
    done = recipe(*words, "--minutes", "9")
    assert done.returncode == 0, done.stderr
    manifest = read_manifest(tmp_path / "thorax-fast-synthetic")
    check_synthetic(manifest)
    assert sum(manifest.training_sources.values()) == 4
    assert manifest.name == "thorax-fast-synthetic"
