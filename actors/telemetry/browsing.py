"""The page of an application's own (``Pipeline.browse``): what it is answered from, and what is sent.

    the sinks' stores ──Opened──▶ Browse.items, Browse.charts ──thinned──▶ JSON

The stores are opened for each answer and closed after it, so that nothing is held while nobody asks, and that a store
that has grown, or was made anew, is seen as it is. What the application raises is shown in the page's own words, and
ends nothing. Used by one thread.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from actors.runtime.browse import Browse, Charts, thinned
from actors.runtime.manifest import Manifest, application
from actors.runtime.pipeline import Pipeline
from actors.runtime.questions import Opened, Question, open_store
from actors.runtime.stored import NothingStored

#: Most items of one answer.
MOST = 500


class Browsing:
    """Answers for one application.

    Args:
        manifest: of the run, or of a state directory that no run has now.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._loaded: tuple[Pipeline, msgspec.Struct | None] | None = None

    def about(self) -> bytes:
        """``{"name", "title", "noun", "most"}``; an empty title: the application has no such page, or none that can be
        imported now."""
        try:
            browse = self._application()[0].browse
        except Exception:  # the application's module is no monitor's business; its panel says what is wrong
            browse = None
        return msgspec.json.encode({
            "name": self._manifest.name, "title": browse.title if browse else "", "noun": browse.noun if browse else "",
            "most": MOST})

    def items(self, first: int | None, last: int | None) -> bytes:
        """``{"items": Items or null, "empty": why there is nothing, "problem": ""}``."""
        return self._answered("items", lambda browse, store: browse.items(store, first, last, MOST))

    def charts(self, item: str) -> bytes:
        """``{"charts": Charts or null, "empty", "problem"}``, each line thinned."""
        return self._answered("charts", lambda browse, store: _small(browse.charts(store, item)))

    def _answered(self, name: str, ask: Callable[[Browse, Opened], Any]) -> bytes:
        answer: dict[str, Any] = {name: None, "empty": "", "problem": ""}
        try:
            pipeline, _ = self._application()
            if pipeline.browse is None:
                raise LookupError("this application has no such page")
            sinks = {sink: component.load() for sink, component in self._manifest.sinks.items()}
            question = Question(answer=getattr(pipeline.browse, name), needs=pipeline.browse.needs)
            with open_store(question, sinks, Path(self._manifest.state)) as store:
                answer[name] = ask(pipeline.browse, store)
            return msgspec.json.encode(answer)
        except NothingStored as error:
            return msgspec.json.encode({**answer, name: None, "empty": str(error)})
        except Exception as error:  # of the application's function, of its store, or of what cannot be sent
            said = f"{type(error).__name__}: {error}".encode(errors="backslashreplace").decode()
            return msgspec.json.encode({**answer, name: None, "problem": said})

    def _application(self) -> tuple[Pipeline, msgspec.Struct | None]:
        if self._loaded is None:
            self._loaded = application(self._manifest)
        return self._loaded


def _small(charts: Charts | None) -> Charts | None:
    """The same with as many points as can be seen."""
    if charts is None:
        return None
    return msgspec.structs.replace(charts, charts=[thinned(chart) for chart in charts.charts])
