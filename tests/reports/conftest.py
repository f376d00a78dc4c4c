"""A run's folder written by hand: what `thoar train` leaves, in miniature."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from thoar.metrics.scores import OrganScores
from thoar.pictures.png import write_png

RUN: dict[str, Any] = {
    "schema": "thoar.training-run/1",
    "thoar": "0.1.0",
    "versions": {"torch": "2.13.0"},
    "commit": "abc",
    "command": ["thoar", "train", "fast"],
    "started": "2026-11-23T20:00:00+00:00",
    "ended": "2026-11-23T22:02:00+00:00",
    "outcome": "finished",
    "seed": 7,
    "device": "cpu",
    "threads": 2,
    "precision": "float32",
    "not_reproducible": ["sums depend on the number of threads"],
    "data_sha256": "d" * 64,
    "training": ["a", "b"],
    "validation": ["c"],
    "epochs_done": 4,
    "epochs": 4,
    "steps": 8,
    "seconds": 7320.0,
    "seconds_per_step": 915.0,
    "data_share": 0.25,
    "peak_memory_mib": 512.4,
    "warnings": ["the data are the limit"],
}
METRICS = """epoch,stage,name,value
0,coarse,train/coarse,0.9
0,coarse,validation/coarse_dice_heart,0.2
0,coarse,validation/score,0.2
1,coarse,train/coarse,0.7
2,joint,train/coarse,0.6
2,joint,train/fine_heart,0.5
2,joint,train/fine_dice_heart,0.5
2,joint,rate/learning_rate,0.001
2,joint,validation/dice_heart,nan
3,joint,train/coarse,0.5
3,joint,train/fine_heart,0.4
3,joint,train/fine_dice_heart,0.6
3,joint,rate/learning_rate,0.0005
3,joint,validation/dice_heart,0.8
3,joint,validation/coarse_dice_heart,0.7
3,joint,validation/score,0.8
"""


def scores(dice: float | None, distance_mm: float | str | None = 2.0) -> dict[str, Any]:
    """Return one organ's scores as a file holds them."""
    return {name: dice if "dice" in name else distance_mm for name in OrganScores.__struct_fields__}


@pytest.fixture(scope="session")
def of() -> Callable[..., dict[str, Any]]:
    """One organ's scores as a file holds them."""
    return scores


def validation(**dice: float | None) -> dict[str, Any]:
    """Return a file of scores: one organ, a case per argument."""
    cases = [{"case_id": c, "group": c, "scores": {"heart": scores(d)}} for c, d in dice.items()]
    return {"schema": "thoar.validation/1", "organs": ["heart"], "cases": cases}


WriteRun = Callable[..., Path]


@pytest.fixture
def write_run(tmp_path: Path) -> WriteRun:
    """Write a run's folder, by default a whole one that finished; keywords replace what its files hold."""

    def write(name: str = "run", *, dice: dict[str, float | None] | None = None, **changes: Any) -> Path:
        run = tmp_path / name
        (run / "pictures").mkdir(parents=True)
        (run / "run.json").write_text(json.dumps(RUN | changes))
        (run / "metrics.csv").write_text(METRICS)
        (run / "configuration.toml").write_text('name = "fast"\n')
        (run / "validation.json").write_text(json.dumps(validation(**(dice or {"c": 0.8}))))
        for epoch in (0, 3, 10):
            pixels = np.full((4, 4, 3), epoch, dtype=np.uint8)
            write_png(run / "pictures" / f"epoch-{epoch:04d}.png", pixels)
        return run

    return write


class _Reader(HTMLParser):
    """Checks that elements nest, and collects what a page refers to."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            if name in {"href", "src", "xlink:href"}:
                self.addresses.append(value or "")
            if name == "id":
                self.ids.append(value or "")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)


@pytest.fixture(scope="session")
def sound_page() -> Callable[[str], str]:
    """Check that a page is well-formed, whole and harmless; return the text that is seen."""

    def check(html: str) -> str:
        reader = _Reader()
        reader.feed(html)
        assert reader.open == []
        assert len(set(reader.ids)) == len(reader.ids)
        assert not {"script", "iframe", "object", "link", "base", "form"} & set(reader.seen)
        assert "default-src 'none'" in html.replace("&#x27;", "'")
        for address in reader.addresses:
            assert re.match(r"#|\./|data:image/png;base64,", address)
            assert not address.startswith("#") or address[1:] in reader.ids
        assert "http:" not in html
        assert "https:" not in html
        return " ".join(" ".join(reader.words).split())

    return check
