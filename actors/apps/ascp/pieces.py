"""Statistics of a session: names and values, some of them in parentheses.

    [Sender] id=029c1333-… delay=64ms ave_xmit_rate 299.53Mbps (detail: good_blks 25762789 bl_total 25765926) …
    ──▶  Sender, (id, "029c1333-…") (delay, 0.064, SECONDS) (ave_xmit_rate, 299530000, BITS_PER_SECOND)
         (detail/good_blks, 25762789) (detail/bl_total, 25765926) …

What a line is like is remembered, as of ``key=value`` lines (``Forms``).
"""

from __future__ import annotations

import re

from actors.apps.ascp.fields import BYTES, NONE, TEXTS, Field, Form, Forms, quantity, typed
from actors.apps.ascp.groups import Malformed

_SIDE = re.compile(r"\[(Sender|Receiver)\] ", re.ASCII)
_VALUE = r"([^\s=()]+)"
_PIECE = re.compile(r" *(?:\(([^():]+): ([^()]*)\)|([^\s=()]+)=([^\s()]+)|([^\s=()]+) ([^\s=()]+))(?= |$)", re.ASCII)
#: Behind a size.
_BYTES = " bytes"


class Pieces:
    """Takes statistics apart."""

    def __init__(self) -> None:
        self._by_side = {side: Forms(pieces, _form_of_pieces, _statistic) for side in ("", "Sender", "Receiver")}

    def __call__(self, text: str) -> tuple[str, list[Field]]:
        """The side, and the fields.

        Raises:
            Malformed: a piece is.
        """
        text = text.rstrip(" ")
        found = _SIDE.match(text)
        side = found[1] if found else ""
        return side, self._by_side[side](text[found.end():] if found else text) or []


def pieces(text: str) -> list[Field]:
    """The fields of statistics, piece by piece.

    Raises:
        Malformed: one is.
    """
    at = 0
    fields: list[Field] = []
    while at < len(text):
        piece = _PIECE.match(text, at)
        if piece is None:
            raise Malformed(f"Session Statistics: expected name=value, name value or (group: …), got {text[at:]!r:.80}")
        group, inner, key, value, word, number = piece.groups()
        if group is None:
            fields.append(_statistic(key or word, value or number))
        else:
            fields += _parenthesised(group, inner.split(" "))
        at = piece.end()
    return fields


def _form_of_pieces(text: str, found: list[Field]) -> Form | None:
    """What statistics are like that have the same names in the same places; None: one could be taken for a number."""
    words: list[str] = []
    for piece in _PIECE.finditer(text):
        group, inner, key, _, word, _ = piece.groups()
        before = re.escape(piece[0][:len(piece[0]) - len(piece[0].lstrip(" "))])
        if group is None:
            words.append(f"{before}{re.escape(key or word)}{'=' if key else ' '}{_VALUE}")
        elif inner.endswith(_BYTES) and inner.count(" ") == 1:
            words.append(rf"{before}\({re.escape(group)}: ([0-9]{{1,18}} bytes)\)")
        else:
            names = inner.split(" ")[::2]
            if any(quantity(name) for name in names):
                return None
            values = " ".join(f"{re.escape(name)} {_VALUE}" for name in names)
            words.append(rf"{before}\({re.escape(group)}: {values}\)")
    return "".join(words), [(name, name in TEXTS) for name, *_ in found]


def _parenthesised(group: str, words: list[str]) -> list[Field]:
    if len(words) == 2 and words[1] == "bytes" and (found := quantity(words[0])) is not None:
        return [(group, found[0], BYTES)]
    if len(words) % 2 or not all(words):
        raise Malformed(f"({group}: expected names and values in turn, got {' '.join(words)!r:.80}")
    return [_statistic(f"{group}/{name}", value) for name, value in zip(words[::2], words[1::2], strict=True)]


def _statistic(name: str, text: str) -> Field:
    if text.endswith(_BYTES):
        return name, int(text[:-len(_BYTES)]), BYTES
    name, value, unit = typed(name, text)
    return name, value, BYTES if unit == NONE and name.endswith("_bytes") and not isinstance(value, str) else unit
