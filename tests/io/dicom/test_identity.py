from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_charset_files, get_testdata_file
from pydicom.datadict import keyword_for_tag
from pydicom.uid import ExplicitVRBigEndian

from thoar.core.volume import Volume
from thoar.io.dicom.identity import KEPT, identity_of, read_identity
from thoar.io.dicom.series import read_series

CHARACTER_SETS = sorted(Path(str(path)).name for path in get_charset_files("chr*.dcm"))
SYNTAXES = ("CT_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "rtplan.dcm", "no_meta.dcm")


def raw(path: Path) -> pydicom.Dataset:
    return pydicom.dcmread(path, stop_before_pixels=True, force=True)


def stored(ds: pydicom.Dataset, keyword: str) -> bytes:
    return bytes(ds.get_item(keyword).value or b"")


@pytest.mark.parametrize("name", CHARACTER_SETS)
def test_names_in_any_character_set_keep_their_bytes(name: str) -> None:
    (path,) = (Path(str(path)) for path in get_charset_files(name))
    found = read_identity(identity_of(raw(path)))
    kept = [keyword for keyword in KEPT if keyword in raw(path)]
    assert kept == [keyword_for_tag(tag) for tag in found.keys()]  # noqa: SIM118 (values would be decoded)
    for keyword in set(kept) - {"SpecificCharacterSet"}:
        assert stored(found, keyword) == stored(raw(path), keyword)
    assert str(read_identity(identity_of(raw(path))).get("PatientName")) == str(raw(path).get("PatientName"))


@pytest.mark.parametrize("name", SYNTAXES)
def test_any_transfer_syntax_gives_the_same_values(name: str) -> None:
    path = Path(str(get_testdata_file(name)))
    found, expected = read_identity(identity_of(raw(path))), raw(path)
    assert {element.keyword for element in found} == {keyword for keyword in KEPT if keyword in expected}
    for element in found:
        assert str(element.value or "") == str(expected[element.tag].value or "")


def test_nothing_but_what_is_kept_is_kept() -> None:
    ds = raw(Path(str(get_testdata_file("CT_small.dcm"))))
    ds.PatientAddress, ds.OperatorsName = "SECRET", "SECRET"
    ds.add_new((0x0009, 0x0010), "LO", "SECRET")
    assert b"SECRET" not in identity_of(ds)


def test_odd_values_are_evened_and_those_too_long_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    long = b"x" * 70_000
    path.write_bytes(
        b"\x08\x00\x50\x00\x03\x00\x00\x00123"
        b"\x10\x00\x10\x00" + len(long).to_bytes(4, "little") + long + b"\x20\x00\x0d\x00\x03\x00\x00\x001.2"
    )
    found = read_identity(identity_of(raw(path)))
    assert stored(found, "AccessionNumber") == b"123 "
    assert stored(found, "StudyInstanceUID") == b"1.2\0"
    assert "PatientName" not in found


def test_a_header_made_in_memory_is_kept_too() -> None:
    ds = pydicom.Dataset()
    ds.SpecificCharacterSet, ds.PatientName, ds.SeriesNumber = "ISO_IR 100", "Müller^Jörg", 3
    found = read_identity(identity_of(ds))
    assert stored(found, "PatientName") == "Müller^Jörg ".encode("latin-1")
    assert found.PatientName == "Müller^Jörg"


def test_a_series_in_big_endian_keeps_the_name_s_bytes(
    phantom: Volume, write_series: Callable[..., Path]
) -> None:
    def edit(ds: pydicom.Dataset, k: int) -> None:
        ds.SpecificCharacterSet, ds.PatientName = "ISO_IR 144", "\u041b\u044e\u0431\u0430"
        ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        ds.PixelData = np.frombuffer(ds.PixelData, "<i2").astype(">i2").tobytes()
        ds["PixelData"].VR = "OW"

    identity = read_identity(read_series(write_series(phantom, edit=edit)).identity)
    assert stored(identity, "PatientName") == "\u041b\u044e\u0431\u0430".encode("iso8859-5")
