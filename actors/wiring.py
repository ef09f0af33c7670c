"""Whether the parts of a PIPELINE fit together: what they are, how they are called, who is fed.

    Pipeline(source=Files, …)                        a class in the place of a value
    Pipeline(parse=lambda: …, …)                     a function that cannot be called as it will be
    Pipeline(sinks={"a": …, "b": …}, route=drop, …)  a sink that nothing ever reaches

Nothing is called and nothing opened. Each problem begins with the field, so that ``line_of`` finds the line that has to
change.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import msgspec

from actors.runtime.browse import Browse, require_browse
from actors.runtime.errors import ConfigError
from actors.runtime.lift import said_to_return
from actors.runtime.panel import MAIN, Panel
from actors.runtime.pipeline import Distinct, Fold, Pipeline, Windows, drop, route_of
from actors.runtime.ports import SinkOptions, SourceOptions
from actors.runtime.questions import Question, require_questions


class _Call(NamedTuple):
    """How a function of an application is called: so many values, and what else it may ask for by name."""

    given: tuple[str, ...]
    asked: tuple[str, ...] = ("options",)


_CALLS = {
    "parse": _Call(("line",), ("options", "unit", "record")), "check": _Call(("value",)), "route": _Call(("value",)),
    "encode": _Call(("value",)), "bulk": _Call(("data",), ("options", "lines")),
    "fold.partials": _Call(("values",), ("options", "unit")), "fold.merge": _Call(("numbers", "numbers"), ()),
    "windows.time": _Call(("value",)), "windows.key": _Call(("value",)), "windows.emit": _Call(("window", "groups")),
    "windows.why_not": _Call(("window_options",)), "distinct.emit": _Call(("numbers",), ()),
    "distinct.report": _Call(("totals",), ()), "panel.draw": _Call(("aggregates",)),
    "browse.items": _Call(("store", "look"), ("options", "window")),
    "browse.charts": _Call(("store", "id"), ("options", "window")),
}
#: What a field is to be, and an example of one; None is a value of those that may be left out.
_VALUES: dict[str, tuple[type, str]] = {
    "source": (SourceOptions, "options of a source, e.g. Files(pattern=\"*.log\")"),
    "dead_letters": (SinkOptions, "options of a sink, e.g. DeadLetters()"),
    "fold": (Fold, "Fold(partials=…, keys=(…), fields=(…))"),
    "windows": (Windows, "Windows(time=…, emit=…)"),
    "distinct": (Distinct, "Distinct(limit=…, emit=…)"),
    "panel": (Panel, "Panel(title=…, draw=…)"),
    "browse": (Browse, "Browse(title=…, needs={\"out\": \"range\"}, items=…, charts=…)"),
    "options": (msgspec.Struct, "a value of a msgspec.Struct of your own, e.g. Options()"),
    "query": (Pipeline, "a Pipeline"),
}
_SHOWN = 60
_LEFT_OUT = {"check", "route", "bulk", "fold.merge", "windows.key", "windows.why_not", "distinct.report"}
#: What makes one value of a record.
_OF_ONE = {"parse", "check", "route", "encode"}
_FEED = re.compile(r"[a-z0-9_-]+")


def require_fit(pipeline: Pipeline) -> None:
    """Make sure that the parts of a pipeline are what they are taken for.

    Raises:
        ConfigError: one is not; the text begins with its field.
    """
    for look in (_types, _signatures, _reach):
        for problem in look(pipeline):
            raise ConfigError(problem)
    route_of(pipeline)
    require_questions(pipeline.questions, pipeline.sinks)
    require_browse(pipeline.browse, pipeline.sinks)


# What they are ----------------------------------------------------------------------------------------------------


def _types(pipeline: Pipeline) -> Iterator[str]:
    for field, (wanted, example) in _VALUES.items():
        value = getattr(pipeline, field)
        if (value is not None or field == "source") and not isinstance(value, wanted):
            yield f"{field}: expected {example}, got {_what(value, wanted)}"
    yield from _of_mapping("sinks", pipeline.sinks, SinkOptions, "{\"out\": Jsonl()}: options of each sink")
    yield from _of_mapping("questions", pipeline.questions, Question, "{\"most\": Question(answer=…)}")
    yield from _of_mapping("feeds", pipeline.feeds, Panel, "{\"top\": Panel(title=…, draw=…)}")
    yield from _of_mapping("flags", pipeline.flags, str, "{\"host\": \"options.host\"}")
    yield from _names("emit_sinks", pipeline.emit_sinks)
    yield from _names("required", pipeline.required)
    if pipeline.fold is not None:
        yield from _names("fold.keys", pipeline.fold.keys)
        yield from _names("fold.fields", pipeline.fold.fields)
    for each in msgspec.structs.fields(Pipeline):
        value = getattr(pipeline, each.name)
        if isinstance(each.default, msgspec.Struct) and not isinstance(value, wanted := type(each.default)):
            yield f"{each.name}: expected {wanted.__name__}(…), got {_what(value, wanted)}"


def _of_mapping(field: str, found: Any, wanted: type, example: str) -> Iterator[str]:
    if not isinstance(found, Mapping):
        yield f"{field}: expected {example}, got {_what(found, dict)}"
        return
    for name, value in found.items():
        if not isinstance(name, str):
            yield f"{field}: expected names that are texts, got {_short(name)}"
        elif not isinstance(value, wanted):
            yield f"{field}[{name!r}]: expected {example}, got {_what(value, wanted)}"


def _names(field: str, found: Any) -> Iterator[str]:
    if not isinstance(found, tuple | list) or not all(isinstance(name, str) for name in found):
        example = f"({found!r},)" if isinstance(found, str) else "(\"name\",)"
        yield f"{field}: expected a tuple of names, as in {example}, got {_what(found, tuple)}"


def _what(value: Any, wanted: type) -> str:
    """What somebody has given, as a person would call it; with what was meant, if that is clear."""
    if isinstance(value, type):
        return f"the class {value.__name__}" + (
            f": write {value.__name__}(…)" if issubclass(value, wanted) else "")
    if callable(value) and hasattr(value, "__name__"):
        return f"the function {value.__name__}"
    if isinstance(value, SourceOptions | SinkOptions):
        return f"{type(value).__name__}(…), which is a {'source' if isinstance(value, SourceOptions) else 'sink'}"
    return "nothing" if value is None else (
        f"the text {_short(value)}" if isinstance(value, str) else f"{type(value).__name__} {_short(value)}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN - 1]}…"


# How they are called ----------------------------------------------------------------------------------------------


def _signatures(pipeline: Pipeline) -> Iterator[str]:
    for field, function in _functions(pipeline).items():
        call = _CALLS[field]
        if function is None and field in _LEFT_OUT:
            continue
        if not callable(function):
            yield f"{field}: expected a function of ({', '.join(call.given)}), got {_what(function, object)}"
        elif problem := _why_no_value(function, field) or _why_not_called(function, call, pipeline.options is not None):
            yield f"{field}: {problem}"


def _functions(pipeline: Pipeline) -> dict[str, Any]:
    """The functions of a pipeline by their fields, those that are left out as None."""
    found: dict[str, Any] = {}
    for field in _CALLS:
        owner, _, name = field.rpartition(".")
        part = getattr(pipeline, owner) if owner else pipeline
        if part is not None:
            found[field] = getattr(part, name)
    return found


def _why_no_value(function: Callable[..., Any], field: str) -> str:
    """Why a function does not return what it makes (a generator would be taken for that), or nothing."""
    kind = "an async function" if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function) else ""
    if not kind and field in _OF_ONE:
        kind = "a generator (there is a yield in it)" if inspect.isgeneratorfunction(function) else ""
        said = said_to_return(function)
        if not kind and said is Generator:
            kind = "one that is said to return a generator"
        elif not kind and field == "route" and said is list:
            kind = "one that is said to return a list"
    if not kind:
        return ""
    several = {"parse": ", or return Many([...]) for several values of one record",
               "route": ", or return a tuple of names for several sinks"}.get(field, "")
    return f"expected a function that returns one value for a record, got {kind}: return it{several}" if (
        field in _OF_ONE) else f"expected a function that returns what it makes, got {kind}"


def _why_not_called(function: Callable[..., Any], call: _Call, has_options: bool) -> str:
    """Why a function cannot be called so, or nothing."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a built-in that does not say
        return ""
    is_chunk = getattr(function, "__per_chunk__", False)
    by_name = [f"{name}s" if name == "record" and is_chunk else name for name in call.asked]
    there = list(signature.parameters.values())
    asked = [each.name for each in there[len(call.given):] if each.name in by_name]
    if "options" in asked and not has_options:
        if signature.parameters["options"].default is inspect.Parameter.empty:
            return "it has a parameter options, and the Pipeline has none: give options=Options()"
        asked.remove("options")
    try:
        signature.bind(*call.given, **dict.fromkeys(asked))
    except TypeError:
        bare = inspect.Signature([each.replace(annotation=inspect.Parameter.empty) for each in there])
        more = f" and, by name, {' or '.join(by_name)}" if by_name else ""
        return (f"expected a function of ({', '.join(call.given)}){more}, "
                f"got {getattr(function, '__name__', _short(function))}{bare}")
    return ""


