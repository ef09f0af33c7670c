"""What a configuration needs that is installed on demand, looked for before anything starts."""

from __future__ import annotations

from actors.runtime.errors import ConfigError
from actors.runtime.extras import lacking
from actors.settings import Settings


def require_libraries(settings: Settings) -> None:
    """Make sure that sources, sinks and sets of distinct numbers have their libraries; of a dry run no sink is opened.

    Raises:
        ConfigError: some are not installed; says which, and how they are.
    """
    manifest = settings.manifest
    found = {f"source: type {settings.shown['source']['type']}": manifest.source.load().libraries()}
    for name, component in () if manifest.dry else manifest.sinks.items():
        found[f"sinks.{name}: type {settings.shown[f'sinks.{name}']['type']}"] = component.load().libraries()
    found["distinct"] = ("numpy",) if settings.pipeline.distinct is not None else ()
    problems = [f"{what} needs {missing}" for what, modules in found.items() if (missing := lacking(modules))]
    if problems:
        raise ConfigError("\n".join(problems))
