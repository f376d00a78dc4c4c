import threading
from typing import Any

import pytest

from thoar.pipeline.overlap import in_three_stages

PATIENCE_S = 20.0


@pytest.mark.parametrize("ahead", [0, 1])
@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_every_item_goes_through_all_stages_in_order(count: int, ahead: Any) -> None:
    ended: list[int] = []
    in_three_stages(range(count), lambda n: n + 1, lambda n: 10 * n, ended.append, ahead=ahead)
    assert ended == [10 * (n + 1) for n in range(count)]


def test_only_the_work_is_done_by_the_caller() -> None:
    threads: dict[str, set[str]] = {"begin": set(), "work": set(), "end": set()}

    def stage(name: str) -> Any:
        return lambda _: threads[name].add(threading.current_thread().name)

    in_three_stages(range(3), stage("begin"), stage("work"), stage("end"))
    assert threads["work"] == {threading.current_thread().name}
    assert len(threads["begin"] | threads["end"] | threads["work"]) == 3


def test_one_is_begun_and_one_is_ended_beside_the_work_and_no_more() -> None:
    begun, ended = [threading.Event() for _ in range(5)], [threading.Event() for _ in range(5)]

    def work(n: int) -> int:
        assert n == 4 or begun[n + 1].wait(PATIENCE_S)
        assert n == 0 or ended[n - 1].wait(PATIENCE_S)
        assert not any(event.is_set() for event in begun[n + 2 :])
        return n

    def begin(n: int) -> int:
        begun[n].set()
        return n

    in_three_stages(range(5), begin, work, lambda n: ended[n].set())
    assert all(event.is_set() for event in ended)


def test_nothing_is_begun_while_an_item_is_in_work_where_one_alone_is_held() -> None:
    order: list[str] = []
    in_three_stages(
        "ab",
        lambda n: order.append(f"begin {n}") or n,
        lambda n: order.append(f"work {n}") or n,
        lambda n: order.append(f"end {n}"),
        ahead=0,
    )
    assert order == ["begin a", "work a", "end a", "begin b", "work b", "end b"]


@pytest.mark.parametrize("stage", ["begin", "work", "end"])
def test_what_a_stage_raises_ends_all_and_the_others_come_to_their_end(stage: str) -> None:
    ended: list[int] = []

    def at(name: str, n: int) -> int:
        if (name, n) == (stage, 2):
            raise KeyboardInterrupt
        if name == "end":
            ended.append(n)
        return n

    with pytest.raises(KeyboardInterrupt):
        in_three_stages(range(9), lambda n: at("begin", n), lambda n: at("work", n), lambda n: at("end", n))
    assert ended[:2] == [0, 1]
    assert set(ended) <= {0, 1, 3}
    assert threading.active_count() == 1
