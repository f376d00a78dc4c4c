import pytest

from thoar.core.errors import LabelError
from thoar.datasets.layouts.own_labels import own_label_set


def test_ids_are_kept_where_they_are_free_and_fit() -> None:
    found = own_label_set({"a": 9, "b": 9, "c": 300, "d": 2})
    assert [(organ.name, organ.id) for organ in found.organs] == [("a", 9), ("b", 1), ("c", 2), ("d", 3)]


def test_each_organ_gets_a_colour_of_its_own() -> None:
    found = own_label_set({f"organ_{k}": k for k in range(1, 120)})
    assert len({organ.color_rgb for organ in found.organs}) == 119


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (("lung_left", "lung_right"), (("lung_left", "lung_right"),)),
        (("right kidney", "left kidney"), (("left_kidney", "right_kidney"),)),
        (("Lung_L", "Lung_R", "liver"), (("lung_l", "lung_r"),)),
        (("lung_left", "leftover"), ()),
    ],
)
def test_left_and_right_are_a_pair(names: tuple[str, ...], pairs: tuple[tuple[str, str], ...]) -> None:
    assert own_label_set({name: k for k, name in enumerate(names, 1)}).symmetric_pairs == pairs


def test_an_organ_that_no_label_means_is_refused_with_what_there_is() -> None:
    with pytest.raises(LabelError, match="no label means hart; there are heart, liver"):
        own_label_set({"Heart": 1, "liver": 2}, ["hart"])
