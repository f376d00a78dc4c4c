import threading

import pytest

from thoar.imaging.slabs import in_slabs


@pytest.mark.parametrize("planes", [1, 2, 7, 64])
@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_every_plane_is_worked_on_once_whatever_the_number_of_threads(planes: int, threads: int) -> None:
    done: list[int] = []
    in_slabs(done.extend, planes, threads=threads)
    assert sorted(done) == list(range(planes))


def test_parts_are_worked_on_at_the_same_time() -> None:
    together = threading.Barrier(3, timeout=20)
    in_slabs(lambda _: together.wait() and None, 3, threads=3)  # hangs up, where one waits for another


def test_what_goes_wrong_in_a_part_is_said() -> None:
    def broken(levels: range) -> None:
        if 5 in levels:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        in_slabs(broken, 6, threads=3)