# Who is fed -------------------------------------------------------------------------------------------------------


def _reach(pipeline: Pipeline) -> Iterator[str]:
    sinks = ", ".join(pipeline.sinks) or "none"
    emits = pipeline.windows is not None or pipeline.distinct is not None
    for name in pipeline.emit_sinks:
        if name not in pipeline.sinks:
            yield f"emit_sinks: expected names of sinks ({sinks}), got {name!r}"
        elif not emits:
            yield f"emit_sinks: nothing ever reaches {name!r}: only windows and distinct emit, and there are none"
    if pipeline.windows is not None and pipeline.fold is None:
        yield "windows: nothing is folded into them: give fold=Fold(…)"
    yield from _unreached(pipeline)
    yield from _panels(pipeline)
    fields = () if pipeline.options is None else pipeline.options.__struct_fields__
    named: dict[str, Sequence[str]] = {"flags": [*pipeline.flags.values()], "required": pipeline.required}
    for field, keys in named.items():
        for key in keys:
            section, _, name = key.partition(".")
            if section == "options" and name not in fields:
                yield f"{field}: expected an option of the Pipeline ({', '.join(fields) or 'it has none'}), got {key!r}"


def _unreached(pipeline: Pipeline) -> Iterator[str]:
    """Sinks that the route never names, where it says which it does."""
    names, way = (set[str](), "route=drop") if pipeline.route is drop else (
        _said(pipeline.route), "the route is said to return other names only")
    own = [name for name in pipeline.sinks if name not in pipeline.emit_sinks]
    if names is None:
        return
    yield from (f"route: it is said to return {name!r}, and the sinks are {', '.join(own) or '(none)'}"
                for name in sorted(names.difference(own)))
    yield from (f"sinks[{name!r}]: nothing ever reaches it: {way}" for name in own if name not in names)


