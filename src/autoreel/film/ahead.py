"""A second thread makes what comes next while the first uses what is there: the model paints as the encoder packs."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")
_LOOK_S = 0.2  # how often a waiting thread looks whether the other has gone


class _End(Generic[ItemT]):
    def __init__(self, error: BaseException | None) -> None:
        self.error = error


@contextmanager
def ahead(items: Generator[ItemT, None, None], size: int) -> Iterator[Iterator[ItemT]]:
    """Run a generator in a thread of its own.

    Args:
        items: made there from start to end, and closed there.
        size: how many may wait.

    Yields:
        The same items; an error of the generator is raised where the item would have come.
    """
    waiting: queue.Queue[ItemT | _End[ItemT]] = queue.Queue(size)
    stopped = threading.Event()

    def put(item: ItemT | _End[ItemT]) -> bool:
        while not stopped.is_set():
            try:
                waiting.put(item, timeout=_LOOK_S)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                if not put(item):
                    break
        except BaseException as caught:  # raised again in the thread that waits
            error = caught
        finally:
            items.close()
            put(_End(error))

    def take() -> Iterator[ItemT]:
        while True:
            item = waiting.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item

    thread = threading.Thread(target=work, name="compose", daemon=True)
    thread.start()
    try:
        yield take()
    finally:
        stopped.set()
        thread.join()
