"""Settings: an application's PIPELINE with a TOML file, the environment and ``--set`` laid over it, checked.

    defaults  <  PIPELINE  <  TOML file  <  environment (THRESHER_PARSER__WORKERS)  <  --set parser.workers=4

Every problem is found, not only the first. Nothing is opened and no server reached: that is for the run.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
import sys
import tomllib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from actors.runtime.errors import ConfigError
from actors.runtime.manifest import Component, Manifest, component_of
from actors.runtime.options import Assignment, build, overlay, unknown_key
from actors.runtime.pipeline import Pipeline

#: Sections with a fixed struct, by name in files, with the pipeline's attribute.
_FIXED = ("parser", "checker", "aggregator", "flow", "budget", "restart", "watch", "run")
_COMPONENTS = ("source", "dead_letters")
_TOP = ("app", "state", *_FIXED, *_COMPONENTS, "sinks", "options")
_PREFIX = "THRESHER_"
_REFERENCE = re.compile(r"\$\{(env|file):([^}]+)\}")


class Settings(msgspec.Struct, frozen=True):
    """A checked configuration: the manifest of a run, and what it came from.

    Attributes:
        manifest: what the run gets, secrets resolved.
        pipeline: the application.
        shown: the effective configuration for people: references to secrets as they were written.
    """

    manifest: Manifest
    pipeline: Pipeline
    shown: dict[str, Any]


class _Target(msgspec.Struct, frozen=True):
    """What TARGET means."""

    module: str
    pipeline: Pipeline
    assignments: list[Assignment]


def load(
    target: str, *, sets: Sequence[str] = (), environ: Mapping[str, str] | None = None, state: str | None = None,
    dry: bool = False,
) -> Settings:
    """Return the settings of TARGET: an application's name, a TOML file, or a dotted module.

    Raises:
        ConfigError: with every problem that was found, one after the other.
    """
    found = _resolve(target)
    assignments = [*found.assignments, *_from_environment(os.environ if environ is None else environ),
                   *_from_sets(sets)]
    problems: list[str] = []
    settings = _apply(found, assignments, state, dry, problems)
    if problems or settings is None:
        raise ConfigError("\n".join(problems))
    return settings


def applications() -> list[str]:
    """The names of the applications that ship."""
    import actors.apps

    return sorted(module.name for module in pkgutil.iter_modules(actors.apps.__path__))


# What TARGET means ------------------------------------------------------------------------------------------------


def _resolve(target: str) -> _Target:
    if target.endswith(".toml") or "/" in target:
        return _from_file(Path(target))
    module, pipeline = _import_application(target, f"target {target!r}")
    return _Target(module, pipeline, [])


def _from_file(path: Path) -> _Target:
    try:
        text = path.read_text()
        data = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    app = data.get("app")
    if not isinstance(app, str):
        raise ConfigError(f"{path}: expected app = \"NAME\", one of {', '.join(applications())} or a dotted module, "
                          f"got {'nothing' if app is None else repr(app)}")
    module, pipeline = _import_application(app, f"{path}: app")
    lines = _lines_of(text)
    return _Target(module, pipeline, [
        Assignment(key, value, f"{path}:{lines[key]}" if key in lines else str(path))
        for key, value in _flatten(data, ())])


def _import_application(name: str, where: str) -> tuple[str, Pipeline]:
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # a user's own module beside his configuration
    module = f"actors.apps.{name}" if "." not in name and name in applications() else name
    try:
        pipeline = importlib.import_module(module).PIPELINE
    except ModuleNotFoundError as error:
        if error.name is not None and module.startswith(error.name):
            raise ConfigError(
                f"{where}: no application and no module is called {name!r}\n"
                f"  applications: {', '.join(applications())}\n"
                "  a module is looked for in this folder and where Python looks") from error
        raise ConfigError(f"{where}: {module} cannot be imported: {error}") from error
    except AttributeError as error:
        raise ConfigError(f"{where}: module {module} has no PIPELINE") from error
    except Exception as error:
        raise ConfigError(f"{where}: {module} cannot be imported: {type(error).__name__}: {error}") from error
    if not isinstance(pipeline, Pipeline):
        raise ConfigError(f"{where}: {module}.PIPELINE: expected a Pipeline, got {type(pipeline).__name__}")
    return module, pipeline


def _lines_of(text: str) -> dict[tuple[str, ...], int]:
    """The line of each ``key = value`` and table of a TOML file, as far as a look at the lines can tell."""
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if match := re.match(r"\s*\[+\s*([^\]]+?)\s*\]", line):
            table = tuple(part.strip().strip("\"'") for part in match[1].split("."))
            lines.setdefault(table, number)
        elif match := re.match(r"\s*([\w.\"'-]+)\s*=", line):
            key = tuple(part.strip("\"'") for part in match[1].split("."))
            lines.setdefault((*table, *key), number)
    return lines


# Layers -----------------------------------------------------------------------------------------------------------


def _flatten(data: Mapping[str, Any], prefix: tuple[str, ...]) -> Iterable[tuple[tuple[str, ...], Any]]:
    for name, value in data.items():
        if isinstance(value, dict) and len(prefix) < (2 if (prefix or (name,))[0] == "sinks" else 1):
            yield from _flatten(value, (*prefix, name))
        else:
            yield (*prefix, name), value


def _from_environment(environ: Mapping[str, str]) -> list[Assignment]:
    return [
        Assignment(tuple(name[len(_PREFIX):].lower().split("__")), _value(text), f"environment {name}")
        for name, text in sorted(environ.items()) if name.startswith(_PREFIX) and "__" in name
    ]


def _from_sets(sets: Sequence[str]) -> list[Assignment]:
    assignments: list[Assignment] = []
    for text in sets:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {text}: expected KEY=VALUE, e.g. --set parser.workers=4")
        assignments.append(Assignment(tuple(key.strip().split(".")), _value(value), f"--set {key.strip()}"))
    return assignments


def _value(text: str) -> Any:
    """A TOML value, or else the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


