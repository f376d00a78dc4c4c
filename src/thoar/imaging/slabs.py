"""Work on the planes of an array, shared out among threads."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise


def in_slabs(work: Callable[[range], None], planes: int, *, threads: int) -> None:
    """Call a function on consecutive parts of the indices of planes, each part in a thread of its own.

    Args:
        work: numpy and scipy let other threads run meanwhile; it writes what no other part's call touches.
        planes: how many there are.
        threads: how many parts are made, at most one per plane.
    """
    parts = max(1, min(threads, planes))
    edges = [planes * part // parts for part in range(parts + 1)]
    slabs = [range(start, stop) for start, stop in pairwise(edges)]
    if parts == 1:
        work(slabs[0])
        return
    with ThreadPoolExecutor(parts) as pool:
        for done in [pool.submit(work, slab) for slab in slabs]:
            done.result()
