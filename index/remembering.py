"""Methods that remember results, without keeping their objects alive."""

from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar
from weakref import WeakMethod

Given = TypeVar("Given")
Result = TypeVar("Result")


def remembering(method: Callable[[Given], Result], most: int | None) -> Callable[[Given], Result]:
    """The bound `method`, whose `most` results that were asked for last are kept.

    `lru_cache` of a bound method, kept by its object, is a circle: a whole catalogue would stay until the
    garbage collector looks at all objects there are, and nothing is answered meanwhile. Safe between threads.
    """
    weak = WeakMethod(method)

    def ask(given: Given) -> Result:
        alive = weak()
        if alive is None:
            raise ReferenceError("the object of the method is gone")
        result: Result = alive(given)
        return result

    return lru_cache(most)(ask)
