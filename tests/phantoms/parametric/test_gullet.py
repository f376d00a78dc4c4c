"""The gullet of ten patients."""

import numpy as np
from msgspec.structs import replace
from scipy import ndimage

from thoar.phantoms.parametric.airways import cricoid_mm
from thoar.phantoms.parametric.build import spine_left_mm
from thoar.phantoms.parametric.column import column_distance
from thoar.phantoms.parametric.gullet import cardia_xyz_mm, openness
from thoar.phantoms.parametric.mediastinum import plan
from thoar.phantoms.parametric.shapes import tube_distance


def test_it_is_one_piece_from_the_neck_to_the_stomach(chests) -> None:
    for chest in chests:
        inside = chest.labels == 1
        assert ndimage.label(inside, np.ones((3, 3, 3)))[1] == 1
        heights = chest.block.grid.z.flatten().numpy()[inside.any(axis=(1, 2))]
        top = min(cricoid_mm(chest.build, chest.mediastinum.airways), 331.0)
        assert heights.max() > top - 6
        assert heights.min() < cardia_xyz_mm(chest.build)[2]


def test_its_volume_is_that_of_adults(chests) -> None:
    volumes = [chest.millilitres("esophagus_wall", "esophagus_lumen") for chest in chests]
    closed = [v for v, c in zip(volumes, chests, strict=True) if c.mediastinum.gullet.content == "collapsed"]
    assert min(volumes) > 14
    assert max(volumes) < 130
    assert max(closed) < 55


def test_it_cuts_into_no_neighbour(chests) -> None:
    for chest in chests:
        course, grid = plan(chest.build, chest.mediastinum), chest.block.grid
        inside = chest.labels == 1
        for distance in (column_distance(grid, course.trachea), tube_distance(grid, course.tubes.aorta)):
            assert distance.numpy()[inside].min() >= 0


def test_it_lies_right_of_the_descending_aorta_behind_the_left_atrium(chests) -> None:
    for chest in chests:
        level = chest.level(chest.middle_xyz_mm(chest.where("left_atrium"))[2])
        gullet = np.argwhere(chest.labels[level] == 1).mean(axis=0)
        aorta = np.argwhere(chest.labels[level] == 4)
        behind = aorta[aorta[:, 0] > np.argwhere(chest.where("left_atrium")[level])[:, 0].mean()]
        atrium = np.argwhere(chest.where("left_atrium")[level])[:, 0].mean()
        assert gullet[1] < behind[:, 1].mean()
        assert gullet[0] > atrium


def test_it_ends_left_of_the_spine(chests) -> None:
    for chest in chests:
        x, _, z = cardia_xyz_mm(chest.build)
        end = chest.labels[chest.level(z)] == 1
        columns = np.argwhere(end)[:, 1]
        assert chest.block.grid.x.flatten().numpy()[columns].mean() > spine_left_mm(chest.build, z) + 12
        assert x > 10


def test_it_follows_the_windpipe_in_the_neck(chests) -> None:
    for chest in chests:
        level = chest.level(chest.carina_xyz_mm[2] + 60)
        gullet, trachea = (np.argwhere(chest.labels[level] == label).mean(axis=0) for label in (1, 3))
        step = chest.block.grid.spacing_mm
        assert 6 < (gullet[0] - trachea[0]) * step < 32
        assert -6 < (gullet[1] - trachea[1]) * step < 20


def test_only_an_open_one_holds_something(chests) -> None:
    for chest in chests:
        held, content = chest.millilitres("esophagus_lumen"), chest.mediastinum.gullet.content
        assert (held == 0) if content == "collapsed" else (held > 0)


def test_openness_covers_the_share_asked_for(chests) -> None:
    z = np.arange(0.0, 240.0, 3.0)
    gullet = replace(chests[0].mediastinum.gullet, content="open")
    for share in (0.2, 0.6):
        assert abs((openness(replace(gullet, open_share=share), z) > 0).mean() - share) < 0.05
    assert openness(replace(gullet, open_share=1.0), z).min() == 1
