"""Every option that there is: what declares it (a struct with its docstring), as rows for people and for editors.

    struct ──▶ Section(name, kind, text, options) ──▶ docs/configuration.md (``reference.py``)
                                                  └─▶ docs/thresher.schema.json (``schema.py``)

An option is described once, in the ``Attributes:`` of its struct's docstring; what a subclass does not say again is
taken from the class it inherits from.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from typing import Any, get_type_hints

import msgspec
from msgspec import inspect as types

from actors.components import shipped
from actors.runtime.pipeline import Pipeline
from actors.settings import SECTIONS, pipeline_of
from actors.targets import applications

_ATTRIBUTE = re.compile(r"(\w+): (.*)")
#: What the last part of an option's name says of its number.
_UNITS = {"s": "seconds", "ms": "milliseconds", "bytes": "bytes"}
_MIB = 1024 * 1024


class Option(msgspec.Struct, frozen=True):
    """One option.

    Attributes:
        name: its key.
        form: what it takes, for people, in Markdown: ``integer, 1 to 64``; ``seconds, more than 0``.
        default: as TOML; empty when it has to be given.
        text: what it means, in Markdown.
    """

    name: str
    form: str
    default: str
    text: str


class Section(msgspec.Struct, frozen=True):
    """A section of a configuration file, or a type that it may have.

    Attributes:
        name: ``parser``; for a source or a sink the value of ``type``; for an application its name.
        kind: the struct.
        text: what it is, in Markdown.
        options: in the order they are declared.
    """

    name: str
    kind: type[msgspec.Struct]
    text: str
    options: list[Option]


def section_of(name: str, kind: type) -> Section:
    """Return what is known of the options of a struct."""
    said = descriptions(kind)
    fields = sorted(_fields(kind), key=lambda field: field.name not in kind.__annotations__)  # inherited ones last
    rows = [Option(field.encode_name, _form(field), _default(field), said.get(field.name, "")) for field in fields]
    return Section(name, kind, summary(kind), rows)


def sections() -> list[Section]:
    """The sections that every pipeline has."""
    hints = get_type_hints(Pipeline)
    return [section_of(name, hints[name]) for name in SECTIONS]


def sources() -> list[Section]:
    """The types of ``[source]`` that ship."""
    return [section_of(name, kind) for name, kind in shipped("source").items()]


def sinks() -> list[Section]:
    """The types of ``[sinks.NAME]`` that ship."""
    return [section_of(name, kind) for name, kind in shipped("sinks.NAME").items()]


def letters() -> list[Section]:
    """The types of ``[dead_letters]`` that ship."""
    return [section_of(name, kind) for name, kind in shipped("dead_letters").items()]


def pipelines() -> dict[str, Pipeline]:
    """The applications that ship, by name."""
    return {name: pipeline_of(name) for name in applications()}


def undescribed() -> list[str]:
    """The options, and the structs, that lack a description, as ``module.Struct.option``."""
    found = [*sections(), *sources(), *sinks(), *letters()]
    found += [section_of(name, type(one.options)) for name, one in pipelines().items() if one.options is not None]
    return [f"{section.kind.__module__}.{section.kind.__qualname__}.{name}" for section in found
            for name, text in [("__doc__", section.text), *((each.name, each.text) for each in section.options)]
            if not text]


def summary(kind: type) -> str:
    """A struct's docstring up to its attributes, in Markdown."""
    text = inspect.cleandoc(vars(kind).get("__doc__") or "").partition("Attributes:")[0]
    return "\n\n".join(_flowing(paragraph) for paragraph in text.split("\n\n")).strip()


