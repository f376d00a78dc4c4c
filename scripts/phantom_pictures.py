"""Draw synthetic cases of every source beside real scans, an axial slice at the heart and a coronal one each.

    python scripts/phantom_pictures.py docs/explanation/pictures/phantoms.png \
        --sample SAMPLE/LIDC-IDRI-0001 --map structures.nii.gz --table structures.csv \
        --real "real: LIDC-IDRI-0001=SAMPLE/LIDC-IDRI-0001/LIDC-IDRI-0001.nii.gz@0.42,0.5"

Slices of real scans are named by their place: shares of the scan's height from below and of its depth from
the front.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from thoar.cli.phantom_sources import read_source
from thoar.core.labels import SEGTHOR
from thoar.core.random import rng_for
from thoar.core.volume import LabelVolume, Volume, to_canonical
from thoar.io.formats import read_volume
from thoar.phantoms.synthesis import Source, draw_case, make_case, name_of
from thoar.pictures.png import write_png

CENTRE_HU, WIDTH_HU = 0.0, 700.0
GREYS = 40
"""Shades, few enough that a noisy page stays a small file."""
TILE, GAP = 210, 4
"""Pixels of a slice's edge, and between slices."""
PIXEL_MM = 2.1
COLUMNS = 7
SPACING_ZYX_MM = (2.5, 1.5, 1.5)
Slices = tuple[np.ndarray, np.ndarray]


def main() -> None:
    """Make the page."""
    options = _options()
    sources: list[Source] = ["thorax"]
    if options.map is not None:
        sources.append(read_source(copies_of=None, from_map=options.map, structures=options.table, ct=None))
    if options.sample is not None:
        sources.append(read_source(copies_of=options.sample, from_map=None, structures=None, ct=None))
    tiles = [*_synthetic(sources, options.seed, options.cases), *(_real(text) for text in options.real)]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_png(options.out, _page(tiles))
    print(f"{options.out}: {len(tiles)} patients, {options.out.stat().st_size / 1000:.0f} kB")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Draw synthetic cases beside real scans.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--sample", type=Path, help="case folder that `thoar sample` made")
    parser.add_argument("--map", type=Path, help="label map of many structures")
    parser.add_argument("--table", type=Path, help="its table, a CSV with the columns structure and id")
    parser.add_argument("--real", action="append", default=[], help="TITLE=PATH@HEIGHT,DEPTH")
    parser.add_argument("--cases", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def _synthetic(sources: list[Source], seed: int, cases: int) -> Iterator[tuple[str, Slices]]:
    """Half the cases are parametric, the others of the remaining sources in turn."""
    others = sources[1:] or sources
    for number in range(cases):
        source = sources[0] if number % 2 == 0 else others[number // 2 % len(others)]
        kind = name_of(source)
        parameters = draw_case(rng_for(seed, "pictures", kind, number), kind)
        scan, labels = make_case(source, parameters, spacing_zyx_mm=SPACING_ZYX_MM)
        yield f"{number + 1}: {kind}", _slices(scan, *_place(labels))


def _place(labels: LabelVolume) -> tuple[float, float]:
    """Shares of height and depth of the heart's middle; of the picture's where there is none."""
    held = np.argwhere(labels.voxels == SEGTHOR.organ("heart").id)
    if len(held) == 0:
        return 0.45, 0.5
    z, y, _ = held.mean(axis=0) / labels.voxels.shape
    return float(z), float(y)


def _real(text: str) -> tuple[str, Slices]:
    title, _, rest = text.partition("=")
    path, _, place = rest.rpartition("@")
    height, depth = (float(part) for part in place.split(","))
    return title, _slices(read_volume(Path(path)), height, depth)


def _slices(scan: Volume, height: float, depth: float) -> Slices:
    """The axial and the coronal slice of a scan, the patient's right on the left, head up."""
    upright = to_canonical(scan)
    z, y, x = upright.geometry.spacing_zyx_mm
    rows = upright.voxels
    axial = rows[min(len(rows) - 1, int(height * len(rows)))]
    coronal = rows[::-1, min(rows.shape[1] - 1, int(depth * rows.shape[1]))]
    return _tile(axial, (y, x)), _tile(coronal, (z, x))


def _tile(plane: np.ndarray, pixel_mm: tuple[float, float]) -> np.ndarray:
    share = np.clip((plane.astype(np.float64) - CENTRE_HU) / WIDTH_HU + 0.5, 0, 1)
    size = [max(1, round(n * mm / PIXEL_MM)) for n, mm in zip(plane.shape, pixel_mm, strict=True)]
    grey = Image.fromarray((share * 255).astype(np.uint8)).resize((size[1], size[0]), Image.Resampling.BOX)
    tile = Image.new("L", (TILE, TILE))
    tile.paste(grey, ((TILE - size[1]) // 2, (TILE - size[0]) // 2))
    return np.asarray(tile)


def _page(tiles: list[tuple[str, Slices]]) -> np.ndarray:
    wide, high, head = TILE + GAP, 2 * TILE + GAP, 14
    rows = -(-len(tiles) // COLUMNS)
    page = Image.new("L", (wide * min(COLUMNS, len(tiles)), rows * (high + head + GAP)))
    pen = ImageDraw.Draw(page)
    for number, (title, (axial, coronal)) in enumerate(tiles):
        x, y = number % COLUMNS * wide, number // COLUMNS * (high + head + GAP)
        pen.text((x + 2, y), title, fill=255)
        page.paste(Image.fromarray(axial), (x, y + head))
        page.paste(Image.fromarray(coronal), (x, y + head + TILE))
    few = (np.asarray(page).astype(np.float64) * (GREYS - 1) / 255).round() * 255 / (GREYS - 1)
    return np.repeat(few.astype(np.uint8)[..., None], 3, axis=2)


if __name__ == "__main__":
    main()