# Laying over ------------------------------------------------------------------------------------------------------


def _apply(
    found: _Target, assignments: list[Assignment], state: str | None, dry: bool, problems: list[str]
) -> Settings | None:
    pipeline = found.pipeline
    sections = _by_section(assignments, pipeline, problems)
    shown: dict[str, Any] = {"app": found.module.removeprefix("actors.apps.")}
    fixed = {name: overlay(name, getattr(pipeline, name), sections.get((name,), []), problems) for name in _FIXED}
    source = _component("source", pipeline.source, sections.get(("source",), []), problems, shown)
    letters = _component("dead_letters", pipeline.dead_letters, sections.get(("dead_letters",), []), problems, shown)
    sinks = {
        name: _component(f"sinks.{name}", default, sections.get(("sinks", name), []), problems, shown)
        for name, default in pipeline.sinks.items()
    }
    options = pipeline.options
    if options is not None:
        options = overlay("options", options, sections.get(("options",), []), problems)
        shown["options"] = msgspec.to_builtins(options)
    shown |= {name: msgspec.to_builtins(value) for name, value in fixed.items()}
    where = state or next((str(a.value) for a in reversed(assignments) if a.key == ("state",)), f"var/{pipeline.name}")
    shown["state"] = where
    if problems or source is None or letters is None:
        return None
    manifest = Manifest(
        run=uuid.uuid4().hex, name=pipeline.name, app=found.module, state=str(Path(where).absolute()), dry=dry,
        source=source, sinks={name: sink for name, sink in sinks.items() if sink is not None}, dead_letters=letters,
        folds=pipeline.fold is not None, options=None if options is None else msgspec.to_builtins(options),
        limits=fixed.pop("run"), **fixed)
    return Settings(manifest, pipeline, shown)


