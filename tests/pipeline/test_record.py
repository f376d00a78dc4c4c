from thoar.pipeline.record import LIBRARIES, versions


def test_every_library_that_a_result_depends_on_has_its_version() -> None:
    assert {"thoar", "python", "platform", *LIBRARIES} == set(versions())
    assert all(versions().values())
