"""A module that others import and hardly use: its code is loaded when it is first asked for."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any


class _Later(ModuleType):
    def __bool__(self) -> bool:
        """False: logging of Python 3.12 asks so whether asyncio is loaded."""
        return False


@contextmanager
def put_off(name: str) -> Iterator[None]:
    """Whoever imports the module meanwhile gets it when something in it is used.

    Afterwards nothing is in its place: for all others it is as if it had not been imported.
    Nothing happens where it is loaded already.
    """
    if name in sys.modules:
        yield
        return
    later = sys.modules[name] = _Later(name)

    def remove() -> None:
        if sys.modules.get(name) is later:
            del sys.modules[name]

    def load(attribute: str) -> Any:
        remove()
        real = import_module(name)
        vars(later).update(vars(real))
        return getattr(real, attribute)

    vars(later)["__getattr__"] = load
    try:
        yield
    finally:
        remove()
