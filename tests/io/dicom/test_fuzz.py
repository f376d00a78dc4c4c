"""A short run of what ``make fuzz`` does at length: spoilt files are refused by name or do no harm."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "proofs"))

from fuzzing.elements import elements_of
from fuzzing.readers import OWN_PIXELS, SAME, Outcome, is_defect
from fuzzing.seeds import FILE, SERIES, Seed, all_seeds
from fuzzing.workers import Bench, plan, run

FILES = 1000
SEEDS = all_seeds()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"), SEEDS)


def seed_named(name: str) -> Seed:
    return next(seed for seed in SEEDS if seed.name == name)


def read_with(bench: Bench, name: str, data: bytes, *, which: int = 0) -> Outcome:
    """Return what becomes of a seed one of whose files is replaced."""
    return bench.read(seed_named(name), which, data)


@pytest.mark.parametrize("seed", [s for s in SEEDS if s.kind != FILE], ids=lambda seed: seed.name)
def test_sound_files_are_read(bench: Bench, seed: Seed) -> None:
    found = bench.read(seed, seed.spoilt[0], seed.files[seed.spoilt[0]])
    assert found == Outcome(kind=SAME if seed.kind == SERIES else "read")


def test_spoilt_files_are_refused_by_name_or_read_without_harm() -> None:
    defects = [(r.index, r.outcome) for r in run(FILES, chance=0, workers=2) if is_defect(r.outcome)]
    assert not defects


def test_same_number_is_the_same_file() -> None:
    assert plan(7, 0, SEEDS) == plan(7, 0, SEEDS)
    assert plan(7, 0, SEEDS).data != plan(7, 1, SEEDS).data


def test_changed_pixels_of_one_slice_are_told_from_changed_pixels_of_another(bench: Bench) -> None:
    sound = seed_named("ct").files[2]
    assert read_with(bench, "ct", sound[:-1] + b"\x05", which=2).kind == OWN_PIXELS


def test_slice_that_moves_is_refused(bench: Bench) -> None:
    sound = seed_named("ct").files[2]
    place = next(e for e in elements_of(sound) if e.tag == 0x00200032)
    assert sound[place.value_at : place.end].startswith(b"-6.0\\-5.5\\-95.0")
    moved = sound[: place.value_at] + b"-6.0\\-5.5\\-94.0" + sound[place.value_at + 15 :]
    assert "refused: IncompleteSeriesError" in read_with(bench, "ct", moved, which=2).kind


@pytest.mark.parametrize("which", [0, 2, 4])
@pytest.mark.parametrize("size", [0, 1, 100, 131, 132, 140, 400, 900, 1000])
def test_file_cut_short_is_never_left_out_in_silence(bench: Bench, which: int, size: int) -> None:
    found = read_with(bench, "ct", seed_named("ct").files[which][:size], which=which)
    assert not is_defect(found), found
    assert found.kind.startswith(("refused", "slice left out, with a warning"))
