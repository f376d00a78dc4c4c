"""Three stages of work on one item after another, of which the first and the last go on beside the second."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Literal, TypeVar

Item = TypeVar("Item")
Begun = TypeVar("Begun")
Done = TypeVar("Done")


def in_three_stages(
    items: Iterable[Item],
    begin: Callable[[Item], Begun],
    work: Callable[[Begun], Done],
    end: Callable[[Done], None],
    *,
    ahead: Literal[0, 1] = 1,
) -> None:
    """Begin, work on and end every item in order, the work in this thread and the rest in one thread each.

    While one item is worked on, the next is begun and the last is ended, and no more: three are held at a
    time. What a stage raises is raised here, when the other two have come to their end; so is an
    interruption.

    Args:
        items: what there is to do.
        begin: the first stage.
        work: takes what the first returned.
        end: takes what the second returned.
        ahead: 0 does everything in this thread, so that one item is held at a time.
    """
    if not ahead:
        for item in items:
            end(work(begin(item)))
        return
    with ThreadPoolExecutor(1, "begin") as beginner, ThreadPoolExecutor(1, "end") as ender:
        submitted = (beginner.submit(begin, item) for item in items)
        waiting = list(islice(submitted, 1))
        ending = ender.submit(lambda: None)
        while waiting:
            coming = waiting.pop()
            waiting.extend(islice(submitted, 1))
            done = work(coming.result())
            ending.result()
            ending = ender.submit(end, done)
            del coming, done  # nothing here holds them while they are ended
        ending.result()
