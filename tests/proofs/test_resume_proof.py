"""`make proof-resume` with fewer kills, and that it would see damage."""

import shutil
import sys
from pathlib import Path

import pytest
from proofs.resume import Work

from proofs import resume

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows starts no process from a loaded one")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    return resume.prepared(tmp_path_factory.mktemp("killed"))


@pytest.mark.parametrize("kills", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_runs_end_with_the_bits_of_one_left_alone(work: Work, kills: int) -> None:
    proof = resume.prove(work, kills=kills, seed=kills)
    assert proof.faults == []
    assert len(proof.deaths) == kills
    assert proof.resumed == kills
    assert {death.aim for death in proof.deaths} == {"anywhere", "at a save", "between renames"}


@pytest.mark.parametrize("file", ["state.safetensors", "encoder.safetensors"])
def test_damaged_checkpoint_would_be_seen(work: Work, tmp_path: Path, file: str) -> None:
    run = shutil.copytree(work.folder / "whole", tmp_path / "run")
    assert resume.damage_of(run / "last") == ""
    content = bytearray((run / "last" / file).read_bytes())
    content[-1] ^= 1
    (run / "last" / file).write_bytes(content)
    assert resume.damage_of(run / "last") == f"damaged: {file}"
    assert resume.autopsy(run, "anywhere").damage
    assert resume.results(run) != work.results


def test_other_bits_would_be_seen(work: Work) -> None:
    proof = resume.Proof()
    wrong = {**work.results, "last/encoder.safetensors": "0"}
    resume.finish(Work(folder=work.folder, results=wrong, seconds=work.seconds), "whole", proof)
    assert proof.faults == ["whole: other bits in last/encoder.safetensors"]


@pytest.mark.parametrize(
    ("renamed", "newest", "place"),
    [
        ({}, "last", "after the last epoch"),
        ({"last": ".last.thoar-old"}, ".last.thoar-old", "between two renames"),
        (
            {"last": ".last.thoar-new", "previous": ".last.thoar-old"},
            ".last.thoar-new",
            "between two renames",
        ),
        ({"previous": ".last.thoar-old"}, "last", "in a save of last/"),
        ({"best": ".best.thoar-old"}, "last", "between two renames"),
    ],
)
def test_place_of_a_death_is_read_from_what_it_left(
    work: Work, tmp_path: Path, renamed: dict[str, str], newest: str, place: str
) -> None:
    run = shutil.copytree(work.folder / "whole", tmp_path / "run")
    for old, new in renamed.items():
        (run / old).rename(run / new)
    assert resume.newest(run) == run / newest
    assert resume.autopsy(run, "anywhere").place.startswith(place)
