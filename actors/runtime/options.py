"""Options: values laid over typed defaults, with errors that say what, expected, got, where, and how to mend it.

Options are frozen ``msgspec`` structs declared beside the code that reads them; this module knows none of them, and no
file format. A value comes as an ``Assignment``: a dotted key, the value, and where it was said. What a type cannot say,
a struct's ``__post_init__`` checks: it raises ValueError or ConfigError with a text that begins with the field's name,
as ``server: expected host:port, got 'x'``.
"""

from __future__ import annotations

import difflib
import enum
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from actors.runtime.errors import ConfigError

S = TypeVar("S", bound=msgspec.Struct)
#: In an address: what is between the user's name, which may itself have an @ or a / in it that is not encoded, and the
#: last @, also where the scheme is written wrong or is missing.
_PASSWORD = re.compile(
    r"(?:(?<=:/)|^(?=//))(/{0,2}[^:\s]*):(.*)@|(?:^|(?<=[\"'=,\[]))([^\s:/\"']*):([^\s/\"'][^\"']*)@")
#: What stands behind a question mark under a name that is one of a secret.
_PARAMETER = re.compile(
    r"(?<=[?&;])([^=&;#\s?]*(?:passw|passphrase|pwd|secret|token|credential|signature|jaas|(?:api|access|private|account|"
    r"shared)[._-]?key)[^=&;#\s?]*|key|sig|auth)=([^&#\s\"']*)", re.IGNORECASE)
#: No address of ours has a fragment: what is behind a # there is part of something else, such as a password.
_FRAGMENT = re.compile(r"(://[^\s#\"']*)#[^\s\"',\]]+")
#: Names of options, and of properties in a table that is handed on to a client library, that hold a secret or may.
_SECRET = re.compile(r"(?:_|^)secret$|password|passphrase|\.secret$|\.key\.pem$|private\.key|"
                     r"sasl\.oauthbearer\.config$|jaas")
#: Such a text only says where a secret is.
_REFERENCES = re.compile(r"(?:\$\{(?:env|file):[^}]+\})+")


class Assignment(msgspec.Struct, frozen=True):
    """One value that somebody set.

    Attributes:
        key: path of the option, e.g. ``("parser", "workers")``.
        value: plain data; UNSET when a problem with it was reported already.
        where: ``config/x.toml:7``, ``environment THRESHER_PARSER__WORKERS`` or ``--set parser.workers``.
        otherwise: the other reading of a text (``123`` is a number, or three characters), taken when ``value`` does
            not fit.
        written: what people are shown in its place, for a value that holds a secret.
    """

    key: tuple[str, ...]
    value: Any
    where: str
    otherwise: Any = msgspec.UNSET
    written: Any = msgspec.UNSET

    @property
    def shown(self) -> Any:
        """The value as people may see it."""
        return self.value if self.written is msgspec.UNSET else self.written


def without_password(address: str) -> str:
    """An address (``scheme://user:password@host?token=…#…``) as people may see it; any other text as it is."""
    shown = _PASSWORD.sub(_hidden, address)
    return _FRAGMENT.sub(r"\1#***", _PARAMETER.sub(lambda found: f"{found[1]}={_shown(found[2])}", shown))


def _hidden(found: re.Match[str]) -> str:
    """What takes the place of a password."""
    user, password = (found[1], found[2]) if found[1] is not None else (found[3], found[4])
    return f"{user}:{_shown(password)}@"


def _shown(secret: str) -> str:
    """What only says where a secret is stays."""
    return secret if not secret or _REFERENCES.fullmatch(secret) else "***"


def is_secret(name: str) -> bool:
    """Whether an option, or a property in a table that is handed on to a client library, is shown to nobody: ours are
    called ``…_secret``, others ``sasl.password`` and the like."""
    return _SECRET.search(name.lower()) is not None


def masked(value: Any, name: str = "") -> Any:
    """A value as people may see it: what is secret by its name, or in an address, is ``***``; a reference is shown.

    ``name``: of the option, or of the property in a table of them.
    """
    match value:
        case dict():
            return {key: masked(part, str(key)) for key, part in value.items()}
        case list() | tuple():
            return [masked(part, name) for part in value]
        case _ if value and is_secret(name):
            return value if isinstance(value, str) and _REFERENCES.fullmatch(value) else "***"
        case str():
            return without_password(value)
    return value


def overlay(section: str, default: S, assignments: Iterable[Assignment], problems: list[str]) -> S:
    """Return ``default`` with values laid over it; each problem is added to ``problems`` and its value left out."""
    kind = type(default)
    return build(section, kind, msgspec.to_builtins(default), assignments, problems) or default


def refused_by(
    why_not: Callable[[S], str], section: str, options: S, assignments: Sequence[Assignment]
) -> list[str]:
    """Return what somebody else than the options themselves says against them, with where it was said, as problems;
    ``why_not`` returns a text that begins with the name of the culprit, or nothing."""
    text = why_not(options)
    if not text:
        return []
    said = {one.key[-1]: one for one in assignments}
    where = assignments[-1].where if assignments else "default"
    valid = [field.name for field in msgspec.structs.fields(options)]
    return [_refused(section, ValueError(text), where, said, valid)]


