import logging
import re
from dataclasses import replace

import msgspec
import pydicom
import pytest

from thoar.core.errors import InputError
from thoar.io.dicom.identity import read_identity
from thoar.io.structures.derived import check_identifiers, date_and_time, software_versions
from thoar.io.structures.organ_mask import Maker


def referring(series, **changed: str):
    first, *others = series.references
    return replace(series, references=(msgspec.structs.replace(first, **changed), *others))


def test_a_slice_without_a_uid_is_refused(planes_of, series_of) -> None:
    series = referring(series_of(planes_of()), sop_instance_uid="")
    with pytest.raises(InputError, match=r"0\.dcm: has no SOPInstanceUID, .*put it back"):
        check_identifiers(series, read_identity(series.identity))


def test_a_slice_without_a_class_is_warned_of(planes_of, series_of, caplog) -> None:
    series = referring(series_of(planes_of()), sop_class_uid="")
    with caplog.at_level(logging.WARNING):
        check_identifiers(series, read_identity(series.identity))
    assert "has no SOPClassUID; referred to as CT Image Storage" in caplog.text


def test_a_sound_series_passes_in_silence(planes_of, series_of, caplog) -> None:
    series = series_of(planes_of())
    check_identifiers(series, read_identity(series.identity))
    assert caplog.text == ""


def test_the_present_is_the_date_unless_there_is_a_seed() -> None:
    date, time = date_and_time(pydicom.Dataset(), Maker())
    assert re.fullmatch(r"20\d{6}", date)
    assert re.fullmatch(r"\d{6}", time)


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        ({}, ("", "")),
        ({"StudyDate": "20200101", "StudyTime": "101112.5"}, ("20200101", "101112.5")),
        ({"StudyDate": "20200101", "StudyTime": "101112", "SeriesDate": "20200102"}, ("20200102", "")),
        ({"StudyDate": "20200101", "SeriesDate": "2020.01.02"}, ("20200101", "")),
        ({"SeriesDate": "removed"}, ("", "")),
    ],
)
def test_with_a_seed_the_date_is_the_series_own(dates, expected) -> None:
    identity = pydicom.Dataset()
    with pydicom.config.disable_value_validation():
        for keyword, value in dates.items():
            setattr(identity, keyword, value)
    assert date_and_time(identity, Maker(uid_seed="seed")) == expected


def test_versions_are_short_plain_text() -> None:
    assert software_versions(Maker()) == ["thoar of unknown version"]
    versions = software_versions(Maker(model="Größe\\" * 20, model_version="1", software_version="2"))
    assert versions[0] == "thoar 2"
    assert versions[1].isascii()
    assert "\\" not in versions[1]
    assert len(versions[1]) == 64
