from pathlib import Path

import pytest

from thoar.core.errors import ConfigError
from thoar.pipeline.roi_names import read_roi_names, refuse_unknown


def test_names_are_read(tmp_path: Path) -> None:
    (tmp_path / "names.toml").write_text('heart = "Heart PRV"\n"left lung" = "Lung_L"\n')
    assert read_roi_names(tmp_path / "names.toml") == {"heart": "Heart PRV", "left lung": "Lung_L"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read"),
        ("heart", "is no TOML"),
        ("heart = 3", "heart = 3 is no name"),
        ('heart = ""', "is no name"),
        ('heart = "a\\\\b"', "is no name"),
        ('heart = "a\\nb"', "is no name"),
        (f'heart = "{"x" * 65}"', "1 to 64 characters"),
        ('heart = "H"\naorta = "H"', "both|two structures"),
        ('[heart]\nname = "H"', "is no name"),
    ],
)
def test_unusable_names_are_refused_by_file(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "names.toml").write_text(text)
    with pytest.raises(ConfigError, match=rf"names\.toml.*({said})"):
        read_roi_names(tmp_path / "names.toml")


def test_a_name_for_what_is_not_there_is_refused() -> None:
    refuse_unknown({"heart": "H"}, ["aorta", "heart"])
    with pytest.raises(ConfigError, match="no hart here; there are aorta, heart"):
        refuse_unknown({"hart": "H"}, ["aorta", "heart"])
