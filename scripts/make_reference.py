"""``docs/reference.md``: every name that users import, from its docstring. ``scripts/make_docs.py`` writes it.

A name is shown with its signature or its attributes, its docstring, its methods, and its example. Docstrings are in the
form that the project has everywhere: a sentence, paragraphs, then ``Args:``, ``Attributes:``, ``Returns:``, ``Raises:``
and ``Example::``.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import itertools
import re
import textwrap
import types
from collections.abc import Iterator
from typing import Any

import msgspec

from actors.console import catalogue

PREFACE = """\
# Reference

What users import: every name, from its docstring. `scripts/make_docs.py` writes this page: change the docstrings.
Nothing else is public: what lies in `actors` may move from one version to the next. `docs/tutorial.md` shows how the
names go together, `docs/configuration.md` the options as they stand in files, `docs/sinks.md` what each sink promises.
"""

#: The names of each door, in the order of the page.
GROUPS: dict[str, dict[str, tuple[str, ...]]] = {
    "thresher": {
        "What a pipeline is made of": ("Pipeline", "per_chunk", "drop", "identity", "Bulk", "lines_with"),
        "What a record is, and what becomes of it": ("Record", "InputUnit", "Reject", "Finish", "Many"),
        "Aggregates and windows": ("Fold", "Windows", "Window", "Distinct", "Totals"),
        "A panel on the dashboard": ("Panel", "Aggregates", "Bars", "Curves"),
        "Questions about what is stored": ("Question", "Store", "Reader", "Moment"),
        "A page about what is stored": ("Browse", "Look", "Items", "Item", "Charts", "Chart"),
        "Functions that take long": ("extend", "progress"),
        "Running": ("run", "RunResult", "ConfigError", "Retryable", "Lost"),
        "Sections of a pipeline's options": (
            "ParserOptions", "CheckerOptions", "AggregatorOptions", "WindowOptions", "FlowOptions", "BudgetOptions",
            "RestartOptions", "RecycleOptions", "WatchOptions", "RunOptions", "MonitorOptions", "TracingOptions",
            "Links"),
    },
    "thresher.sources": {
        "Sources that ship": ("Files", "Directory", "Kafka", "RabbitMQ", "Stdin", "Tcp", "Topic"),
        "A source of one's own": (
            "SourceOptions", "Source", "Chunk", "pack_records", "records_in", "Unit", "Revoked", "UnitLedger"),
    },
    "thresher.sinks": {
        "Sinks that ship": ("Csv", "DeadLetters", "Deleted", "Discard", "Jsonl", "Kafka", "Lines", "Lmdb", "Memcached",
                            "Parquet", "RabbitMQ", "Redis", "Indexed", "Sql", "Stdout", "Topic", "Message"),
        "A sink of one's own": ("SinkOptions", "Sink", "GatheringSink", "Payload", "Refusal", "Packed", "DeadLetter",
                                "record_of"),
    },
    "thresher.testing": {
        "Runs in the test's own process": ("run_inline", "InlineResult", "Faults"),
        "Sources, sinks and clocks for tests": ("MemorySource", "MemorySink", "UnorderedMemorySink", "FakeClock"),
        "Checks": ("SinkContract", "SourceContract", "assert_bulk_is_faithful"),
    },
}
_PART = re.compile(r"^(Args|Attributes|Returns|Raises|Example):(:?)\s*$", re.MULTILINE)
_ENTRY = re.compile(r"^(\*?\w+): ", re.MULTILINE)


class Doc(msgspec.Struct, frozen=True):
    """A docstring in its parts.

    Attributes:
        text: all before the first part, in Markdown.
        parts: what follows, by its title, not indented.
    """

    text: str
    parts: dict[str, str]


def render() -> str:
    """The page."""
    return "\n".join([PREFACE, *(line for door in GROUPS for line in _door(door))]).rstrip() + "\n"


def read(thing: Any) -> Doc:
    """Return the docstring of a public thing in its parts."""
    text = inspect.cleandoc(thing.__doc__ or "")
    pieces = _PART.split(text)
    return Doc(_markdown(pieces[0]), {
        title: textwrap.dedent(body).strip("\n") for title, _, body in zip(*[iter(pieces[1:])] * 3, strict=True)})


def _door(door: str) -> Iterator[str]:
    module = importlib.import_module(door)
    yield f"## `{door}`\n"
    for group, names in GROUPS[door].items():
        yield f"### {group}\n"
        for name in names:
            yield from _name(name, getattr(module, name))


def _name(name: str, thing: Any) -> Iterator[str]:
    doc = read(thing)
    yield f"#### `{name}{_signature(thing)}`\n"
    yield f"{doc.text}\n"
    is_struct = isinstance(thing, type) and issubclass(thing, msgspec.Struct)
    for title in ("Args", "Attributes", "Returns", "Raises"):
        if title in doc.parts and not (is_struct and title == "Attributes"):
            yield _entries(title, doc.parts[title])
    if is_struct:
        yield from _fields(thing)
    if isinstance(thing, type):
        yield from _of_the_class(thing)
        yield from _methods(thing)
    if "Example" in doc.parts:
        yield f"```python\n{doc.parts['Example']}\n```\n"


def _fields(kind: type[msgspec.Struct]) -> Iterator[str]:
    """The attributes of a struct: what each takes, and its default."""
    said = catalogue.descriptions(kind)
    rows = [(field.name, _annotation(kind, field.name), _default(field), said.get(field.name, ""))
            for field in msgspec.structs.fields(kind)]
    if not rows:
        return
    yield "| attribute | takes | default | meaning |\n|---|---|---|---|"
    for name, takes, default, text in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in (f"`{name}`", f"`{takes}`", default, text)) + " |"
    yield ""


def _of_the_class(kind: type) -> Iterator[str]:
    """What a subclass may set: attributes that this class is the first to have, and the comment that stands before."""
    lines = textwrap.dedent(inspect.getsource(kind)).splitlines()
    rows = []
    for node in ast.parse("\n".join(lines)).body[0].body:  # type: ignore[attr-defined]
        said = list(itertools.takewhile(lambda line: line.startswith("    #: "), reversed(lines[:node.lineno - 1])))
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and said and not any(
                hasattr(base, node.target.id) for base in kind.__mro__[1:]):
            takes = ast.unparse(node.annotation).removeprefix("ClassVar[").removesuffix("]")
            takes += f" = {ast.unparse(node.value)}" if node.value is not None else ""
            text = " ".join(line.removeprefix("    #: ") for line in reversed(said))
            rows.append(f"- `{node.target.id}: {takes}`: {_markdown(text)}")
    if rows:
        yield "Attributes of the class, which a subclass may set:\n"
        yield from (*rows, "")


def _annotation(kind: type, name: str) -> str:
    for base in kind.__mro__:
        if name in vars(base).get("__annotations__", {}):
            said = vars(base)["__annotations__"][name]
            return said if isinstance(said, str) else inspect.formatannotation(said)
    return ""


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.default_factory is not msgspec.NODEFAULT:
        made = field.default_factory()
        return f"`{made!r}`"
    if field.default is msgspec.NODEFAULT:
        return "has to be given"
    value = field.default
    shown = f"{type(value).__name__}()" if isinstance(value, msgspec.Struct) else (
        value.__name__ if isinstance(value, types.FunctionType) else repr(value))
    return f"`{shown}`"


def _methods(kind: type) -> Iterator[str]:
    """The methods that a class of ours adds, with what they say of themselves."""
    for name, member in sorted(_own(kind), key=lambda pair: pair[0]):
        if isinstance(member, property):
            yield f"- `{name}`: {_flat(read(member))}"
        else:
            yield f"- `{name}{_signature(member)}`: {_flat(read(member))}"
    if any(True for _ in _own(kind)):
        yield ""


def _own(kind: type) -> Iterator[tuple[str, Any]]:
    for name, each in vars(kind).items():
        member = each.__func__ if isinstance(each, (staticmethod, classmethod)) else each
        if not name.startswith("_") and isinstance(member, (types.FunctionType, property)) and member.__doc__:
            yield name, member


def _signature(thing: Any) -> str:
    if isinstance(thing, type) and not _has_constructor(thing):
        return ""
    try:
        signature = inspect.signature(thing)
    except (TypeError, ValueError):
        return ""
    kept = [one for name, one in signature.parameters.items() if name != "self"]
    if isinstance(thing, type):
        signature = signature.replace(return_annotation=inspect.Signature.empty)
    return str(signature.replace(parameters=kept)).replace("'", "")


def _has_constructor(kind: type) -> bool:
    """Whether a class says itself how it is made; a struct's attributes say so, and an interface is not made."""
    is_interface = getattr(kind, "_is_protocol", False)
    return "__init__" in vars(kind) and not issubclass(kind, msgspec.Struct) and not is_interface


def _flat(doc: Doc) -> str:
    """A method in one paragraph."""
    parts = [re.sub(r"\s+", " ", doc.text)]
    for title in ("Args", "Returns", "Raises"):
        if title in doc.parts:
            parts.append(f"{title}: {re.sub(chr(92) + 's+', ' ', _markdown(doc.parts[title]))}")
    return " ".join(parts)


def _entries(title: str, body: str) -> str:
    if not _ENTRY.search(body):
        return f"{title}: {_markdown(body)}\n"
    entries = re.sub(r"\n\s+", " ", body)
    lines = [f"- {_ENTRY.sub(lambda found: f'`{found[1]}`: ', line)}" for line in entries.splitlines() if line]
    return f"{title}:\n\n" + _markdown("\n".join(lines)) + "\n"


def _markdown(text: str) -> str:
    """With code in Markdown's marks; literal blocks as blocks of code."""
    text = re.sub(r"::\n\n((?: {4}.*\n?|\n)+)", lambda found: ":\n\n" + found[1], text)
    return text.replace("``", "`").strip()
