"""Options: values laid over typed defaults, with errors that say what, expected, got, where, and how to mend it.

Options are frozen ``msgspec`` structs declared beside the code that reads them; this module knows none of them, and no
file format. A value comes as an ``Assignment``: a dotted key, the value, and where it was said.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar, get_type_hints

import msgspec

S = TypeVar("S", bound=msgspec.Struct)


class Assignment(msgspec.Struct, frozen=True):
    """One value that somebody set.

    Attributes:
        key: path of the option, e.g. ``("parser", "workers")``.
        value: plain data.
        where: ``config/x.toml:7``, ``environment THRESHER_PARSER__WORKERS`` or ``--set parser.workers``.
    """

    key: tuple[str, ...]
    value: Any
    where: str


def overlay(section: str, default: S, assignments: Iterable[Assignment], problems: list[str]) -> S:
    """Return ``default`` with values laid over it; each problem is added to ``problems`` and its value left out."""
    kind = type(default)
    return build(section, kind, msgspec.to_builtins(default), assignments, problems) or default


def build(
    section: str, kind: type[S], base: dict[str, Any], assignments: Iterable[Assignment], problems: list[str],
    where: str = "",
) -> S | None:
    """Return a ``kind`` from base values and assignments, or None when something required is missing.

    ``where`` is where the section itself was said, for what is missing in it.
    """
    hints = get_type_hints(kind, include_extras=True)
    valid = kind.__struct_fields__
    values = dict(base)
    for assignment in assignments:
        name = assignment.key[-1]
        where = where or assignment.where
        if name not in valid:
            problems.append(unknown_key(assignment.where, f"{section}.{name}", f"valid keys in [{section}]", valid))
            continue
        try:
            msgspec.convert(assignment.value, hints[name])
        except msgspec.ValidationError as error:
            problems.append(wrong_value(assignment.where, f"{section}.{name}", str(error), assignment.value))
            continue
        values[name] = assignment.value
    missing = [field.name for field in msgspec.structs.fields(kind) if field.required and field.name not in values]
    problems += [f"{where}: {section}.{name}: expected a value, got nothing" for name in missing]
    if missing:
        return None
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        problems.append(f"{where}: [{section}]: {_plain(str(error))}")
        return None


def unknown_key(where: str, key: str, what: str, valid: Sequence[str]) -> str:
    """The text for a key that does not exist."""
    lines = [f"{where}: unknown key '{key}'", f"  {what}: {', '.join(sorted(valid)) or '(none)'}"]
    close = [found for part in key.split(".") for found in difflib.get_close_matches(part, valid, 1)]
    if close:
        lines.append(f"  did you mean '{close[0]}'?")
    return "\n".join(lines)


def wrong_value(where: str, key: str, error: str, value: Any) -> str:
    """The text for a value of the wrong type, or out of range."""
    expected = _plain(error).partition(", got")[0].partition(" - at ")[0]
    return f"{where}: {key}: {expected[:1].lower()}{expected[1:]}, got {value!r}"


def _plain(error: str) -> str:
    return error.replace("`", "")
