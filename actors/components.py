"""Which source or sink a section means: the application's own, the one that ``type`` names, or that of an address.

    type = "sql"                              that one, from its own defaults
    topic = "kafka://127.0.0.1:9092/ratings"  the one that has addresses of this scheme in the same option as the
                                              application's own: the broker is one line
    neither of them                           the application's own, with values laid over it

What an application has set (in ``PIPELINE``) goes on to the one that an address chooses, where it has an option of that
name; where it has none, that is noted. What was *said* (file, environment, ``--set``) and fits nowhere is a problem, as
ever. An address and a ``type`` that contradict one another are refused: nobody can tell which of the two is meant.
"""

from __future__ import annotations

import difflib
import importlib
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from actors.runtime import loading
from actors.runtime.options import Assignment, build, masked, unknown_key
from actors.runtime.ports import REQUIRED, SinkOptions, SourceOptions, not_given
from actors.targets import told

Either = SourceOptions | SinkOptions
Kind = type[Either]
#: How a module says that it is a source or a sink. Its text is looked at: those that help them import client libraries.
_DECLARES = re.compile(r"^OPTIONS = ", re.MULTILINE)
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):")


def options_in(
    section: str, default: Any, said: Sequence[Assignment], problems: list[str], notes: list[str]
) -> Either | None:
    """Return the options that a section means; None where there is a problem.

    Args:
        section: ``source``, ``dead_letters``, or ``sinks.NAME``.
        default: what the application has there.
        said: the values of the section.
        problems: what is wrong is added to these.
        notes: what is not used of what the application has set is added to these.
    """
    named = next((one for one in reversed(said) if one.key[-1] == "type"), None)
    values = [one for one in said if one.key[-1] != "type"]
    where = said[0].where if said and named is None else section if named is None else named.where
    before = len(problems)
    if named is not None:
        kind = _named(section, named, problems)
        if kind is not None and (why := _contradiction(section, named, kind, values)):
            problems.append(why)
    elif why := unfit_for(section, type(default)):
        problems.append(f"PIPELINE: {section}: {why}, got {default!r}" if not isinstance(default, msgspec.Struct)
                        else f"PIPELINE: {section}: {why}")
        kind = None
    else:
        kind = _addressed(section, type(default), values, problems)
    if kind is None:
        return None
    base: dict[str, Any] = {}
    if kind is type(default):
        base = msgspec.to_builtins(default)
    elif named is None:
        base = _carried(section, default, kind, notes)
        values = _fitting(section, type(default), kind, values, problems)
    options = build(section, kind, base, values, problems, where)
    return None if len(problems) > before else options


def type_name(kind: type, section: str) -> str:
    """What ``type`` says for a kind of source or sink."""
    module, package = kind.__module__, _package(section)
    return module.removeprefix(f"{package}.") if module.startswith(f"{package}.") else f"{module}:{kind.__qualname__}"


def shipped(section: str) -> dict[str, Kind]:
    """Those sources or sinks that ship and fit here, by name.

    Args:
        section: ``source``, ``dead_letters``, or ``sinks.NAME``.
    """
    package = _package(section)
    names = [path.stem for folder in importlib.import_module(package).__path__ for path in Path(folder).glob("*.py")
             if _DECLARES.search(path.read_text(encoding="utf-8"))]
    kinds = {name: importlib.import_module(f"{package}.{name}").OPTIONS for name in sorted(names)}
    return {name: kind for name, kind in kinds.items() if not unfit_for(section, kind)}


def addressed_alike(section: str, own: Kind) -> dict[str, Kind]:
    """Those kinds that an address can choose in the place of this one, and this one, by the schemes of addresses.

    Args:
        section: ``source``, ``dead_letters``, or ``sinks.NAME``.
        own: what the application has there.
    """
    name = own.addressed_by
    others = [kind for kind in shipped(section).values() if kind.addressed_by == name] if name else []
    return {scheme: kind for kind in (*others, own) for scheme in kind.schemes}


# By its address ---------------------------------------------------------------------------------------------------


def _addresses(kind: Kind, values: Iterable[Assignment]) -> tuple[Assignment, list[str]] | None:
    """What was said last of the option that is the address of a kind, and the addresses in it; None: nothing."""
    found = [one for one in values if kind.addressed_by and one.key[-1] == kind.addressed_by]
    for reading in (found[-1].value, found[-1].otherwise) if found else ():
        texts = reading if isinstance(reading, list) else [reading]
        if texts and all(isinstance(text, str) for text in texts):
            return found[-1], texts
    return None


def _scheme(address: str) -> str:
    found = _SCHEME.match(address)
    return found[1] if found else ""


def _addressed(section: str, own: Kind, values: Sequence[Assignment], problems: list[str]) -> Kind | None:
    """Return the kind that the address means: the application's own where it has no scheme of another."""
    said = _addresses(own, values)
    if said is None or {_scheme(text) for text in said[1]} <= {"", *own.schemes}:
        return own
    alike = addressed_alike(section, own)
    unknown = [text for text in said[1] if _scheme(text) not in alike and "://" in text]
    if unknown:
        problems.append(f"{said[0].where}: {section}.{own.addressed_by}: expected an address that begins with "
                        f"{' or '.join(f'{scheme}:' for scheme in alike)}, got {_shown(said[0])}")
        return None
    kinds = {alike.get(_scheme(text), own) for text in said[1]}
    if len(kinds) > 1:
        names = " and ".join(sorted(f"'{type_name(kind, section)}'" for kind in kinds))
        problems.append(f"{said[0].where}: {section}.{own.addressed_by}: expected addresses of one type, got some of "
                        f"{names}: {_shown(said[0])}")
        return None
    return kinds.pop()


