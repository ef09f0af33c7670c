"""Groups: ``name n1/n2/…=v1/v2/…``, one behind the other, then perhaps ``rcvD=1``.

    bl t/o/r/d=722162/722160/0/2 rex_rtt l/h/s/o=0/0/174/8 … mgmt backlog i/s/n = 0/412/0 1/456/0
    ──▶  names   "bl t/o/r/d", "rex_rtt l/h/s/o", …, "mgmt backlog i/s/n", "mgmt backlog i/s/n"
    ──▶  numbers 722162, 722160, 0, 2, 0, 0, 174, 8, …, 0, 412, 0, 1, 456, 0

A group is known by its name *and* its members, never by its place: ``bl`` is there twice, with other members, and
versions differ. ``mgmt backlog`` has no triple, one or two behind it.

Fast: what a line says besides its numbers is the same in all lines of one version. So a line without its digits is
looked up in a table, which says its names. Then letters are deleted, and all that is no digit and no slash is a blank:
what is left are, in turn, the slashes of the members and the values; these are joined, and decoded in one call, as
JSON. That a digit may stand in a name is found by counting them. What is not in the table, or unusual, is taken apart
word by word, to the same result or to the reason why it is malformed; what was well-formed is in the table from then
on.
"""

from __future__ import annotations

import re
from string import ascii_letters
from typing import NamedTuple

import msgspec

from actors.apps.ascp.fields import NONE, Field

#: So many triples may follow ``mgmt backlog i/s/n =``.
_TRIPLES = 2
#: The table holds so many kinds of lines at most, of lines so long: there are some twenty, and nobody may fill the
#: memory with others.
_MOST_SHAPES, _LONGEST = 1024, 8192
_COMMA, _EQUALS = ord(","), ord("=")
_DIGITS, _LETTERS = b"0123456789", f"{ascii_letters}_".encode()
#: What stands between two numbers becomes a comma, all else but them a blank.
_BLANK = bytes(byte if byte in _DIGITS else ord(",") if byte == ord("/") else ord(" ") for byte in range(256))
_LEAST, _MOST = -(1 << 63), (1 << 63) - 1
_NAME = re.compile(r"[A-Za-z_][\w.>-]*", re.ASCII)
_MEMBERS = re.compile(r"\w+(?:/\w+)*", re.ASCII)
_VALUES = re.compile(r"-?[0-9]+(?:/-?[0-9]+)*", re.ASCII)
#: What a number with a minus begins with: lines with such a one are never known, though it be -0.
_SIGNS = (b"=-", b"/-", b" -")
_decode = msgspec.json.Decoder(list[int]).decode

#: Names of groups with members, their numbers one behind the other, plain pairs.
Groups = tuple[tuple[str, ...], list[int], list[Field]]


class Malformed(Exception):
    """A group whose members and values do not fit; the text says which."""


class _Shape(NamedTuple):
    """What lines have in common that are the same without their digits.

    Attributes:
        names: of the groups.
        pair: the name of the plain pair at the end, or nothing.
        words: how many there are when letters are deleted. An odd number: values stand at the end that have no slashes
            of members before them, those of the pair, or of a second triple; or slashes without values behind them.
    """

    names: tuple[str, ...]
    pair: str
    words: int


#: What a line of groups begins with, behind its side.
BEGINNINGS = (b"bl ", b"DS Qs ")
_SHAPES: dict[bytes, _Shape] = {}


def groups_of(body: bytes) -> Groups:
    """Take apart what stands behind ``Receiver`` or ``Sender``.

    Raises:
        Malformed: a group is.
    """
    found = known_groups(body)
    if found is None:
        found = _by_words(body)
        _learn(body, found)
    return found


def known_groups(body: bytes) -> Groups | None:
    """The same of a line that is like one that was taken apart before; None: it is not, or it is malformed."""
    rest = body.translate(None, _DIGITS)
    shape = _SHAPES.get(rest)
    if shape is None:
        return None
    names, pair, count = shape
    words = body.translate(_BLANK, _LETTERS).split()
    if len(words) != count:
        return None
    some = words[1::2]
    if count & 1:
        last = words[-1]
        if pair and body[-1] == _EQUALS:  # no digit behind it: the last number is another's
            return None
        if last[0] != _COMMA:
            some.append(last)
    values = b",".join(some)
    try:
        numbers = _decode(b"[%b]" % values)
    except msgspec.MsgspecError:  # a number with leading zeros, or none at all
        return None
    # a digit in a name; or one number may be too large: the sum of all is quicker looked at than each
    if len(values) - len(numbers) + 1 != len(body) - len(rest) or sum(numbers) > _MOST:
        return None
    return names, numbers, [(pair, numbers.pop(), NONE)] if pair else []


def _learn(body: bytes, found: Groups) -> None:
    """From here on lines are known that are like this one, if it is a usual one: read back the same."""
    names, _, pairs = found
    pair = pairs[0][0] if pairs else ""
    said = "".join((*names, pair))
    if (not body.startswith(BEGINNINGS) or len(body) > _LONGEST or len(_SHAPES) >= _MOST_SHAPES
            or any(map(str.isdigit, said)) or any(sign in body for sign in _SIGNS)):
        return
    rest = body.translate(None, _DIGITS)
    if pair and rest[-1] != _EQUALS:  # the number that a line ends with is the pair's, or there is none at its end
        return
    _SHAPES[rest] = _Shape(names, pair, len(body.translate(_BLANK, _LETTERS).split()))
    if known_groups(body) != found:
        del _SHAPES[rest]


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
