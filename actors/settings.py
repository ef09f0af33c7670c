"""Settings: an application's PIPELINE with a TOML file, the environment and ``--set`` laid over it, checked.

    defaults  <  PIPELINE  <  TOML file  <  environment (THRESHER_PARSER__WORKERS)  <  --set parser.workers=4

Every problem is found, not only the first. Nothing is opened and no server reached: that is for the run.
"""

from __future__ import annotations

import os
import tomllib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from actors.assignments import flatten, from_environment, from_flag, from_sets, lines_of, unheard, with_references
from actors.components import options_in, type_name
from actors.defaults import completed
from actors.runtime import loading
from actors.runtime.counted_twice import why_twice
from actors.runtime.errors import ConfigError, plain_reason
from actors.runtime.lift import bind
from actors.runtime.manifest import Component, Manifest, component_of
from actors.runtime.moving import why_not_dry, why_not_moved
from actors.runtime.options import Assignment, masked, overlay, refused_by, unknown_key
from actors.runtime.pipeline import Pipeline
from actors.runtime.sections import WindowOptions, missing_extras
from actors.targets import applications, import_application, name_of, target_like

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
        notes: what the application has set that is not used, for the configuration chose another source or sink.
    """

    manifest: Manifest
    pipeline: Pipeline
    shown: dict[str, Any]
    notes: list[str] = []


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
    settings.notes.extend(unheard(environ, _TOP))
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
    notes: list[str] = []
    source = _component("source", pipeline.source, sections, problems, shown, notes)
    letters = _component("dead_letters", pipeline.dead_letters, sections, problems, shown, notes)
    sinks = {name: _component(f"sinks.{name}", default, sections, problems, shown, notes)
             for name, default in pipeline.sinks.items()}
    fixed: dict[str, Any] = {}
    for name in (*SECTIONS, "options"):
        default, said = getattr(pipeline, name), sections.get((name,), [])
        if default is not None:
            fixed[name] = overlay(name, default, said, problems)
            shown[name] = {**masked(msgspec.to_builtins(fixed[name])), **_written(said)}
    if pipeline.windows is not None and pipeline.windows.why_not is not None:
        why_windows = bind(pipeline.windows.why_not, fixed.get("options"))
        problems += refused_by(why_windows, "window", fixed["window"], sections.get(("window",), []))
    if pipeline.windows is not None and pipeline.windows.key is not None:
        problems += refused_by(_why_not_empty, "window", fixed["window"], sections.get(("window",), []))
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
    if why := why_not_moved(pipeline, source.load()) or (why_not_dry(source.load()) if dry else ""):
        problems.append(why)
        return None
    if shown["run"]["max_outage_s"] == "auto":
        shown["run"]["max_outage_s"] = limits.max_outage_s
    manifest = Manifest(
        run=uuid.uuid4().hex, name=pipeline.name, app=found.app, state=str(Path(state).absolute()), dry=dry,
        source=source, sinks=used, dead_letters=letters, doubles=why_twice(pipeline, used),
        folds=pipeline.fold is not None, windowed=pipeline.windows is not None,
        emit_sinks=pipeline.emit_sinks,
        options=None if options is None else msgspec.to_builtins(options),
        limits=limits, **fixed)
    return Settings(manifest, pipeline, shown, notes)


def _not_said(pipeline: Pipeline, assignments: Iterable[Assignment]) -> list[str]:
    """What is required and nobody has set, as problems."""
    said = {".".join(one.key) for one in assignments}
    flags = {option: flag for flag, option in pipeline.flags.items()}
    return [f"{option}: expected a value, got nothing: give " +
            (f"--{flags[option]} VALUE" if option in flags else f"--set {option}=VALUE")
            for option in pipeline.required if option not in said]


def _written(said: Iterable[Assignment]) -> dict[str, Any]:
    """What people are shown in place of values with secrets, by the last part of the key."""
    last = {assignment.key[-1]: assignment for assignment in said}
    return {name: masked(one.written, name) for name, one in last.items() if one.written is not msgspec.UNSET}


def _why_not_empty(window: WindowOptions) -> str:
    """Why windows with keys cannot be emitted when they have no records."""
    return "" if window.empty == "skip" else (
        "empty: expected \"skip\", for these windows have keys, and nobody knows which of them there are, "
        f"got {window.empty!r}")


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
    shown: dict[str, Any], notes: list[str]
) -> Component[Any] | None:
    """Lay values over a source's or sink's options, or over those of another one if type or address say so."""
    said = sections.get(tuple(section.split(".", 1)), [])
    options = options_in(section, default, said, problems, notes)
    if options is None:
        return None
    values = [one for one in said if one.key[-1] != "type"]
    shown[section] = {"type": type_name(type(options), section), **masked(msgspec.to_builtins(options)),
                      **_written(values)}
    return component_of(options)
