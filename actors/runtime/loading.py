"""Where an application, a source or a sink is found by its name, the same in every process of a run.

    package.module:NAME         imported, as Python does it
    /path/to/file.py:NAME       loaded from that file, whatever else Python would find under such a name

A file is loaded once a process and is known to Python by its path, so that nothing it is called, ``json.py`` or
``actors.py``, stands in the way of a module of that name. What it imports from its own folder is found, but behind all
that is installed.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any


def split(name: str, otherwise: str = "") -> tuple[str, str]:
    """Return the module and the attribute that a name means; ``otherwise`` is the attribute when it gives none."""
    module, colon, attribute = name.rpartition(":")
    return (module, attribute) if colon and attribute.isidentifier() else (name, otherwise)


def named(name: str, otherwise: str = "") -> Any:
    """Return what is called ``module:NAME`` or ``/path/to/file.py:NAME``; ``otherwise`` is NAME when none is given.

    Raises:
        ImportError: there is no such module.
        AttributeError: it has no such name.
        Exception: whatever the module raises as it is imported.
    """
    module, attribute = split(name, otherwise)
    return getattr(module_of(module), attribute)


def module_of(name: str) -> ModuleType:
    """Return a module by its dotted name, or by the absolute path of its file."""
    return _from_file(Path(name)) if is_file(name) else importlib.import_module(name)


def is_file(name: str) -> bool:
    """Whether a module's name is the path of a file."""
    return name.endswith(".py")


def look_last(folder: str) -> None:
    """Let modules be found in a folder, behind all others."""
    if folder not in sys.path:
        sys.path.append(folder)


def search_path() -> list[str]:
    """Where modules are looked for in this process, as absolute paths."""
    return [os.path.abspath(path) for path in sys.path]


def fresh_interpreter(module: str) -> list[str]:
    """Return the command that calls ``main()`` of a module in a fresh interpreter; words for ``sys.argv`` may follow.

    It looks for modules where any interpreter does, and then where this one does: neither the folder it is started in
    nor one of the caller's stands before what is installed.
    """
    start = ("import json, sys; paths = json.loads(sys.argv.pop(1)); "
             "sys.path += [path for path in paths if path not in sys.path]; "
             f"from {module} import main; sys.exit(main())")
    return [sys.executable, "-P", "-c", start, json.dumps(search_path())]


def _from_file(path: Path) -> ModuleType:
    name = os.path.abspath(path)
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, name)
    if spec is None or spec.loader is None or not path.is_file():
        raise ModuleNotFoundError(f"no file {path}", name=name)
    look_last(os.path.dirname(name))
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
