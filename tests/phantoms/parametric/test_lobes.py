"""Trees that fill the lungs."""

import numpy as np
import pytest

from thoar.phantoms.parametric.lobes import SEGMENT_MM, Tree, grown, tree_tube


@pytest.fixture(scope="module")
def tree() -> Tree:
    """Return a tree that fills a box from one corner."""
    rng = np.random.default_rng(0)
    return grown(np.zeros((1, 3)), rng.uniform(5, 90, (120, 3)), thrift=0.45)


def test_a_tree_reaches_every_goal() -> None:
    goals = np.random.default_rng(1).uniform(5, 60, (40, 3))
    nodes = grown(np.zeros((1, 3)), goals, thrift=0.4).nodes_xyz_mm
    away = np.linalg.norm(goals[:, None] - nodes[None], axis=2).min(axis=1)
    assert away.max() < 1e-6


def test_a_tree_is_one_piece_and_flows_from_its_root(tree: Tree) -> None:
    (branches,) = np.nonzero(tree.parent >= 0)
    assert len(branches) == len(tree.parent) - 1
    assert np.all(tree.parent[branches] < branches)
    assert tree.leaves[0] == 120


def test_branches_thin_towards_their_ends(tree: Tree) -> None:
    radius = tree.radius_mm(leaf_mm=0.6, most_mm=5.0)
    inner = tree.parent >= 0
    assert np.all(radius[inner] <= radius[tree.parent[inner]] + 1e-9)
    assert radius.max() > 3 * radius[inner].min()


def test_a_tree_forks_often(tree: Tree) -> None:
    children = np.bincount(tree.parent[tree.parent >= 0], minlength=len(tree.parent))
    assert (children > 1).sum() > 60


def test_the_tube_has_no_gaps(tree: Tree) -> None:
    radius = tree.radius_mm(leaf_mm=0.6, most_mm=5.0)
    shape = tree_tube(tree, radius, kept=tree.parent >= 0)
    assert len(shape.centres_xyz_mm) > len(tree.parent) * SEGMENT_MM / 3
    assert shape.radius_mm.min() >= 0.6