def _by_section(
    assignments: list[Assignment], pipeline: Pipeline, problems: list[str]
) -> dict[tuple[str, ...], list[Assignment]]:
    """Group assignments by section; what belongs to none is a problem."""
    sections: dict[tuple[str, ...], list[Assignment]] = {}
    for assignment in assignments:
        top, *rest = assignment.key
        name = ".".join(assignment.key)
        if top not in _TOP:
            problems.append(unknown_key(assignment.where, top, "valid sections", _TOP))
        elif top in ("app", "state") and not rest:
            pass
        elif top == "sinks" and rest and rest[0] not in pipeline.sinks:
            problems.append(unknown_key(
                assignment.where, f"sinks.{rest[0]}", f"sinks of {pipeline.name}", list(pipeline.sinks)))
        elif len(rest) != (2 if top == "sinks" else 1) or (top == "options" and pipeline.options is None):
            problems.append(f"{assignment.where}: '{name}' is no option: expected a key in a section, "
                            "e.g. parser.workers or sinks.NAME.type")
        else:
            sections.setdefault(assignment.key[:-1], []).append(assignment)
    return sections


def _component(
    section: str, default: Any, assignments: list[Assignment], problems: list[str], shown: dict[str, Any]
) -> Component | None:
    """Lay values over a source's or sink's options; another ``type`` begins from that type's own defaults."""
    package = "sources" if section == "source" else "sinks"
    kind, base = type(default), msgspec.to_builtins(default)
    where = assignments[0].where if assignments else section
    for assignment in assignments:
        if assignment.key[-1] == "type":
            where = assignment.where
            chosen = _component_type(package, section, assignment, problems)
            if chosen is not None and chosen is not kind:
                kind, base = chosen, {}
    values = [a for a in assignments if a.key[-1] != "type"]
    resolved = [Assignment(a.key, _resolve_references(a, problems), a.where) for a in values]
    before = len(problems)
    options = build(section, kind, base, resolved, problems, where)
    if options is None or len(problems) > before:
        return None
    written = {a.key[-1]: a.value for a in values}
    shown[section] = {"type": _type_name(kind, package), **msgspec.to_builtins(options), **written}
    return component_of(options)


def _component_type(package: str, section: str, assignment: Assignment, problems: list[str]) -> type | None:
    name = str(assignment.value)
    module, colon, attribute = name.partition(":")
    try:
        if colon:
            kind = getattr(importlib.import_module(module), attribute)
        else:
            kind = importlib.import_module(f"actors.{package}.{name}").OPTIONS
    except (ImportError, AttributeError, ValueError) as error:
        parent = importlib.import_module(f"actors.{package}")
        valid = sorted(found.name for found in pkgutil.iter_modules(parent.__path__)
                       if hasattr(importlib.import_module(f"actors.{package}.{found.name}"), "OPTIONS"))
        problems.append(f"{assignment.where}: {section}.type: expected {', '.join(valid)} or module:class, "
                        f"got {name!r} ({error})")
        return None
    return kind if isinstance(kind, type) else None


def _type_name(kind: type, package: str) -> str:
    prefix = f"actors.{package}."
    module = kind.__module__
    return module.removeprefix(prefix) if module.startswith(prefix) else f"{module}:{kind.__qualname__}"


def _resolve_references(assignment: Assignment, problems: list[str]) -> Any:
    """Put in what ``${env:NAME}`` and ``${file:/path}`` stand for."""
    if not isinstance(assignment.value, str):
        return assignment.value

    def resolve(match: re.Match[str]) -> str:
        kind, name = match.groups()
        try:
            return os.environ[name] if kind == "env" else Path(name).read_text().strip()
        except (KeyError, OSError) as error:
            why = "is not set" if kind == "env" else str(getattr(error, "strerror", error)).lower()
            problems.append(f"{assignment.where}: {'.'.join(assignment.key)}: {match[0]}: {name} {why}")
            return ""

    return _REFERENCE.sub(resolve, assignment.value)