def build(
    section: str, kind: type[S], base: dict[str, Any], assignments: Iterable[Assignment], problems: list[str],
    where: str = "",
) -> S | None:
    """Return a ``kind`` from base values and assignments, or None when something required is missing.

    ``where`` is where the section itself was said, for what is missing in it.
    """
    hints = get_type_hints(kind, include_extras=True)
    valid = kind.__struct_fields__
    values, said = dict(base), dict[str, Assignment]()
    for assignment in assignments:
        name = assignment.key[-1]
        where = where or assignment.where
        if name not in valid:
            problems.append(unknown_key(assignment.where, f"{section}.{name}", f"valid keys in [{section}]", valid))
            continue
        said[name] = assignment
        if assignment.value is msgspec.UNSET:
            continue
        try:
            values[name] = _fitting(assignment, hints[name])
        except ValueError as error:
            problems.append(f"{assignment.where}: {section}.{name}: {error}, got {masked(assignment.shown, name)!r}")
    missing = [field.name for field in msgspec.structs.fields(kind) if field.required and field.name not in values]
    problems += [f"{where}: {section}.{name}: expected a value, got nothing" for name in missing if name not in said]
    if missing:
        return None
    try:
        options = msgspec.convert(values, kind)
    except (msgspec.ValidationError, ConfigError) as error:
        problems.append(_refused(section, error, where, said, valid))
        return None
    problems += [f"default: {section}.{name}: {expected}, got {value!r}"
                 for name, value in msgspec.to_builtins(options).items() if (expected := _unfit(value))]
    return options


def unknown_key(where: str, key: str, what: str, valid: Sequence[str]) -> str:
    """The text for a key that does not exist."""
    lines = [f"{where}: unknown key '{key}'", f"  {what}: {', '.join(sorted(valid)) or '(none)'}"]
    close = [found for part in key.split(".") for found in difflib.get_close_matches(part, valid, 1)]
    if close:
        lines.append(f"  did you mean '{close[0]}'?")
    return "\n".join(lines)


def _refused(
    section: str, error: Exception, where: str, said: dict[str, Assignment], valid: Sequence[str]
) -> str:
    """The text for options that their own ``__post_init__`` refuses; it may begin with the name of the culprit."""
    own = error.__cause__ if isinstance(error, msgspec.ValidationError) else error
    text = str(own) if own is not None else _plain(str(error))
    name = text.partition(":")[0]
    culprit = said.get(name)
    if culprit is not None and culprit.written is not msgspec.UNSET:
        text = f"{text.partition(', got ')[0]}, got {culprit.written!r}"
    for secret in (assignment for assignment in said.values() if assignment.written is not msgspec.UNSET):
        for form in {str(secret.value), repr(str(secret.value))[1:-1]} - {""}:
            text = text.replace(form, str(secret.written))
    if name in valid:
        return f"{where if culprit is None else culprit.where}: {section}.{text}"
    return f"{where}: [{section}]: {text}"


def _fitting(assignment: Assignment, hint: Any) -> Any:
    """Return the reading of a value that has the type of this hint.

    Raises:
        ValueError: there is none; the text says what is expected, and never holds the value.
    """
    expected = ""
    for reading in (assignment.value, assignment.otherwise):
        if reading is not msgspec.UNSET:
            try:
                msgspec.convert(reading, hint)
            except (msgspec.ValidationError, ConfigError) as error:
                expected = expected or _expected(error, hint)
                continue
            if unfit := _unfit(reading):
                raise ValueError(unfit)
            return reading
    raise ValueError(expected)


def _expected(error: Exception, hint: Any) -> str:
    text = _plain(str(error))
    if text.startswith("Invalid enum value") and (choices := _choices(hint)):
        return f"expected {' or '.join(map(repr, choices))}"
    text = text.partition(", got")[0].partition(" - at ")[0]
    if text.lower() == "expected array":
        return "expected a list, e.g. [\"a\", \"b\"]"
    return text[:1].lower() + text[1:]


def _choices(hint: Any) -> list[Any]:
    """The values that a ``Literal`` or an enumeration allows, also within another type."""
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return [member.value for member in hint]
    return [choice for part in get_args(hint) for choice in _choices(part)]


def _unfit(value: Any) -> str:
    """Say what keeps a value out of a manifest, which hands it on to the actors as JSON; or nothing."""
    match value:
        case float() if not math.isfinite(value):
            return "expected a finite number"
        case int() if not -(2**63) <= value < 2**64:
            return "expected an integer of at most 64 bits"
        case str() if any("\ud800" <= character <= "\udfff" for character in value):
            return "expected text that UTF-8 can write"
        case list() | tuple():
            return next(filter(None, map(_unfit, value)), "")
        case dict():
            return next(filter(None, map(_unfit, (*value, *value.values()))), "")
    return ""


def _plain(error: str) -> str:
    return error.replace("`", "")
