"""Groups: ``name n1/n2/…=v1/v2/…``, one behind the other, then perhaps ``rcvD=1``.

    bl t/o/r/d=722162/722160/0/2 rex_rtt l/h/s/o=0/0/174/8 … mgmt backlog i/s/n = 0/412/0 1/456/0
    ──▶  names   "bl t/o/r/d", "rex_rtt l/h/s/o", …, "mgmt backlog i/s/n", "mgmt backlog i/s/n"
    ──▶  numbers 722162, 722160, 0, 2, 0, 0, 174, 8, …, 0, 412, 0, 1, 456, 0

A group is known by its name *and* its members, never by its place: ``bl`` is there twice, with other members, and
versions differ. ``mgmt backlog`` has no triple, one or two behind it.

Fast: what a line says besides its numbers is the same in all lines of one version. So the line is cut at each ``=``;
what has to stand before the next one is taken off by one call for all (``map``); what is left are digits and slashes,
which is compared at once, and all numbers are decoded in one call, as JSON. What is unusual is taken apart word by
word, to the same result or to the reason why it is malformed; what was well-formed is known from then on.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated, NamedTuple

import msgspec

from actors.apps.ascp.fields import NONE, Field

#: So many triples may follow ``mgmt backlog i/s/n =``.
_TRIPLES = 2
#: The table holds so many kinds of lines at most, and of lines that begin the same: there are some twenty, and nobody
#: may fill the memory with others.
_MOST_SHAPES, _FEW_SHAPES = 1024, 8
_DIGITS = b"0123456789"
#: Stands for what is behind the last ``=`` where that may be nothing, or several triples.
_OPEN = b"*"
_NO_TRIPLES: tuple[tuple[str, ...], list[int]] = ((), [])
_without = bytes.removesuffix
_LEAST, _MOST = -(1 << 63), (1 << 63) - 1
_NAME = re.compile(r"[A-Za-z_][\w.>-]*", re.ASCII)
_MEMBERS = re.compile(r"\w+(?:/\w+)*", re.ASCII)
_VALUES = re.compile(r"-?[0-9]+(?:/-?[0-9]+)*", re.ASCII)
_TAIL = re.compile(rb"(?: [0-9]{1,18}/[0-9]{1,18}/[0-9]{1,18}){0,2}")
_decode = msgspec.json.Decoder(list[Annotated[int, msgspec.Meta(ge=0, le=_MOST)]]).decode

#: Names of groups with members, their numbers one behind the other, plain pairs.
Groups = tuple[tuple[str, ...], list[int], list[Field]]


class Malformed(Exception):
    """A group whose members and values do not fit; the text says which."""


class _Shape(NamedTuple):
    """What lines of one kind have in common.

    Attributes:
        names: of the groups.
        pairs: the name of the plain pair at the end, or nothing.
        behind: what stands behind the values of each group, up to the next ``=``.
        between: what stands between the digits of all values, when a comma is between two groups.
    """

    names: tuple[str, ...]
    pairs: tuple[str, ...]
    behind: list[bytes]
    between: bytes


#: By what stands before the first ``=``, and the number of those.
_SHAPES: dict[tuple[bytes, int], list[_Shape]] = {}
_BACKLOG, _BACKLOG_NAME = b" mgmt backlog i/s/n ", "mgmt backlog i/s/n"


def groups_of(body: bytes) -> Groups:
    """Take apart what stands behind ``Receiver`` or ``Sender``.

    Raises:
        Malformed: a group is.
    """
    parts = body.split(b"=")
    for shape in _SHAPES.get((parts[0], len(parts)), ()):
        behind = shape.behind
        values = b",".join(map(_without, parts[1:], behind))
        if behind[-1] == _OPEN:
            triples = _triples(parts[-1])
            values = values[:-len(parts[-1]) - 1]
        else:
            triples = _NO_TRIPLES
        if triples is None or values.translate(None, _DIGITS) != shape.between:
            continue
        try:
            numbers = _decode(b"[%b]" % values.replace(b"/", b","))
        except msgspec.MsgspecError:  # a number with leading zeros, none at all, one that is too large
            break
        if shape.pairs:
            return shape.names, numbers, [(shape.pairs[0], numbers.pop(), NONE)]
        return (shape.names + triples[0], numbers + triples[1], []) if triples[0] else (shape.names, numbers, [])
    found = _by_words(body)
    _learn(body, parts, found)
    return found


def _learn(body: bytes, parts: list[bytes], found: Groups) -> None:
    """From here on lines of this form are known, if it is a usual one."""
    names, _, pairs = found
    behind = [value.lstrip(b"0123456789/") for value in parts[1:]]
    known = _SHAPES.setdefault((parts[0], len(parts)), []) if len(_SHAPES) < _MOST_SHAPES else []
    last = body.rpartition(b"=")[0].endswith(_BACKLOG)
    if last:
        names = tuple(name for name in names if name != _BACKLOG_NAME)
        behind[-1] = _OPEN
    between = ["/" * name.rpartition(" ")[2].count("/") for name in names] + [""] * len(pairs)
    # So it is usual: one blank between two words, the pair last, and read back the same.
    said = "=".join([(name if number == 0 else " " + name) for number, name in enumerate(
        [*names, *(pair[0] for pair in pairs), *([f"{_BACKLOG_NAME} "] if last else [])])]) + "="
    if len(pairs) > 1 or (last and pairs) or len(known) >= _FEW_SHAPES:
        return
    if parts[0] + b"=" + b"=".join(behind[:-1]) + b"=" == said.encode() and behind[-1] in (b"", _OPEN):
        known.append(_Shape(names, tuple(pair[0] for pair in pairs), behind, ",".join(between).encode()))


@lru_cache(maxsize=4096)
def _triples(tail: bytes) -> tuple[tuple[str, ...], list[int]] | None:
    """What stands behind ``mgmt backlog i/s/n =``, when nothing but triples does."""
    if not _TAIL.fullmatch(tail):
        return None
    some = tail.split()
    return (_BACKLOG_NAME,) * len(some), [int(each) for triple in some for each in triple.split(b"/")]


def _known(head: bytes) -> tuple[tuple[str, ...], list[int]] | None:
    """Groups whose names are all one word, and which were seen before; None: not so."""
    words = head.replace(b"DS Qs ", b"DS_Qs ", 1).replace(b"=", b" ").split(b" ")
    values = b",".join(words[2::3])
    del words[2::3]
    names = b" ".join(words)
    shape = _SHAPES.get(names)
    if shape is None:
        shape = _new_shape(head, names)
        if shape is None:
            return None
    if values.translate(None, _DIGITS) != shape.between or head.translate(None, _INKS) != shape.rest:
        return None
    try:
        return shape.names, _decode(b"[%b]" % values.replace(b"/", b","))
    except msgspec.MsgspecError:  # a number with leading zeros, none at all, one that is too large
        return None


def _new_shape(head: bytes, key: bytes) -> _Shape | None:
    """Add the shape of these groups to the table, if they are well-formed and each has a name of one word."""
    try:
        names, _, pairs = _by_words(head)
    except Malformed:
        return None
    said = " ".join(names).replace("DS Qs ", "DS_Qs ", 1)
    if pairs or len(_SHAPES) >= _MOST_SHAPES or said.encode() != key or key.count(b" ") != 2 * len(names) - 1:
        return None
    between = ",".join("/" * name.rpartition(" ")[2].count("/") for name in names)
    shape = _SHAPES[key] = _Shape(names, between.encode(), head.translate(None, _INKS))
    return shape


def _by_words(body: bytes) -> Groups:
    words = [word for word in body.decode("utf-8", "replace").split(" ") if word]
    names: list[str] = []
    numbers: list[int] = []
    pairs: list[Field] = []
    name: list[str] = []
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        key, mark, values = word.partition("=")
        if not mark:
            name.append(word)
            continue
        if not key and name:  # ``i/s/n =``
            key = name.pop()
            some = [values] if values else []
            while at < len(words) and words[at][0] in "-0123456789":
                some.append(words[at])
                at += 1
            if len(some) > _TRIPLES:
                raise Malformed(f"{' '.join((*name, key))}: expected at most {_TRIPLES} of them, got {len(some)}")
        else:
            some = [values]
        if not name and "/" not in key:
            pairs.append(_pair(key, values))
            continue
        title = _title(name, key)
        for each in some:
            numbers += _numbers(title, key.count("/") + 1, each)
            names.append(title)
        name = []
    if name:
        raise Malformed(f"expected name members=values, got {' '.join(name)!r:.80} without any")
    if not names and not pairs:
        raise Malformed("expected groups, got none")
    return tuple(names), numbers, pairs


def _title(name: list[str], members: str) -> str:
    if not name or not all(map(_NAME.fullmatch, name)) or not _MEMBERS.fullmatch(members):
        raise Malformed(f"expected name n1/n2/…=v1/v2/…, got {' '.join((*name, members))!r:.80}")
    return " ".join((*name, members))


def _numbers(title: str, count: int, values: str) -> list[int]:
    """So many numbers of a group."""
    if not _VALUES.fullmatch(values):
        raise Malformed(f"{title}: expected whole numbers, got {values!r:.80}")
    some = values.split("/")
    if len(some) != count:
        raise Malformed(f"{title}: expected {count} values, as there are members, got {len(some)}")
    if max(map(len, some)) > 20 or not all(_LEAST <= int(each) <= _MOST for each in some):
        raise Malformed(f"{title}: expected numbers of 64 bits, got {values!r:.80}")
    return list(map(int, some))


def _pair(key: str, value: str) -> Field:
    if not _NAME.fullmatch(key):
        raise Malformed(f"expected name=number, got {key!r:.80}")
    (number,) = _numbers(key, 1, value)
    return key, number, NONE
