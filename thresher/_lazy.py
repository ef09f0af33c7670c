"""How the door opens: a name is imported from where it lives when it is first asked for, and kept.

The modules of this package import the same names under ``TYPE_CHECKING``, where type checkers and editors see them,
and define ``__getattr__`` for the interpreter alone: a ``__getattr__`` that a type checker sees lets any name through.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def lazy(module: str, homes: Mapping[str, Sequence[str]]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` for a module whose names live elsewhere.

    Args:
        module: the module's ``__name__``.
        homes: the names by the module that each lives in.
    """
    home_of = {name: home for home, names in homes.items() for name in names}

    def find(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        found = getattr(importlib.import_module(home_of[name]), name)
        setattr(sys.modules[module], name, found)
        return found

    def names() -> list[str]:
        return sorted({*vars(sys.modules[module]), *home_of})

    return find, names
