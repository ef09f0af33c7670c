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
from typing import Annotated, NamedTuple

import msgspec

from actors.apps.ascp.fields import NONE, Field

#: So many triples may follow ``mgmt backlog i/s/n =``.
_TRIPLES = 2
#: The table holds so many kinds of lines at most, and of lines that begin the same: there are some twenty, and nobody
#: may fill the memory with others.
_MOST_SHAPES, _FEW_SHAPES = 1024, 8
_DIGITS = b"0123456789"
_BLANK_OR_NOTHING = (b" ", b"")
_without = bytes.removesuffix
_LEAST, _MOST = -(1 << 63), (1 << 63) - 1
_NAME = re.compile(r"[A-Za-z_][\w.>-]*", re.ASCII)
_MEMBERS = re.compile(r"\w+(?:/\w+)*", re.ASCII)
_VALUES = re.compile(r"-?[0-9]+(?:/-?[0-9]+)*", re.ASCII)
_decode = msgspec.json.Decoder(list[Annotated[int, msgspec.Meta(ge=0, le=_MOST)]]).decode

#: Names of groups with members, their numbers one behind the other, plain pairs.
Groups = tuple[tuple[str, ...], list[int], list[Field]]


class Malformed(Exception):
    """A group whose members and values do not fit; the text says which."""


class _Shape(NamedTuple):
    """What lines of one kind have in common.

    Attributes:
        behind: what stands behind the values of each group, up to the next ``=``.
        forms: the names of the groups, by what is left of the values when their digits are taken out, with a comma
            between two groups.
        pair: the name of the plain pair at the end, or nothing.
        is_open: whether nothing, or several triples, may stand at the end.
    """

    behind: list[bytes]
    forms: dict[bytes, tuple[str, ...]]
    pair: str
    is_open: bool


#: What a line of groups begins with, behind its side.
BEGINNINGS = (b"bl ", b"DS Qs ")
#: By what stands before the first ``=``, and the number of those.
_SHAPES: dict[tuple[bytes, int], list[_Shape]] = {}
_BACKLOG, _BACKLOG_NAME = b" mgmt backlog i/s/n ", "mgmt backlog i/s/n"


def groups_of(body: bytes) -> Groups:
    """Take apart what stands behind ``Receiver`` or ``Sender``.

    Raises:
        Malformed: a group is.
    """
    found = known_groups(body)
    if found is None:
        found = _by_words(body)
        first, *parts = body.split(b"=")
        _learn(first, parts, found)
    return found


def known_groups(body: bytes) -> Groups | None:
    """The same of a line that is like one that was taken apart before; None: it is not, or it is malformed."""
    first, *parts = body.split(b"=")
    for behind, forms, pair, is_open in _SHAPES.get((first, len(parts)), ()):
        if is_open:
            if parts[-1][:1] not in _BLANK_OR_NOTHING:
                break
            values = b",".join(map(_without, parts[:-1], behind)) + parts[-1].replace(b" ", b",")
        else:
            values = b",".join(map(_without, parts, behind))
        names = forms.get(values.translate(None, _DIGITS))
        if names is None:
            continue
        try:
            numbers = _decode(b"[%b]" % values.replace(b"/", b","))
        except msgspec.MsgspecError:  # a number with leading zeros, none at all, one that is too large
            break
        return names, numbers, [(pair, numbers.pop(), NONE)] if pair else []
    return None


def _learn(first: bytes, parts: list[bytes], found: Groups) -> None:
    """From here on lines of this form are known, if it is a usual one: one blank between two words, a pair last."""
    names, _, pairs = found
    behind = [part.lstrip(b"0123456789/") for part in parts]
    is_open = (behind[-2] if len(parts) > 1 else first).endswith(_BACKLOG)
    closed = [name for name in names if not is_open or name != _BACKLOG_NAME]
    titles = closed + [name for name, *_ in pairs] + ([f"{_BACKLOG_NAME} "] if is_open else [])
    said = [first, *behind[:-1]] if is_open or not behind[-1] else []
    known = _SHAPES.get((first, len(parts)), [])
    if not first.startswith(BEGINNINGS) or len(pairs) > (not is_open) or len(known) >= _FEW_SHAPES or len(_SHAPES) >= _MOST_SHAPES or said != [
            (" " * (number > 0) + title).encode() for number, title in enumerate(titles)]:
        return
    between = ",".join("/" * title.rpartition(" ")[2].count("/") for title in titles[:len(closed) + len(pairs)])
    forms = {(between + ",//" * count).encode(): (*closed, *[_BACKLOG_NAME] * count)
             for count in range(_TRIPLES * is_open + 1)}
    _SHAPES[first, len(parts)] = [*known, _Shape(behind, forms, pairs[0][0] if pairs else "", is_open)]


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
