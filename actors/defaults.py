"""What a PIPELINE may leave out, filled in."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from actors.runtime.errors import ConfigError
from actors.runtime.pipeline import Pipeline
from actors.wiring import require_fit


def completed(
    pipeline: Pipeline, name: str, where: str = "PIPELINE", line: Callable[[str], str] = lambda field: ""
) -> Pipeline:
    """Return a pipeline with a name and a place for its dead letters.

    Args:
        pipeline: as the application has it.
        name: its name, when it has none of its own.
        where: what errors call it.
        line: where a field of it is given, for the end of an error, e.g. `` (words.py:14)``.

    Raises:
        ConfigError: its parts do not fit together.
    """
    try:
        require_fit(pipeline)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}{line(str(error).partition(':')[0])}") from None
    letters = pipeline.dead_letters
    if pipeline.name and letters is not None:
        return pipeline
    if letters is None:
        from actors.sinks.dead_letters import DeadLetters

        letters = DeadLetters()
    return msgspec.structs.replace(pipeline, name=pipeline.name or name, dead_letters=letters)
