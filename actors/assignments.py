"""What was said, before it is known what it is said of: TOML, environment variables and ``--set`` as assignments.

A text that could be a TOML value keeps both readings (``123`` is a number, or three characters); the type of the option
decides. References to secrets are put in here, and what was written is kept for everything that people are shown.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from actors.runtime.options import Assignment

_PREFIX = "THRESHER_"
_REFERENCE = re.compile(r"\$\{(env|file):([^}]+)\}")


def lines_of(text: str) -> dict[tuple[str, ...], int]:
    """Return the line of each ``key = value`` and table of a TOML file, as far as a look at the lines can tell."""
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if match := re.match(r"\s*\[+\s*([^\]]+?)\s*\]", line):
            table = tuple(part.strip().strip("\"'") for part in match[1].split("."))
            lines.setdefault(table, number)
        elif match := re.match(r"\s*([\w.\"'-]+)\s*=", line):
            key = tuple(part.strip("\"'") for part in match[1].split("."))
            lines.setdefault((*table, *key), number)
    return lines


def flatten(data: Mapping[str, Any], prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every key and its value; a section without keys as an empty table."""
    for name, value in data.items():
        if value and isinstance(value, dict) and len(prefix) < (2 if (prefix or (name,))[0] == "sinks" else 1):
            yield from flatten(value, (*prefix, name))
        else:
            yield (*prefix, name), value


def from_environment(environ: Mapping[str, str], sinks: Iterable[str], problems: list[str]) -> Iterator[Assignment]:
    """``THRESHER_SECTION__KEY``, and ``THRESHER_STATE``; other names without two underscores are somebody else's."""
    spelt = {name.lower(): name for name in sinks}
    seen: dict[tuple[str, ...], str] = {}
    for name, text in sorted(environ.items()):
        key = tuple(name.removeprefix(_PREFIX).lower().split("__"))
        if not name.startswith(_PREFIX) or (len(key) == 1 and key != ("state",)):
            continue
        if key[0] == "sinks" and len(key) > 1:
            key = ("sinks", spelt.get(key[1], key[1]), *key[2:])
        where = f"environment {name}"
        if not all(key):
            problems.append(f"{where}: expected THRESHER_SECTION__KEY, e.g. THRESHER_PARSER__WORKERS, "
                            "got a name with an empty part")
        elif key in seen:
            problems.append(f"{where}: {seen[key]} says the same option {'.'.join(key)}: unset one of them")
        else:
            seen[key] = name
            yield _spoken(key, text, where)


def unheard(environ: Mapping[str, str], sections: Iterable[str]) -> Iterator[str]:
    """Variables with one underscore where two are meant: nobody reads them, so that is said."""
    known = tuple(sections)
    for name in sorted(environ):
        rest = name.removeprefix(_PREFIX)
        section = next((each for each in known if rest.lower().startswith(f"{each}_")), "")
        if name.startswith(_PREFIX) and section and "__" not in name:
            meant = f"{_PREFIX}{section.upper()}__{rest[len(section) + 1:]}"
            yield f"environment {name} is not read: {meant}, with two underscores, sets an option of [{section}]"


def from_sets(sets: Sequence[str], problems: list[str]) -> Iterator[Assignment]:
    """``KEY=VALUE`` texts."""
    for text in sets:
        name, equals, value = text.partition("=")
        key = tuple(part.strip() for part in name.split("."))
        if not equals:
            problems.append(f"--set {text}: expected KEY=VALUE, e.g. --set parser.workers=4")
        elif not all(key):
            problems.append(f"--set {text}: expected KEY=VALUE with a key like parser.workers, "
                            f"got {'no key' if key == ('',) else 'a key with an empty part'}")
        else:
            yield _spoken(key, value, f"--set {'.'.join(key)}")


def from_flag(flag: str, option: str, text: str) -> Assignment:
    """A flag of the command line that stands for an option."""
    return _spoken(tuple(option.split(".")), text, flag)


def _spoken(key: tuple[str, ...], text: str, where: str) -> Assignment:
    """A text that is a TOML value, or itself: which one, the type of the option decides."""
    reading = _reading(text)
    return Assignment(key, text, where) if reading is msgspec.UNSET else Assignment(key, reading, where, text)


def _reading(text: str) -> Any:
    """The text as a TOML value, UNSET when it is none."""
    try:
        found = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return msgspec.UNSET
    return found["value"] if found.keys() == {"value"} else msgspec.UNSET


def with_references(assignment: Assignment, environ: Mapping[str, str], problems: list[str]) -> Assignment:
    """Put in what ``${env:NAME}`` and ``${file:/path}`` stand for; people are shown what was written."""
    missing: list[str] = []

    def resolve(match: re.Match[str]) -> str:
        kind, name = match.groups()
        try:
            return environ[name] if kind == "env" else Path(name).read_text(encoding="utf-8").strip()
        except (KeyError, OSError, ValueError) as error:
            why = "is not set" if kind == "env" else str(getattr(error, "strerror", None) or "is no text").lower()
            missing.append(f"{assignment.where}: {'.'.join(assignment.key)}: {match[0]}: {name} {why}")
            return ""

    def put_in(value: Any) -> Any:
        match value:
            case str():
                return _REFERENCE.sub(resolve, value)
            case list():
                return [put_in(part) for part in value]
            case dict():
                return {name: put_in(part) for name, part in value.items()}
        return value

    value = put_in(assignment.value)
    if missing:
        problems += dict.fromkeys(missing)
        value = msgspec.UNSET
    elif value == assignment.value:
        return assignment
    otherwise = _reading(value) if isinstance(value, str) else put_in(assignment.otherwise)
    return Assignment(assignment.key, value, assignment.where, otherwise, assignment.value)
