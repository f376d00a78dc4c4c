"""Organs painted over one another, on the slices they were drawn on or on the grid made of these."""

from collections.abc import Sequence

import numpy as np
import pytest

from thoar.core.box import Box
from thoar.core.labels import SEGTHOR
from thoar.core.slices import SlicePlanes, SliceStack
from thoar.datasets.label_map import paint
from thoar.datasets.scans import Scan
from thoar.imaging.rectify import rectify
from thoar.io.dicom.records import Series
from thoar.io.structures.structure_mask import StructureMask


def scan_of(depths_mm: Sequence[float], *, tilt: float = 0.0) -> tuple[Scan, Series]:
    """Return slices of 8 × 6 pixels of 1 mm, each shifted along its columns by so many mm a mm of depth."""
    planes = SlicePlanes(
        origins_xyz_mm=np.array([[0.0, tilt * depth, depth] for depth in depths_mm]),
        along_row_xyz=np.array([1.0, 0, 0]),
        along_column_xyz=np.array([0.0, 1, 0]),
        spacing_yx_mm=(1.0, 1.0),
        shape_yx=(8, 6),
    )
    stack = SliceStack(voxels=np.zeros((len(planes), 8, 6), np.int16), planes=planes)
    series = Series(stack=stack, references=(), identity=b"")
    whole = series.volume
    return Scan(volume=whole or rectify(stack), series=series, rectified=whole is None), series


def mask_of(box: Box) -> StructureMask:
    return StructureMask(name="any", number=1, box_zyx=box, mask=np.ones(box.shape_zyx, np.bool_))


def test_later_organ_gets_the_voxel_and_what_it_took_is_told() -> None:
    scan, series = scan_of((0, 2, 4))
    heart, aorta = (Box(start_zyx=(0, y, 0), stop_zyx=(2, y + 4, 5)) for y in (0, 3))
    drawn = {"heart": [mask_of(heart)], "aorta": [mask_of(aorta)]}
    painted = paint(drawn, scan, series=series, label_set=SEGTHOR, priority=("aorta", "heart"))
    assert painted.volumes_ml == pytest.approx({"aorta": 0.08, "heart": 0.08})
    assert painted.overlaps_ml == pytest.approx({"heart over aorta": 0.02})
    assert (painted.labels.voxels[heart.slices] == 2).all()
    assert np.count_nonzero(painted.labels.voxels == 4) == 30


def test_parts_of_an_organ_are_joined_and_those_off_the_series_add_nothing() -> None:
    scan, series = scan_of((0, 2, 4))
    boxes = [Box(start_zyx=(z, 1, 1), stop_zyx=(z + 1, 3, 3)) for z in (0, 2)]
    nothing = StructureMask(name="any", number=2, box_zyx=None, mask=None)
    drawn = {"trachea": [*map(mask_of, boxes), nothing]}
    labels = paint(drawn, scan, series=series, label_set=SEGTHOR, priority=SEGTHOR.names).labels.voxels
    assert [np.count_nonzero(plane == 3) for plane in labels] == [4, 0, 4]


def test_mask_at_the_edge_of_a_slice_is_not_lost_where_its_neighbour_does_not_reach() -> None:
    scan, series = scan_of((0, 2, 4, 6, 9, 11), tilt=1.0)
    drawn = {"heart": [mask_of(Box(start_zyx=(3, 0, 0), stop_zyx=(4, 8, 6)))]}
    labels = paint(drawn, scan, series=series, label_set=SEGTHOR, priority=SEGTHOR.names).labels
    at_mm = np.linspace(0, 11, labels.geometry.shape_zyx[0])
    (k,) = np.flatnonzero((at_mm > 6) & (at_mm < 7.5))  # nearer to the slice at 6 mm than to that at 9 mm
    rows = np.flatnonzero((labels.voxels[k] == 2).all(axis=1))
    ends_mm = [labels.geometry.position_xyz_mm((int(k), int(row), 0))[1] for row in (rows[0], rows[-1])]
    assert ends_mm == pytest.approx([6.0, 13.0])
