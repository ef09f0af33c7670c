"""``docs/configuration.md``: every option there is, from the structs that declare it."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources
from typing import Any

from actors.console import catalogue
from actors.console.catalogue import Section
from actors.runtime.pipeline import Pipeline


def render() -> str:
    """The page."""
    preface = (resources.files("actors.console") / "templates" / "configuration.preface.md").read_text(encoding="utf-8")
    parts = [preface, "## Sections\n\nThese are the same for every pipeline."]
    parts += [_section(f"`[{section.name}]`", section) for section in catalogue.sections()]
    parts.append(
        "## Sources\n\n`[source]` with a `type`: one of these, or `module:Class` of yours. Without a `type` it is the "
        "application's.")
    parts += [_section(f'`type = "{section.name}"` in `[source]`', section) for section in catalogue.sources()]
    parts.append(
        "## Sinks\n\n`[sinks.NAME]` with a `type`: one of these, or `module:Class` of yours. The names are the "
        "application's. `docs/sinks.md` says what each one promises.")
    parts += [_section(f'`type = "{section.name}"` in `[sinks.NAME]`', section) for section in catalogue.sinks()]
    parts.append("## Dead letters\n\n`[dead_letters]`: what becomes of rejected records; `docs/dead-letters.md`.")
    parts += [_section(f'`type = "{section.name}"` in `[dead_letters]`', section) for section in catalogue.letters()]
    parts.append("## Applications\n\nTheir own options, in `[options]`, and which of the defaults above they change.")
    parts += [_application(name, pipeline) for name, pipeline in catalogue.pipelines().items()]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _section(title: str, section: Section) -> str:
    return "\n\n".join([f"### {title}", section.text, _table(section)])


def _table(section: Section) -> str:
    if not section.options:
        return "It has no options."
    return _rows(("key", "takes", "default", "meaning"), (
        (f"`{option.name}`", option.form, _default(option), option.text) for option in section.options))


def _default(option: catalogue.Option) -> str:
    """The default; a large number of bytes once more in units that can be read."""
    if not option.default:
        return "has to be given"
    size = int(option.default) if option.default.isdecimal() and "bytes" in option.form else 0
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size and size % factor == 0:
            return f"`{option.default}` ({size // factor} {unit})"
    return f"`{option.default}`"


def _application(name: str, pipeline: Pipeline) -> str:
    sinks = ", ".join(f"`{sink}` ({_type(options)})" for sink, options in pipeline.sinks.items())
    parts = [f"### `{name}`", f"Source: {_type(pipeline.source)}. Sinks: {sinks}."]
    if pipeline.options is not None:
        section = catalogue.section_of(name, type(pipeline.options))
        parts += [section.text, _table(section)]
    else:
        parts.append("It has no options of its own.")
    for title, each in ((f"`run {name}`", pipeline), (f"`run {name} --query`", pipeline.query)):
        if each is not None:
            parts += _differences(title, each)
    return "\n\n".join(parts)


def _type(options: Any) -> str:
    return type(options).__module__.rpartition(".")[2]


def _differences(title: str, pipeline: Pipeline) -> list[str]:
    """The flags and the changed defaults of a pipeline."""
    parts = []
    if pipeline.flags:
        flags = ", ".join(f"`--{flag}` ({option})" for flag, option in pipeline.flags.items())
        parts.append(f"Flags of {title}: {flags}.")
    changed = [(f"`{name}.{key}`", f"`{catalogue.as_toml(value)}`")
               for name, values in catalogue.changes(pipeline).items() for key, value in values.items()]
    if changed:
        parts += [f"Defaults of {title}:", _rows(("key", "default"), changed)]
    return parts


def _rows(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *lines])
