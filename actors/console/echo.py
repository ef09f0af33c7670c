"""``thresher echo``: the effective configuration as TOML, references to secrets as they were written."""

from __future__ import annotations

import json
import re
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def render(shown: dict[str, Any]) -> str:
    """Return TOML: first the plain keys, then the tables.

    What is None is left out: TOML has no word for it. A value with None in its midst (records of a source in memory) is
    left out as a whole, and said to be.
    """
    lines = [f"{name} = {_value(value)}" for name, value in shown.items() if not isinstance(value, dict)]
    for name, table in shown.items():
        if isinstance(table, dict):
            section, dot, sink = name.partition(".")
            lines += ["", f"[{section}{dot}{_key(sink) if dot else ''}]"]
            lines += [_line(key, value) for key, value in table.items() if value is not None]
    return "\n".join(lines)


def _line(key: str, value: Any) -> str:
    if _has_none(value):
        return f"# {_key(key)}: TOML has no word for null, which is within it: thresher echo --json shows it"
    return f"{_key(key)} = {_value(value)}"


def _has_none(value: Any) -> bool:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return value is None or any(map(_has_none, parts))


def nested(shown: dict[str, Any]) -> dict[str, Any]:
    """The same as a map that has the form of the file: ``sinks`` holds each sink."""
    tree: dict[str, Any] = {}
    for name, value in shown.items():
        section, dot, sink = name.partition(".")
        if dot:
            tree.setdefault(section, {})[sink] = value
        else:
            tree[name] = value
    return tree


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _value(name)


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case list() | tuple():
            return "[" + ", ".join(map(_value, value)) + "]"
        case dict():
            return "{" + ", ".join(f"{_key(str(key))} = {_value(part)}" for key, part in value.items()) + "}"
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value)
