import pytest

from thoar.core.errors import LabelError
from thoar.core.labels import SEGTHOR, LabelSet, Organ


def test_segthors_ids_are_the_challenges() -> None:
    assert {organ.name: organ.id for organ in SEGTHOR.organs} == {
        "esophagus": 1,
        "heart": 2,
        "trachea": 3,
        "aorta": 4,
    }


def test_a_subset_keeps_the_sets_order_and_whole_pairs_only() -> None:
    paired = LabelSet(
        organs=tuple(Organ(name=n, id=i) for i, n in enumerate(("left", "right", "middle"), 1)),
        symmetric_pairs=(("left", "right"),),
    )
    assert paired.subset(("middle", "left")).names == ("left", "middle")
    assert paired.subset(("middle", "left")).symmetric_pairs == ()
    assert paired.subset(("right", "left")).symmetric_pairs == (("left", "right"),)


@pytest.mark.parametrize("organ", [{"id": 0}, {"id": 65536}, {"id": -1}])
def test_ids_out_of_range_are_refused(organ: dict[str, int]) -> None:
    with pytest.raises(LabelError, match=r"1\.\.65535"):
        LabelSet(organs=(Organ(name="heart", **organ),))


@pytest.mark.parametrize("second", [("heart", 2), ("aorta", 1)])
def test_repeated_names_and_ids_are_refused(second: tuple[str, int]) -> None:
    with pytest.raises(LabelError, match="must differ"):
        LabelSet(organs=(Organ(name="heart", id=1), Organ(name=second[0], id=second[1])))


def test_an_empty_set_is_refused() -> None:
    with pytest.raises(LabelError, match="at least one"):
        LabelSet(organs=())
    with pytest.raises(LabelError, match="at least one"):
        SEGTHOR.subset(())


def test_an_unknown_organ_is_refused_with_those_there_are() -> None:
    with pytest.raises(LabelError, match=r"'liver'.*esophagus, heart, trachea, aorta"):
        SEGTHOR.organ("liver")
    with pytest.raises(LabelError, match="liver"):
        LabelSet(organs=SEGTHOR.organs, symmetric_pairs=(("heart", "liver"),))


@pytest.mark.parametrize(
    "name", ["", " heart", ".heart", "a/b", "a\\b", "a:b", "nul\0byte", "a\nb", "x" * 101]
)
def test_names_that_cannot_name_a_file_are_refused(name: str) -> None:
    with pytest.raises(LabelError, match="cannot be an organ's name"):
        LabelSet(organs=(Organ(name=name, id=1),))


def test_names_that_are_one_where_case_is_ignored_are_refused() -> None:
    with pytest.raises(LabelError, match="must differ"):
        LabelSet(organs=(Organ(name="heart", id=1), Organ(name="Heart", id=2)))
