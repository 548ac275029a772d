"""Working ahead: the same items, the same errors, and nothing left running."""

import threading
from collections.abc import Generator, Iterator

import pytest

from autoreel.film.ahead import ahead


def _count(stop: int, closed: list[bool], fail_at: int = -1) -> Generator[int, None, None]:
    try:
        for i in range(stop):
            if i == fail_at:
                raise ValueError("broken")
            yield i
    finally:
        closed.append(True)


def _names() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def test_all_items_in_order() -> None:
    closed: list[bool] = []
    with ahead(_count(500, closed), 4) as items:
        assert list(items) == list(range(500))
    assert closed and "ahead" not in _names()


def test_no_more_are_made_than_may_wait() -> None:
    made, third = [0], threading.Event()

    def items() -> Generator[int, None, None]:
        while made[0] < 9:
            made[0] += 1
            if made[0] == 3:
                third.set()
            yield made[0]

    with ahead(items(), 1) as taken:
        assert next(taken) == 1  # which gives way to the second one, and to no more
        assert not third.wait(0.3) and made[0] <= 2
        assert next(taken) == 2 and third.wait(5)


def test_an_error_comes_where_the_item_would_have() -> None:
    closed: list[bool] = []
    seen = []
    with pytest.raises(ValueError, match="broken"), ahead(_count(9, closed, fail_at=5), 4) as items:
        for item in items:
            seen.append(item)
    assert seen == [0, 1, 2, 3, 4]
    assert closed and "ahead" not in _names()


def test_leaving_early_ends_the_thread() -> None:
    closed: list[bool] = []

    def first(items: Iterator[int]) -> int:
        return next(items)

    with ahead(_count(10_000, closed), 4) as items:
        assert first(items) == 0
    assert closed and "ahead" not in _names()


def test_one_thread_that_waits_for_another_is_freed() -> None:
    stop, closed = threading.Event(), list[bool]()
    never = threading.Event()

    def slow() -> Generator[int, None, None]:
        yield 0
        while not never.is_set() and not stop.is_set():
            never.wait(0.01)

    def second(items: Iterator[int]) -> Generator[int, None, None]:
        try:
            yield from items
        finally:
            closed.append(True)

    with pytest.raises(KeyError), ahead(slow(), 2, stop) as first, ahead(second(first), 2, stop) as items:
        assert next(items) == 0
        raise KeyError
    assert closed and "ahead" not in _names()