def _said(route: Callable[..., Any] | None) -> set[str] | None:
    """The names that a route is annotated with (``Literal``); None: it does not say."""
    try:
        hint = get_type_hints(route).get("return")
    except Exception:  # an annotation that only a type checker sees, or nothing of the kind
        return None
    names = get_args(hint) if get_origin(hint) is Literal else ()
    return set(names) if names and all(isinstance(name, str) for name in names) else None


def _panels(pipeline: Pipeline) -> Iterator[str]:
    """Panels whose names do not fit into an address, or whose sinks are not there."""
    for name in pipeline.feeds:
        if name == MAIN or not _FEED.fullmatch(name):
            yield f"feeds: expected names of small letters, digits, - and _, other than {MAIN!r}, got {name!r}"
    named = {"panel": pipeline.panel, **{f"feeds[{name!r}]": panel for name, panel in pipeline.feeds.items()}}
    for name, panel in named.items():
        if panel is not None and panel.sink and panel.sink not in pipeline.sinks:
            yield (f"{name}: expected a sink of the pipeline ({', '.join(pipeline.sinks)}) to draw from, "
                   f"got {panel.sink!r}")


# Where it is written ----------------------------------------------------------------------------------------------


def line_of(path: Path, attribute: str, field: str) -> int:
    """The line of a module on which a field of its pipeline is given; that of the pipeline, or 0, when it is not found.

    Args:
        path: the module's file.
        attribute: what the pipeline is called there.
        field: e.g. ``fold.keys`` or ``sinks['out']``.
    """
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return 0
    made = next((node for node in reversed(tree.body) if isinstance(node, ast.Assign | ast.AnnAssign)
                 and any(isinstance(name, ast.Name) and name.id == attribute for name in _targets(node))), None)
    if made is None:
        return 0
    found, line = made.value, made.lineno
    for part in field.partition("[")[0].split("."):
        given = found.keywords if isinstance(found, ast.Call) else []
        keyword = next((each for each in given if each.arg == part), None)
        if keyword is None:
            break
        found, line = keyword.value, keyword.value.lineno
    return line


def _targets(node: ast.Assign | ast.AnnAssign) -> list[ast.expr]:
    return node.targets if isinstance(node, ast.Assign) else [node.target]
