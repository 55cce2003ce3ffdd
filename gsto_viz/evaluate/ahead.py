"""Do work in other threads ahead of the one that needs it, in order and in bounded memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def thread_pool(workers: int) -> Iterator[ThreadPoolExecutor | None]:
    """Give a pool of threads, or None for no workers; what is left undone at the end is dropped."""
    if workers == 0:
        yield None
        return
    pool = ThreadPoolExecutor(workers)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def map_ahead(
    pool: ThreadPoolExecutor | None, function: Callable[[T], R], items: Iterable[T], *, depth: int
) -> Iterator[R]:
    """Yield ``function(item)`` in the order of the items, with ``depth`` items under way.

    Args:
        pool: Where it runs; None runs it here, one item when it is asked for.
        function: Must be safe to call from several threads.
        items: Taken in the calling thread.
        depth: How many items are taken ahead of the one that is yielded.
    """
    if pool is None:
        yield from map(function, items)
        return
    under_way: deque[Future[R]] = deque()
    for item in items:
        under_way.append(pool.submit(function, item))
        if len(under_way) > depth:
            yield under_way.popleft().result()
    while under_way:
        yield under_way.popleft().result()
