"""Groups: ``name n1/n2/…=v1/v2/…``, one behind the other, then perhaps ``rcvD=1``.

    bl t/o/r/d=722162/722160/0/2 rex_rtt l/h/s/o=0/0/174/8 … mgmt backlog i/s/n = 0/412/0 1/456/0
    ──▶  names   "bl t/o/r/d", "rex_rtt l/h/s/o", …, "mgmt backlog i/s/n", "mgmt backlog i/s/n"
    ──▶  numbers 722162, 722160, 0, 2, 0, 0, 174, 8, …, 0, 412, 0, 1, 456, 0

A group is known by its name *and* its members, never by its place: ``bl`` is there twice, with other members, and
versions differ. ``mgmt backlog`` has no triple, one or two behind it.

Fast: what a line says besides its numbers is the same in all lines of one version. So the names of a line, joined, are
looked up in a table (``_SHAPES``), and all its numbers are decoded in one call, as JSON. What is not in the table, or
is unusual, is taken apart word by word, to the same result or to the reason why it is malformed; what was well-formed
is in the table from then on.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated, NamedTuple

import msgspec

from actors.apps.ascp.fields import NONE, Field

#: So many triples may follow ``mgmt backlog i/s/n =``.
_TRIPLES = 2
#: The table holds so many kinds of lines at most: there are some twenty, and nobody may fill the memory with others.
_MOST_SHAPES = 4096
_DIGITS, _INKS = b"0123456789", b"0123456789/"
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
    """What lines of one kind have in common: names; what stands between the digits of all values; the line without
    digits and slashes, which says where blanks and ``=`` are."""

    names: tuple[str, ...]
    between: bytes
    rest: bytes


_SHAPES: dict[bytes, _Shape] = {}
_BACKLOG = b" mgmt backlog i/s/n ="
_BACKLOG_NAME = "mgmt backlog i/s/n"
_RECEIVED = b" rcvD="
_RECEIVED_NAME = "rcvD"


def groups_of(body: bytes) -> Groups:
    """Take apart what stands behind ``Receiver`` or ``Sender``.

    Raises:
        Malformed: a group is.
    """
    head, mark, tail = body.rpartition(_RECEIVED)
    if mark and tail.isdigit() and len(tail) < 19:
        found = _known(head)
        if found is not None:
            return found[0], found[1], [(_RECEIVED_NAME, int(tail), NONE)]
    else:
        head, mark, tail = body.partition(_BACKLOG)
        triples = _triples(tail) if mark else None
        if triples is not None and (found := _known(head)) is not None:
            return found[0] + triples[0], found[1] + triples[1], []
    return _by_words(body)


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
