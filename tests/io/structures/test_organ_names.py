import pytest

from thoar.core.errors import LabelError
from thoar.core.labels import SEGTHOR, Organ
from thoar.io.structures.organ_names import written_names


def test_names_are_tg263s_where_there_are_any() -> None:
    organs = [*SEGTHOR.organs, Organ(name="carina", id=9)]
    assert written_names(organs, "ROIName") == ["Esophagus", "Heart", "Trachea", "A_Aorta", "carina"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a" * 65, "heart"), "cannot be a ROIName: .* at most 64 characters"),
        (("Heart", "heart"), "several organs would have the ROIName 'heart'"),
        (("Heart ", "heart"), "several organs would have the ROIName 'heart'"),
        (("Ösophagus", "heart"), "'Ösophagus' cannot be a ROIName"),
        (("a\\b", "heart"), "cannot be a ROIName"),
        ((" ", "heart"), "'' cannot be a ROIName"),
    ],
)
def test_names_that_would_be_alike_or_illegal_are_refused(names, message) -> None:
    organs = [Organ(name=f"n{k}", id=k + 1, tg263=name) for k, name in enumerate(names)]
    with pytest.raises(LabelError, match=message):
        written_names(organs, "ROIName")
