"""What an exception of an application's function says: the frames of the application, and what was wrong.

    parse, of the application        shown
    json.loads, json.decoder.…       the last of them: where it was found out
    what calls parse                 not shown: nobody can change anything there

A library's frames alone, as in "json/decoder.py:355", say nothing of the application that called it.
"""

from __future__ import annotations

import functools
import os
import re
import sysconfig
import traceback
from types import CodeType, TracebackType
from typing import NamedTuple

from actors.runtime.errors import shortened

#: What each error says is kept, of several: so many characters of its beginning and its end.
_SAID = (768, 256)
#: Most frames of the application that are shown; the last ones.
_FRAMES = 3
#: What calls the functions of applications lies here.
_OURS = os.path.dirname(__file__)
#: Where Python has its own modules, and where others' are installed.
_LIBRARIES = tuple({os.path.join(path, "") for name, path in sysconfig.get_paths().items() if name.endswith("lib")})
_HEAD = "Traceback (most recent call last):\n"
_FRAME = re.compile(r'^  File "(.+)", line (\d+)', re.MULTILINE)
#: What places in code look like; at most so many are kept.
_formats: dict[tuple[CodeType, int], str] = {}
_MOST_KEPT = 1000


def told(error: BaseException) -> str:
    """Return an exception as Python shows it, with the frames that concern the application; its own are left out.

    The exception's traceback is replaced by what is shown of it. What one frame looks like is kept: many records are
    rejected on the same line, and Python parses it for each.
    """
    shown = _trim(error)
    if error.__cause__ or error.__context__ or isinstance(error, BaseExceptionGroup):
        lines = traceback.TracebackException.from_exception(error, limit=-_FRAMES - 1).format()
        return "".join(shortened(each, *_SAID) for each in lines).strip()
    frames = "".join(map(_formatted, shown))
    only = "".join(shortened(each, *_SAID) for each in traceback.format_exception_only(error))
    return f"{_HEAD}{frames}{only}".strip() if frames else only.strip()


class Cause(NamedTuple):
    """What a told exception comes to.

    Attributes:
        what: its type and the first line of what it says.
        file: that of the application that it is from; empty: not known.
        line: the line of it.
    """

    what: str
    file: str = ""
    line: int = 0


def cause(text: str) -> Cause:
    """What a told exception comes to; or the first line of any other text."""
    last = text[text.rfind(f"\n{_HEAD}") + 1:]
    frames = list(_FRAME.finditer(last))
    if not frames:
        return Cause(text.strip().partition("\n")[0])
    said = [line for line in last[frames[-1].end():].splitlines()[1:] if line[:1].strip()]
    theirs = [frame for frame in frames if not _is_library(frame[1])]
    if not theirs and "-packages" in frames[0][1]:  # an application that is installed, not what Python brings
        theirs = frames[:1]
    what = said[0] if said else ""
    return Cause(what, theirs[-1][1], int(theirs[-1][2])) if theirs else Cause(what)


def _trim(error: BaseException) -> list[TracebackType]:
    frames: list[TracebackType] = []
    frame = error.__traceback__
    while frame is not None:
        if os.path.dirname(frame.tb_frame.f_code.co_filename) != _OURS:
            frames.append(frame)
        frame = frame.tb_next
    theirs = [frame for frame in frames if not _is_library(frame.tb_frame.f_code.co_filename)] or frames[:1]
    shown = theirs[-_FRAMES:]
    if frames and frames[-1] is not shown[-1]:
        shown.append(frames[-1])
    chain = None
    for frame in reversed(shown):
        chain = TracebackType(chain, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
    error.__traceback__ = chain
    return shown


def _formatted(frame: TracebackType) -> str:
    place = frame.tb_frame.f_code, frame.tb_lasti
    text = _formats.get(place)
    if text is None:
        if len(_formats) >= _MOST_KEPT:
            _formats.clear()
        text = _formats[place] = "".join(traceback.format_tb(frame, limit=1))
    return text


@functools.lru_cache(1000)
def _is_library(path: str) -> bool:
    return path.startswith((*_LIBRARIES, "<frozen"))
