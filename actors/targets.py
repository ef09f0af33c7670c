"""What TARGET means: an application that ships, a dotted module, or the path of a file.

    appsinstalled        the application of that name: ``apps/appsinstalled.py``, or a folder of that name
    ratings-feed         one of the applications that share a folder: ``apps/ratings/feed.py``
    words                the module, or words.py in this folder, whatever else Python would find under that name
    package.module       the module
    path/to/words.py     that file
    words:OTHER          not PIPELINE, but what is called OTHER there
"""

from __future__ import annotations

import ast
import difflib
import functools
import importlib.util
import os
import re
import traceback
from pathlib import Path

from actors.defaults import completed
from actors.runtime import loading
from actors.runtime.errors import ConfigError
from actors.runtime.manifest import PIPELINE
from actors.runtime.pipeline import Pipeline

#: What an error of a module is raised in, and is not the line to change; applications are.
_OURS = os.path.join(os.path.dirname(os.path.dirname(loading.__file__)), "")
_APPS = os.path.join(_OURS, "apps", "")
#: How a module says that it is an application. Its text is looked at: to import all of them takes too long for a list.
_DECLARES = re.compile(rf"^{PIPELINE}\b", re.MULTILINE)


def applications() -> list[str]:
    """The names of the applications that ship."""
    return sorted(_modules())


def summary_of(name: str) -> str:
    """What an application that ships is for: the first line of its module, which is not imported for that."""
    spec = importlib.util.find_spec(_modules()[name])
    assert spec is not None and spec.origin is not None
    text = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0].removeprefix(f"{name}: ")


def name_of(app: str) -> str:
    """What a person calls the application that a manifest calls so."""
    module, attribute = loading.split(app)
    name = next((name for name, shipped in _modules().items() if shipped == module), module)
    return f"{name}:{attribute}" if attribute else name


@functools.cache
def _modules() -> dict[str, str]:
    """By the name of each application that ships, its module. Applications that share a folder have its name in front
    of theirs; what else lies in it has no ``PIPELINE``, and is none."""
    import actors.apps

    found: dict[str, str] = {}
    for folder in map(Path, actors.apps.__path__):
        for path in sorted(folder.rglob("*.py")):
            if _DECLARES.search(path.read_text(encoding="utf-8")):
                words = [*path.relative_to(folder).parent.parts, path.stem]
                words = words[:-1] if path.stem == "__init__" else words
                found["-".join(words)] = ".".join((actors.apps.__name__, *words))
    return found


def import_application(name: str, where: str, beside: Path | None = None) -> tuple[str, Pipeline]:
    """Return what an application is called in a manifest, and its pipeline.

    Args:
        name: an application's name, a dotted module, or the path of a file; then ``:NAME``, if it is not ``PIPELINE``.
        where: what named it, for errors.
        beside: the folder of the configuration that named it; a file may be relative to it.
    """
    loading.look_last(os.getcwd())  # a user's own modules beside his configuration
    module, attribute = loading.split(name, PIPELINE)
    module = _module_called(module, where, beside)
    try:
        found = loading.module_of(module)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{module}.".startswith(f"{error.name}."):
            raise ConfigError(_unknown(name, where)) from error
        why = str(error) if isinstance(error, ConfigError) else f"{module} cannot be imported: {told(error)}"
        raise ConfigError(f"{where}: {why}") from error
    pipeline = vars(found).get(attribute)
    if pipeline is None:
        folder = "" if getattr(found, "__file__", None) else (
            f": it is a folder; if {module}.py is in it: cd {module.replace('.', '/')}, and the same again from there")
        raise ConfigError(f"{where}: module {module} has no {attribute}{folder}")
    if not isinstance(pipeline, Pipeline):
        raise ConfigError(f"{where}: {module}.{attribute}: expected a Pipeline, got {type(pipeline).__name__}")
    name = Path(module).stem if loading.is_file(module) else name_of(module).rpartition(".")[2]
    app = module if attribute == PIPELINE else f"{module}:{attribute}"
    file = getattr(found, "__file__", None) or ""
    return app, completed(pipeline, name, f"{where}: {module}.{attribute}", lambda field: _at(file, attribute, field))


def target_like(path: Path) -> str:
    """The file beside this one, or the application, that may be meant, as a further line of an error; or nothing."""
    files = {found.name: str(found) for found in path.parent.glob("*.toml") if found.is_file()}
    known = files | {name: name for name in applications()}
    close = difflib.get_close_matches(path.name, known, 1)
    return f"\n  did you mean '{known[close[0]]}'?" if close else ""


def told(error: BaseException) -> str:
    """What went wrong in somebody else's module, and on which line of it."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__)
              if "importlib" not in frame.filename and frame.filename != loading.__file__]
    theirs = [frame for frame in frames[1:] if not frame.filename.startswith(_OURS)
              or frame.filename.startswith(_APPS)] or frames[1:]
    at = f" ({theirs[-1].filename}:{theirs[-1].lineno})" if theirs else ""
    return f"{type(error).__name__}: {error}{at}"


def _at(file: str, attribute: str, field: str) -> str:
    """The line of a module that gives a field of its pipeline, for the end of an error."""
    from actors.wiring import line_of

    line = line_of(Path(file), attribute, field)
    return f" ({file}:{line})" if line else ""


def _module_called(name: str, where: str, beside: Path | None) -> str:
    """Return the dotted name of a module, or the absolute path of its file."""
    if loading.is_file(name):
        found = next((folder / name for folder in (Path.cwd(), beside) if folder and (folder / name).is_file()), None)
        if found is None:
            raise ConfigError(f"{where}: there is no file {name}{target_like(Path(name))}")
        return os.path.abspath(found)
    if name in _modules():
        return _modules()[name]
    if not all(part.isidentifier() for part in name.split(".")):
        raise ConfigError(_unknown(name, where))
    file = "" if "." in name else _beside(name, beside)
    return file if file and _origin(name) != file else name


def _beside(name: str, beside: Path | None) -> str:
    """The file of this name in the current folder, or else beside the configuration; empty when there is none."""
    files = [folder / f"{name}.py" for folder in (Path.cwd(), beside) if folder]
    return next((os.path.abspath(file) for file in files if file.is_file()), "")


def _origin(name: str) -> str | None:
    """The file that Python would import, which looks into the current folder last."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    return None if spec is None else spec.origin


def _unknown(name: str, where: str) -> str:
    return (f"{where}: no application and no module is called {name!r}\n"
            f"  applications: {', '.join(applications())}\n"
            "  a module is looked for in this folder and where Python looks" + target_like(Path(name)))
