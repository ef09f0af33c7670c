"""Settings: an application's PIPELINE with a TOML file, the environment and ``--set`` laid over it, checked.

    defaults  <  PIPELINE  <  TOML file  <  environment (THRESHER_PARSER__WORKERS)  <  --set parser.workers=4

Every problem is found, not only the first. Nothing is opened and no server reached: that is for the run.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import pkgutil
import sys
import tomllib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from actors.assignments import flatten, from_environment, from_flag, from_sets, lines_of, with_references
from actors.defaults import completed
from actors.runtime import loading
from actors.runtime.counted_twice import why_twice
from actors.runtime.errors import ConfigError, plain_reason
from actors.runtime.manifest import Component, Manifest, component_of
from actors.runtime.moving import why_not_moved
from actors.runtime.options import Assignment, build, overlay, unknown_key, without_password
from actors.runtime.pipeline import Pipeline
from actors.runtime.ports import REQUIRED, SinkOptions, SourceOptions, not_given
from actors.runtime.sections import missing_extras
from actors.targets import applications, import_application, name_of, target_like, told

#: Sections with a fixed struct, by name in files, with the pipeline's attribute.
SECTIONS = ("parser", "checker", "aggregator", "window", "flow", "budget", "restart", "watch", "links", "run",
          "monitor", "tracing")
_COMPONENTS = ("source", "dead_letters")
#: Sections that are said of one pipeline of an application, not of the query that it has.
_OF_ONE_PIPELINE = ("source", "sinks", "window")
_TOP = ("app", "state", *SECTIONS, *_COMPONENTS, "sinks", "options")


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

    app: str
    pipeline: Pipeline
    assignments: list[Assignment]


def load(
    target: str, *, sets: Sequence[str] = (), environ: Mapping[str, str] | None = None, state: str | None = None,
    dry: bool = False, source: Sequence[str] = (), query: bool = False, flags: Sequence[tuple[str, str]] = (),
) -> Settings:
    """Return the settings of TARGET: an application's name, a TOML file, a dotted module, or the path of a file.

    Args:
        target: see above.
        sets: ``KEY=VALUE`` texts, which go before everything else.
        environ: the environment; by default that of this process.
        state: the state directory, when not the configured one.
        dry: nothing is to be written to sinks.
        source: ``KEY=VALUE`` texts that take the place of what file and environment say of the source.
        query: the settings of the application's query (``Pipeline.query``) are meant.
        flags: the application's own flags of the command line, with what was said after each.

    Raises:
        ConfigError: with every problem that was found, one after the other.
    """
    found = _resolve(target)
    environ = os.environ if environ is None else environ
    problems: list[str] = []
    said = [*found.assignments, *from_environment(environ, found.pipeline.sinks, problems)]
    if query:
        found = _query_of(found, target)
        said = [one for one in said if one.key[0] not in _OF_ONE_PIPELINE]
    if source:
        said = [one for one in said if one.key[0] != "source"]
    said += [*from_sets(source, problems), *from_sets(sets, problems)]
    said += [from_flag(f"--{name}", found.pipeline.flags[name], text) for name, text in flags]
    if state is not None:
        said.append(Assignment(("state",), state, "--state"))
    assignments = [with_references(assignment, environ, problems) for assignment in said]
    problems += _not_said(found.pipeline, assignments)
    settings = _apply(found, assignments, dry, problems)
    if problems or settings is None:
        raise ConfigError("\n".join(problems))
    if query:
        settings = msgspec.structs.replace(settings, manifest=msgspec.structs.replace(settings.manifest, query=True))
    return settings


def pipeline_of(target: str, query: bool = False) -> Pipeline:
    """Return the application that TARGET means, or the query that it has.

    Raises:
        ConfigError: there is none.
    """
    found = _resolve(target)
    return (_query_of(found, target) if query else found).pipeline


# What TARGET means ------------------------------------------------------------------------------------------------


def _resolve(target: str) -> _Target:
    if target.endswith(".toml") or ("/" in target and not loading.is_file(loading.split(target)[0])):
        return _from_file(Path(target))
    module, pipeline = import_application(target, f"target {target!r}")
    return _Target(module, pipeline, [])


def _query_of(found: _Target, target: str) -> _Target:
    query = found.pipeline.query
    if query is None:
        raise ConfigError(f"--query: {target} has no query: run it without --query")
    return msgspec.structs.replace(found, pipeline=completed(query, found.pipeline.name, f"{target}: query"))


def _from_file(path: Path) -> _Target:
    try:
        text = path.read_text(encoding="utf-8-sig")
        data = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{path}: expected a TOML file: {plain_reason(error)}{target_like(path)}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error
    lines = lines_of(text)
    app = data.pop("app", None)
    if not isinstance(app, str):
        where = f"{path}:{lines['app',]}" if ("app",) in lines else str(path)
        raise ConfigError(f"{where}: expected app = \"NAME\", one of {', '.join(applications())} or a dotted module, "
                          f"got {'nothing' if app is None else repr(app)}")
    module, pipeline = import_application(app, f"{path}: app", path.absolute().parent)
    return _Target(module, pipeline, [
        Assignment(key, value, f"{path}:{lines[key]}" if key in lines else str(path))
        for key, value in flatten(data)])


# Laying over ------------------------------------------------------------------------------------------------------


def _apply(found: _Target, assignments: list[Assignment], dry: bool, problems: list[str]) -> Settings | None:
    pipeline = found.pipeline
    sections = _by_section(assignments, pipeline, problems)
    shown: dict[str, Any] = {"app": name_of(found.app), "state": f"var/{pipeline.name}"}
    state = _state(sections.pop((), []), shown, problems)
    source = _component("source", pipeline.source, sections, problems, shown)
    letters = _component("dead_letters", pipeline.dead_letters, sections, problems, shown)
    sinks = {name: _component(f"sinks.{name}", default, sections, problems, shown)
             for name, default in pipeline.sinks.items()}
    fixed: dict[str, Any] = {}
    for name in (*SECTIONS, "options"):
        default, said = getattr(pipeline, name), sections.get((name,), [])
        if default is not None:
            fixed[name] = overlay(name, default, said, problems)
            shown[name] = {**_masked(msgspec.to_builtins(fixed[name])), **_written(said)}
    if fixed["links"].transport == "tcp":
        try:
            fixed["links"].require_keys(f"tcp://{fixed['links'].host}")
        except ConfigError as error:
            problems.append(str(error))
    problems += missing_extras(fixed)
    if problems or source is None or letters is None:
        return None
    used = {name: sink for name, sink in sinks.items() if sink is not None}
    options = fixed.pop("options", None)
    limits = fixed.pop("run").said_by(*(each.kind().max_outage_s for each in (source, letters, *used.values())))
    if why := why_not_moved(pipeline, source.load()):
        problems.append(why)
        return None
    if shown["run"]["max_outage_s"] == "auto":
        shown["run"]["max_outage_s"] = limits.max_outage_s
    manifest = Manifest(
        run=uuid.uuid4().hex, name=pipeline.name, app=found.app, state=str(Path(state).absolute()), dry=dry,
        source=source, sinks=used, dead_letters=letters, doubles=why_twice(pipeline, used),
        folds=pipeline.fold is not None, windowed=pipeline.windows is not None, emit_sinks=pipeline.emit_sinks,
        options=None if options is None else msgspec.to_builtins(options),
        limits=limits, **fixed)
    return Settings(manifest, pipeline, shown)


def _not_said(pipeline: Pipeline, assignments: Iterable[Assignment]) -> list[str]:
    """What is required and nobody has set, as problems."""
    said = {".".join(one.key) for one in assignments}
    flags = {option: flag for flag, option in pipeline.flags.items()}
    return [f"{option}: expected a value, got nothing: give " +
            (f"--{flags[option]} VALUE" if option in flags else f"--set {option}=VALUE")
            for option in pipeline.required if option not in said]


def _masked(section: dict[str, Any]) -> dict[str, Any]:
    """A section as people may see it: secrets (by their names, and in addresses) are not shown, however given."""
    return {name: "***" if name.endswith("_secret") and value else
            without_password(value) if isinstance(value, str) else value for name, value in section.items()}


def _written(said: Iterable[Assignment]) -> dict[str, Any]:
    """What people are shown in place of values with secrets, by the last part of the key."""
    last = {assignment.key[-1]: assignment for assignment in said}
    return {name: one.written for name, one in last.items() if one.written is not msgspec.UNSET}


def _state(said: list[Assignment], shown: dict[str, Any], problems: list[str]) -> str:
    """The state directory; what goes before is not looked at."""
    for one in said[-1:]:
        path = next((text for text in (one.value, one.otherwise) if isinstance(text, str)), None)
        if path and "\0" not in path:
            shown["state"] = one.shown
            return path
        if one.value is not msgspec.UNSET:
            problems.append(f"{one.where}: state: expected the path of a directory, got {one.shown!r}")
    return str(shown["state"])


def _by_section(
    assignments: list[Assignment], pipeline: Pipeline, problems: list[str]
) -> dict[tuple[str, ...], list[Assignment]]:
    """Group assignments by section; what belongs to none is a problem."""
    sections: dict[tuple[str, ...], list[Assignment]] = {}
    for assignment in assignments:
        problem = _misplaced(assignment, pipeline)
        if problem:
            problems.append(problem)
        elif assignment.value != {} or len(assignment.key) > (2 if assignment.key[0] == "sinks" else 1):
            sections.setdefault(assignment.key[:-1], []).append(assignment)
    return sections


def _misplaced(assignment: Assignment, pipeline: Pipeline) -> str:
    """Why there is no option of this key, or nothing. A section without keys is in order."""
    where, (top, *rest), name = assignment.where, assignment.key, ".".join(assignment.key)
    depth = {"sinks": 2, "state": 0}.get(top, 1)
    if top == "app":
        return f"{where}: '{name}' is no option: the application is TARGET, or `app` in the file that is TARGET"
    if top not in _TOP:
        return unknown_key(where, top, "valid sections", _TOP)
    if top == "sinks" and rest and rest[0] not in pipeline.sinks:
        return unknown_key(where, f"sinks.{rest[0]}", f"sinks of {pipeline.name}", list(pipeline.sinks))
    if top == "options" and pipeline.options is None:
        return f"{where}: '{name}' is no option: {pipeline.name} has no options of its own"
    if len(rest) < depth and assignment.value != {}:
        return f"{where}: {name}: expected a section with keys, e.g. [parser], got {assignment.shown!r}"
    if len(rest) > depth:
        return f"{where}: '{name}' is no option: expected a key in a section, e.g. parser.workers or sinks.NAME.type"
    return ""


# Sources and sinks ------------------------------------------------------------------------------------------------


def _component(
    section: str, default: Any, sections: Mapping[tuple[str, ...], list[Assignment]], problems: list[str],
    shown: dict[str, Any]
) -> Component[Any] | None:
    """Lay values over a source's or sink's options; another ``type`` begins from that type's own defaults."""
    said = sections.get(tuple(section.split(".", 1)), [])
    kind, base, where = type(default), {}, said[0].where if said else section
    chosen = next((one for one in reversed(said) if one.key[-1] == "type"), None)
    if chosen is None:
        if why := _unfit_for(section, kind):
            problems.append(f"PIPELINE: {section}: {why}, got {default!r}" if not isinstance(default, msgspec.Struct)
                            else f"PIPELINE: {section}: {why}")
            return None
        base = msgspec.to_builtins(default)
    else:
        where = chosen.where
        found = _component_type(section, chosen, problems)
        if found is None:
            return None
        kind, base = found, msgspec.to_builtins(default) if found is kind else {}
    values = [one for one in said if one.key[-1] != "type"]
    before = len(problems)
    options = build(section, kind, base, values, problems, where)
    if options is None or len(problems) > before:
        return None
    shown[section] = {"type": _type_name(kind, _package(section)), **_masked(msgspec.to_builtins(options)),
                      **_written(values)}
    return component_of(options)


