"""A second thread makes what comes next while the first uses what is there: the model paints as the encoder packs."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")
_LOOK_S = 0.1  # how often a waiting thread looks whether all is over


class _End(Generic[ItemT]):
    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class Stopped(RuntimeError):
    """The thread that waited was told that nothing will come any more."""


@contextmanager
def ahead(
    items: Generator[ItemT, None, None], size: int, stop: threading.Event | None = None
) -> Iterator[Iterator[ItemT]]:
    """Run a generator in a thread of its own.

    Args:
        items: made there from start to end, and closed there.
        size: how many may be made before they are taken, the one in the making among them.
        stop: set when the block ends. Threads in a row share one, so that none waits for another that has gone.

    Yields:
        The same items; an error of the generator is raised where the item would have come.
    """
    waiting: queue.SimpleQueue[ItemT | _End[ItemT]] = queue.SimpleQueue()
    room = threading.Semaphore(size)
    stopped = stop if stop is not None else threading.Event()

    def is_room() -> bool:
        while not stopped.is_set():
            if room.acquire(timeout=_LOOK_S):
                return True
        return False

    def work() -> None:
        error: BaseException | None = None
        try:
            while is_room():
                waiting.put(next(items))  # nothing else may hold it: an item may be large
        except StopIteration:
            pass
        except BaseException as caught:  # raised again in the thread that waits
            error = caught
        finally:
            items.close()
            waiting.put(_End(error))

    def take() -> Iterator[ItemT]:
        while True:
            try:
                item = waiting.get(timeout=_LOOK_S)
            except queue.Empty:
                if stopped.is_set():
                    raise Stopped("stopped") from None
                continue
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            room.release()
            yield item
            del item

    thread = threading.Thread(target=work, name="ahead", daemon=True)
    thread.start()
    try:
        yield take()
    finally:
        stopped.set()
        thread.join()
