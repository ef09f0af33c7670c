"""What a PIPELINE may leave out, filled in, and what is wrong with it whatever its configuration."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Generator
from typing import Any

import msgspec

from actors.runtime.browse import require_browse
from actors.runtime.errors import ConfigError
from actors.runtime.lift import bind_partials, said_to_return
from actors.runtime.panel import MAIN
from actors.runtime.pipeline import Pipeline, route_of
from actors.runtime.questions import require_questions

_FEED = re.compile(r"[a-z0-9_-]+")


def completed(pipeline: Pipeline, name: str, where: str = "PIPELINE") -> Pipeline:
    """Return a pipeline with a name and a place for its dead letters.

    Args:
        pipeline: as the application has it.
        name: its name, when it has none of its own.
        where: what errors call it.

    Raises:
        ConfigError: its functions do not fit: one of them is a generator, it has no route and several sinks,
            ``fold.partials`` needs what nobody gives, a panel is drawn from a sink that there is not, or a question
            cannot be asked, or a page is made from no sink.
    """
    try:
        for part, function in (("parse", pipeline.parse), ("check", pipeline.check), ("route", pipeline.route),
                               ("encode", pipeline.encode)):
            _require_values(function, part)
        route_of(pipeline)
        _require_panels(pipeline)
        require_questions(pipeline.questions, pipeline.sinks)
        require_browse(pipeline.browse, pipeline.sinks)
        if pipeline.fold is not None:
            bind_partials(pipeline.fold.partials, pipeline.options)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    letters = pipeline.dead_letters
    if pipeline.name and letters is not None:
        return pipeline
    if letters is None:
        from actors.sinks.dead_letters import DeadLetters

        letters = DeadLetters()
    return msgspec.structs.replace(pipeline, name=pipeline.name or name, dead_letters=letters)


def _require_panels(pipeline: Pipeline) -> None:
    """Make sure that panels have names that fit into an address, and sinks that are there."""
    for name in pipeline.feeds:
        if name == MAIN or not _FEED.fullmatch(name):
            raise ConfigError("feeds: expected names of small letters, digits, - and _, "
                              f"other than {MAIN!r}, got {name!r}")
    named = {"panel": pipeline.panel, **{f"feeds[{name!r}]": panel for name, panel in pipeline.feeds.items()}}
    for name, panel in named.items():
        if panel is not None and panel.sink and panel.sink not in pipeline.sinks:
            raise ConfigError(f"{name}: expected a sink of the pipeline ({', '.join(pipeline.sinks)}) to draw from, "
                              f"got {panel.sink!r}")


def _require_values(function: Callable[..., Any] | None, part: str) -> None:
    """Make sure that a function returns what it makes of a record: a generator would be taken for that."""
    kind = "a generator (there is a yield in it)" if inspect.isgeneratorfunction(function) else (
        "an async function" if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function) else "")
    said = said_to_return(function)
    if not kind and said is Generator:
        kind = "one that is said to return a generator"
    elif not kind and part == "route" and said is list:
        kind = "one that is said to return a list"
    if kind:
        several = {"parse": ", or return Many([...]) for several values of one record",
                   "route": ", or return a tuple of names for several sinks"}.get(part, "")
        raise ConfigError(
            f"{part}: expected a function that returns one value for a record, got {kind}: return it{several}")