def _package(section: str) -> str:
    return "actors.sources" if section == "source" else "actors.sinks"


def _component_type(section: str, assignment: Assignment, problems: list[str]) -> type | None:
    name = next((text for text in (assignment.value, assignment.otherwise) if isinstance(text, str)), None)
    try:
        if assignment.value is msgspec.UNSET:
            return None
        if name is None:
            raise TypeError("expected a text")
        kind = loading.named(name) if ":" in name else importlib.import_module(f"{_package(section)}.{name}").OPTIONS
        why = _unfit_for(section, kind)
    except (Exception, SystemExit) as error:
        why = str(error) if isinstance(error, (ImportError, AttributeError, ValueError, TypeError)) else told(error)
    if not why:
        assert isinstance(kind, type)
        return kind
    known = shipped(section)
    close = difflib.get_close_matches(name or "", [] if name in known else known, 1)
    why = f"; did you mean '{close[0]}'?" if close else f" ({why})"
    if assignment.shown != assignment.value:  # it may hold a secret
        why = ""
    problems.append(f"{assignment.where}: {section}.type: expected {', '.join(known)} or module:class, "
                    f"got {assignment.shown!r}{why}")
    return None


def _unfit_for(section: str, kind: Any) -> str:
    """Why this is not the options struct of a source, a sink or a dead-letter store, or nothing."""
    if not isinstance(kind, type) or not issubclass(kind, msgspec.Struct):
        return "expected a class that is a msgspec.Struct"
    if vars(sys.modules[kind.__module__]).get(kind.__qualname__) != kind:
        return "expected a class at the top of its module"
    wanted, base, other = ("source", SourceOptions, SinkOptions) if section == "source" else (
        "sink", SinkOptions, SourceOptions)
    if issubclass(kind, other):
        return f"{kind.__name__} is a {'source' if wanted == 'sink' else 'sink'}, expected a {wanted}"
    if not issubclass(kind, base):
        lacks = [name for name in REQUIRED[base] if name not in dir(kind)]
        return (f"{kind.__name__} is no {wanted}: it does not inherit from thresher.{wanted}s.{base.__name__}"
                + (f", and has no {', '.join(lacks)}" if lacks else ""))
    assert issubclass(kind, (SinkOptions, SourceOptions))
    if missing := not_given(kind):
        return f"{kind.__name__} is no {wanted}: it has no {', '.join(missing)}"
    takes = kind.takes if issubclass(kind, SinkOptions) else ()
    if wanted == "sink" and ("letters" if section == "dead_letters" else "items") not in takes:
        return f"{kind.__name__} takes {' and '.join(takes)}"
    return ""


def shipped(section: str) -> dict[str, type]:
    """Those sources or sinks that ship and fit here, by name.

    Args:
        section: ``source``, ``dead_letters``, or ``sinks.NAME``.
    """
    package = _package(section)
    kinds = {found.name: _options_in(f"{package}.{found.name}")
             for found in pkgutil.iter_modules(importlib.import_module(package).__path__)}
    return {name: kind for name, kind in sorted(kinds.items()) if kind is not None and not _unfit_for(section, kind)}


def _options_in(module: str) -> type | None:
    """What a module that ships declares; one that needs a library which is not installed is a part of another."""
    try:
        found: type | None = getattr(importlib.import_module(module), "OPTIONS", None)
    except ModuleNotFoundError as error:
        if (error.name or "actors").partition(".")[0] == "actors":
            raise
        return None
    return found


def _type_name(kind: type, package: str) -> str:
    module = kind.__module__
    return module.removeprefix(f"{package}.") if module.startswith(f"{package}.") else f"{module}:{kind.__qualname__}"
