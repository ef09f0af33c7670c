"""Text as any terminal can be given it: names, reasons and data are somebody else's words.

What a terminal obeys, what turns the direction of writing, and what was no UTF-8 is shown as what stands for it in JSON
and TOML, as in ``\\u009b``, so that these stay what they are; and ``\\x1b`` for what may stand in neither.
"""

from __future__ import annotations

import codecs
import json

#: For streams: what their encoding does not have is given as what stands for it in JSON, so that this stays what it is.
ESCAPED = "thresher.escaped"
_KEPT = frozenset("\n\t")


def one_line(text: str) -> str:
    """Return text in which everything that cannot be printed, ends of lines too, is shown as what stands for it."""
    return text if text.isprintable() else "".join(map(_shown, text))


def in_lines(text: str) -> str:
    """The same, where ends of lines and tabulators stay."""
    if text.isprintable():
        return text
    return "".join(each if each in _KEPT else _shown(each) for each in text)


def _escaped(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return json.dumps(error.object[error.start:error.end])[1:-1], error.end


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode() if character < " " else json.dumps(character)[1:-1]


codecs.register_error(ESCAPED, _escaped)
