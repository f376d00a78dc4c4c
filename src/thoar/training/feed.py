"""Samples in their order, drawn when it is their turn or ahead of it by threads.

Threads and not processes: drawing is torch's work, which lets other threads run, and nothing can be orphaned
or run out of shared memory. Every sample's random numbers are named by its case and epoch, so that it does
not matter who draws it.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from thoar.training.cases import TrainingCase
from thoar.training.steps import Sample


class Feed:
    """An iterator over samples that measures how long it was waited for.

    Args:
        cases: in order.
        draw: makes a case's sample.
        ahead: how many are drawn while others are used; 0 for none.

    Attributes:
        waited_s: time that the caller has spent waiting.
    """

    def __init__(
        self, cases: Sequence[TrainingCase], draw: Callable[[TrainingCase], Sample], *, ahead: int
    ) -> None:
        def named(case: TrainingCase) -> Sample:
            try:
                return draw(case)
            except Exception as error:
                error.add_note(f"while case {case.id} was drawn for training")
                raise

        self.waited_s = 0.0
        self._samples = _drawn_ahead(cases, named, ahead) if ahead else (named(case) for case in cases)

    def take(self, count: int) -> list[Sample]:
        """Return the next samples."""
        began = time.perf_counter()
        taken = [next(self._samples) for _ in range(count)]
        self.waited_s += time.perf_counter() - began
        return taken

    def close(self) -> None:
        """Draw no more."""
        self._samples.close()


def _drawn_ahead(
    cases: Sequence[TrainingCase], draw: Callable[[TrainingCase], Sample], ahead: int
) -> Generator[Sample, None, None]:
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(ahead, initializer=torch.set_num_threads, initargs=(threads,))
    waiting: deque[Future[Sample]] = deque()
    coming = iter(cases)
    try:
        for case in coming:
            waiting.append(pool.submit(draw, case))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
