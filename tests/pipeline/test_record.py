import hashlib
from pathlib import Path

from thoar.pipeline.record import LIBRARIES, digest_of, versions


def test_a_file_s_digest_is_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    assert digest_of(tmp_path / "a") == hashlib.sha256(b"content").hexdigest()


def test_a_folder_s_digest_depends_on_every_file_and_not_on_the_order_of_writing(tmp_path: Path) -> None:
    for folder, names in (("one", "abc"), ("two", "cba")):
        (tmp_path / folder / "below").mkdir(parents=True)
        for name in names:
            (tmp_path / folder / "below" / name).write_text(name)
    assert digest_of(tmp_path / "one") == digest_of(tmp_path / "two")
    (tmp_path / "two" / "below" / "b").write_text("B")
    assert digest_of(tmp_path / "one") != digest_of(tmp_path / "two")


def test_every_library_that_a_result_depends_on_has_its_version() -> None:
    assert {"thoar", "python", "platform", *LIBRARIES} == set(versions())
    assert all(versions().values())
