"""The page of an application's own (``Pipeline.browse``): what it is answered from, and what is sent.

    the sinks' stores ──open_store──▶ Browse.items, Browse.charts ──thinned──▶ JSON

The stores are opened for each answer and closed after it, so that nothing is held while nobody asks, and that a store
that was made anew is seen as it is. What the application raises is shown in the page's own words, and ends nothing.
Used by one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

import msgspec

from actors.runtime.browse import Browse, Charts, Look, thinned
from actors.runtime.errors import ConfigError, Retryable
from actors.runtime.manifest import Manifest, application
from actors.runtime.pipeline import Pipeline
from actors.runtime.questions import Opened, Question, fitting, open_store
from actors.runtime.stored import NothingStored

#: Most items of one answer.
MOST = 200


class Browsing:
    """Answers for one application.

    Args:
        manifest: of the run, or of one that there might be.
        is_run: whether it goes on, and has a dashboard beside the page.
    """

    def __init__(self, manifest: Manifest, is_run: bool) -> None:
        self._manifest = manifest
        self._is_run = is_run
        self._loaded: tuple[Pipeline, msgspec.Struct | None] | None = None

    def about(self) -> bytes:
        """``{"name", "title", "noun", "times", "within", "has_dashboard"}``; an empty title: the application has no
        such page, or none that can be imported now."""
        try:
            browse = self._application()[0].browse
        except Exception:  # the application's module is no monitor's business; its panel says what is wrong
            browse = None
        said = {"title": "", "noun": "", "times": "", "within": ""} if browse is None else {
            "title": browse.title, "noun": browse.noun, "times": browse.times, "within": browse.within}
        return msgspec.json.encode({"name": self._manifest.name, **said, "has_dashboard": self._is_run})

    def items(self, look: Look) -> bytes:
        """``{"items": Items or null, "empty": why there is nothing, "problem": ""}``."""
        look = msgspec.structs.replace(look, most=MOST)
        return self._answered("items", lambda browse, store, given: browse.items(
            store, look, **fitting(browse.items, given)))

    def charts(self, item: str) -> bytes:
        """``{"charts": Charts or null, "empty", "problem"}``, each line thinned."""
        return self._answered("charts", lambda browse, store, given: _small(
            browse.charts(store, item, **fitting(browse.charts, given))))

    def _answered(self, name: str, ask: Callable[[Browse, Opened, dict[str, Any]], Any]) -> bytes:
        answer: dict[str, Any] = {name: None, "empty": "", "problem": ""}
        try:
            pipeline, options = self._application()
            if pipeline.browse is None:
                raise ConfigError("this application has no such page")
            sinks = {sink: component.load() for sink, component in self._manifest.sinks.items()}
            items = cast("Callable[..., Iterable[Any]]", pipeline.browse.items)  # of a question only its needs count
            question = Question(answer=items, needs=pipeline.browse.needs)
            given = {"options": options, "window": self._manifest.window}
            with open_store(question, sinks, Path(self._manifest.state)) as store:
                answer[name] = ask(pipeline.browse, store, given)
            return msgspec.json.encode(answer)
        except NothingStored:
            said = {"empty": "Nothing has been written yet."}
        except Retryable as error:
            said = {"problem": f"The store cannot be asked now: {error}"}
        except ConfigError as error:
            said = {"problem": f"As it is configured there is nothing to show: {error}"}
        except Exception as error:  # of the application's function, or of what cannot be sent
            said = {"problem": f"{type(error).__name__}: {error}"}
        return msgspec.json.encode({**answer, name: None, **{
            key: text.encode(errors="backslashreplace").decode() for key, text in said.items()}})

    def _application(self) -> tuple[Pipeline, msgspec.Struct | None]:
        if self._loaded is None:
            self._loaded = application(self._manifest)
        return self._loaded


def _small(charts: Charts | None) -> Charts | None:
    """The same with as many points as can be seen."""
    if charts is None:
        return None
    return msgspec.structs.replace(charts, charts=[thinned(chart) for chart in charts.charts])