def descriptions(kind: type) -> dict[str, str]:
    """What a struct's docstring says of each attribute, in Markdown."""
    said: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        name = ""
        block = inspect.cleandoc(vars(base).get("__doc__") or "").partition("Attributes:\n")[2]
        for line in block.splitlines():
            if line and not line.startswith(" "):  # the next part of the docstring
                break
            if found := _ATTRIBUTE.fullmatch(line.removeprefix("    ")):
                name = found[1]
                said[name] = found[2]
            elif name:
                said[name] += f" {line}"
    return {name: _flowing(text) for name, text in said.items()}


def changes(pipeline: Pipeline) -> dict[str, dict[str, Any]]:
    """What a pipeline has by default that is not the default of the section itself, by section."""
    found: dict[str, dict[str, Any]] = {}
    for name in ("source", "dead_letters", *SECTIONS):
        options = getattr(pipeline, name)
        own = msgspec.to_builtins(options)
        usual = {field.encode_name: _value(field) for field in _fields(type(options))}
        found[name] = {key: value for key, value in own.items() if value != usual[key]}
    return {name: values for name, values in found.items() if values}


def as_toml(value: Any) -> str:
    """A value as it is written in a file."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {as_toml(each)}" for name, each in value.items()) + "}"
    if isinstance(value, float) and value.is_integer() and abs(value) < _MIB:
        return str(int(value))
    return json.dumps(value, ensure_ascii=False)


# Fields -----------------------------------------------------------------------------------------------------------


def _fields(kind: type) -> tuple[types.Field, ...]:
    info = types.type_info(kind)
    assert isinstance(info, types.StructType)
    return info.fields


def _value(field: types.Field) -> Any:
    """The default as plain data; UNSET when there is none."""
    if field.default_factory is not msgspec.NODEFAULT:
        return msgspec.to_builtins(field.default_factory())
    return msgspec.UNSET if field.default is msgspec.NODEFAULT else msgspec.to_builtins(field.default)


def _default(field: types.Field) -> str:
    value = _value(field)
    return "" if value is msgspec.UNSET else as_toml(value)


def _form(field: types.Field) -> str:
    return _of_type(field.type, _UNITS.get(field.name.rpartition("_")[2], ""))


def _of_type(kind: types.Type, unit: str = "") -> str:
    match kind:
        case types.IntType() | types.FloatType():
            number = "integer" if isinstance(kind, types.IntType) else "number"
            return ", ".join(filter(None, [unit or number, _bounds(kind)]))
        case types.BoolType():
            return "`true` or `false`"
        case types.LiteralType(values):
            return ", ".join(f"`{json.dumps(value)}`" for value in values)
        case types.UnionType(members):
            return " or ".join(_of_type(member, unit) for member in members)
        case types.ListType(item):
            return f"list of {_of_type(item)}"
        case types.DictType(_, value):
            return f"table of {_of_type(value)}"
        case types.StrType():
            return "text"
    return type(kind).__name__.removesuffix("Type").lower()


#: What a bound is that SQLite and C have, not the option: nobody needs to be told of it.
_NO_LIMIT = (1 << 63) - 1


def _bounds(kind: types.IntType | types.FloatType) -> str:
    least = next(_texts(kind.ge, "{}", kind.gt, "more than {}"), "")
    most = next(_texts(kind.le, "{}", kind.lt, "less than {}"), "")
    if kind.ge is not None and kind.le == _NO_LIMIT:
        return f"{least} or more"
    if kind.ge is not None and kind.le is not None:
        return f"{least} to {most}"
    if least and most:
        return f"{least} and {'at most ' * (kind.le is not None)}{most}"
    return f"{least}{' or more' * (kind.ge is not None)}" if least else f"{most}{' or less' * (kind.le is not None)}"


def _texts(first: float | None, form: str, second: float | None, other: str) -> Iterator[str]:
    for bound, text in ((first, form), (second, other)):
        if bound is not None:
            yield text.format(f"{bound:g}" if bound < _MIB else str(bound))


def _flowing(text: str) -> str:
    """One line, with code in Markdown's marks."""
    return re.sub(r"\s+", " ", text.replace("``", "`")).strip()
