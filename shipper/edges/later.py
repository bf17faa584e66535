"""Modules that others import and hardly use: their code is loaded when it is first asked for."""

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any


def put_off(name: str) -> None:
    """Let ``import NAME`` cost nothing until something in it is used.

    Does nothing where it is loaded already, or is not here.
    """
    spec = None if name in sys.modules else find_spec(name)
    if spec is None:
        return
    later = ModuleType(name)

    def load(attribute: str) -> Any:
        if sys.modules.get(name) is later:
            del sys.modules[name]
        real = import_module(name)
        vars(later).update(vars(real))  # whoever imported the module has this one
        return getattr(real, attribute)

    vars(later).update(__spec__=spec, __getattr__=load)
    sys.modules[name] = later
