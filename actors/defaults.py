"""What a PIPELINE may leave out, filled in, and what is wrong with it whatever its configuration."""

from __future__ import annotations

import msgspec

from actors.runtime.errors import ConfigError
from actors.runtime.lift import bind_partials
from actors.runtime.pipeline import Pipeline, route_of


def completed(pipeline: Pipeline, name: str, where: str = "PIPELINE") -> Pipeline:
    """Return a pipeline with a name and a place for its dead letters.

    Args:
        pipeline: as the application has it.
        name: its name, when it has none of its own.
        where: what errors call it.

    Raises:
        ConfigError: its functions do not fit: it has no route and several sinks, or ``fold.partials`` needs what nobody
            gives.
    """
    try:
        route_of(pipeline)
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