def _contradiction(section: str, named: Assignment, kind: Kind, values: Sequence[Assignment]) -> str:
    """Why a ``type`` and an address cannot both be meant, or nothing."""
    said = _addresses(kind, values)
    if said is None or not kind.schemes or {_scheme(text) for text in said[1]} <= {"", *kind.schemes}:
        return ""
    alike = addressed_alike(section, kind)
    other = next((alike[_scheme(text)] for text in said[1] if alike.get(_scheme(text), kind) is not kind), None)
    if other is None:
        return ""
    return (f"{said[0].where}: {section}.{kind.addressed_by}: {_shown(said[0])} is an address of the type "
            f"'{type_name(other, section)}', but {named.where} says {section}.type = {named.shown!r}: leave out one of "
            "the two (an address alone says which type)")


def _shown(said: Assignment) -> str:
    """An address as people may see it."""
    return repr(masked(said.shown))


def _carried(section: str, default: Either, kind: Kind, notes: list[str]) -> dict[str, Any]:
    """What the application has set that the kind of an address knows, too; of the rest a note is made."""
    usual = {field.name: _usual(field) for field in msgspec.structs.fields(type(default))}
    changed = {name: value for name, value in msgspec.to_builtins(default).items() if value != usual[name]}
    known = {field.name for field in msgspec.structs.fields(kind)}
    own, other = type_name(type(default), section), type_name(kind, section)
    notes += [f"{section}.{name} = {masked(value, name)!r}, which the application has set, is not used: it is an "
              f"option of the type '{own}', and the address means the type '{other}', which has none of that name"
              for name, value in changed.items() if name not in known]
    return {name: value for name, value in changed.items() if name in known}


def _usual(field: msgspec.structs.FieldInfo) -> Any:
    """The default of a field as plain data; UNSET when there is none."""
    if field.default_factory is not msgspec.NODEFAULT:
        return msgspec.to_builtins(field.default_factory())
    return msgspec.UNSET if field.default is msgspec.NODEFAULT else msgspec.to_builtins(field.default)


def _fitting(
    section: str, own: Kind, kind: Kind, values: Sequence[Assignment], problems: list[str]
) -> list[Assignment]:
    """Return the values that the kind of an address has; of those that only the application's own has, say so."""
    valid = [field.name for field in msgspec.structs.fields(kind)]
    lost = {field.name for field in msgspec.structs.fields(own)} - set(valid)
    for one in values:
        if one.key[-1] in lost:
            problems.append(
                f"{unknown_key(one.where, f'{section}.{one.key[-1]}', f'valid keys in [{section}]', valid)}\n"
                f"  it is an option of the type '{type_name(own, section)}', and the address means the type "
                f"'{type_name(kind, section)}'")
    return [one for one in values if one.key[-1] not in lost]


# By its name ------------------------------------------------------------------------------------------------------


def _named(section: str, named: Assignment, problems: list[str]) -> Kind | None:
    """Return the kind that ``type`` says."""
    name = next((text for text in (named.value, named.otherwise) if isinstance(text, str)), None)
    try:
        if named.value is msgspec.UNSET:
            return None
        if name is None:
            raise TypeError("expected a text")
        kind = loading.named(name) if ":" in name else importlib.import_module(f"{_package(section)}.{name}").OPTIONS
        why = unfit_for(section, kind)
    except (Exception, SystemExit) as error:
        why = str(error) if isinstance(error, (ImportError, AttributeError, ValueError, TypeError)) else told(error)
    if not why:
        assert isinstance(kind, type)
        return kind
    known = shipped(section)
    close = difflib.get_close_matches(name or "", [] if name in known else known, 1)
    why = f"; did you mean '{close[0]}'?" if close else f" ({why})"
    if named.shown != named.value:  # it may hold a secret
        why = ""
    problems.append(f"{named.where}: {section}.type: expected {', '.join(known)} or module:class, "
                    f"got {named.shown!r}{why}")
    return None


def unfit_for(section: str, kind: Any) -> str:
    """Why this is not the options struct of a source, a sink or a dead-letter store, or nothing."""
    if not isinstance(kind, type) or not issubclass(kind, msgspec.Struct):
        return "expected a class that is a msgspec.Struct"
    if vars(sys.modules[kind.__module__]).get(kind.__qualname__) != kind:
        return "expected a class at the top of its module"
    wanted, base, other = ("source", SourceOptions, SinkOptions) if section == "source" else (
        "sink", SinkOptions, SourceOptions)
    if issubclass(kind, other):
        return f"{kind.__name__} is a {'source' if wanted == 'sink' else 'sink'}, expected a {wanted}"
    if not issubclass(kind, base):
        lacks = [name for name in REQUIRED[base] if name not in dir(kind)]
        return (f"{kind.__name__} is no {wanted}: it does not inherit from thresher.{wanted}s.{base.__name__}"
                + (f", and has no {', '.join(lacks)}" if lacks else ""))
    assert issubclass(kind, (SinkOptions, SourceOptions))
    if missing := not_given(kind):
        return f"{kind.__name__} is no {wanted}: it has no {', '.join(missing)}"
    takes = kind.takes if issubclass(kind, SinkOptions) else ()
    if wanted == "sink" and ("letters" if section == "dead_letters" else "items") not in takes:
        return f"{kind.__name__} takes {' and '.join(takes)}"
    return ""


def _package(section: str) -> str:
    return "actors.sources" if section == "source" else "actors.sinks"
