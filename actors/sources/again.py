"""A file that is given again under its name after it was finished, or has failed: loaded, left alone, or refused.

Whether it has the same content is told by its fingerprint; of a file that is longer than what that covers also by a
digest of all of it, which is made when it was loaded, wherever the answer matters: where the same would be refused or
skipped, and where it has dead letters, which would come again. Where there is none
(a run that did not ask for it) the same fingerprint is taken for the same content only to refuse it.

A file that is not whole is no such case: the whole one goes on behind what was read (``wholeness``).

What does not work: to take the fingerprint for the content (a bad record that was mended in place, in the middle of a
long file, changes neither size nor ends).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import blake2b
from io import FileIO
from typing import Literal, NamedTuple

from actors.runtime.given_again import AGAIN
from actors.runtime.given_again_port import GivenAgain
from actors.runtime.progress import progress
from actors.runtime.values import Unit
from actors.sources.inflate import FINGERPRINT_BYTES, open_regular
from actors.sources.inflate import fingerprint as fingerprint_of

_BLOCK_BYTES = 1 << 20
Asked = Literal["", "load", "skip"]


class Decision(NamedTuple):
    """What becomes of a file.

    Attributes:
        verb: what becomes of it.
        why: for ``refuse``: as a sentence without its subject.
        instead_of: for ``load``: the units that it takes the place of, and whether they have the same content.
        note: for ``load``: what the report says.
    """

    verb: Literal["load", "skip", "refuse"]
    why: str = ""
    instead_of: tuple[tuple[Unit, bool], ...] = ()
    note: str = ""


def wants_content(given: GivenAgain, asked: Asked) -> bool:
    """Whether it matters to later runs what exactly is loaded by this one."""
    return asked == "skip" or (asked == "" and bool(given.doubles))


def spellings(path: str) -> list[str]:
    """The names in the ledger that a path may have, as it is given first: relative, absolute, with a dot in it."""
    plain = os.path.normpath(path)
    if os.path.isabs(plain) or plain.startswith(os.curdir):
        paths = dict.fromkeys((path, plain, os.path.abspath(path), os.path.relpath(path)))
    else:  # the same, for less: there may be a hundred thousand
        paths = dict.fromkeys((path, plain, os.path.join(os.getcwd(), plain)))
    return [os.fsencode(each).decode(errors="backslashreplace") for each in paths]  # a name in the ledger is text


def content_of(file: FileIO) -> str:
    """Return a digest of a whole file, as on disk; empty for one that its fingerprint covers."""
    size = os.fstat(file.fileno()).st_size
    if size <= 2 * FINGERPRINT_BYTES:
        return ""
    digest = blake2b(digest_size=16)
    for at in range(0, size, _BLOCK_BYTES):
        digest.update(os.pread(file.fileno(), _BLOCK_BYTES, at))
        progress()  # it can take minutes
    return digest.hexdigest()


def keep_content(unit: Unit, path: str) -> None:
    """Keep the digest of a file that has dead letters: should the same be given again, it brings the same letters.

    Raises:
        OSError: it cannot be read.
    """
    if unit.counts.get("dead_lettered") and not unit.content and unit.end is not None:
        with open_regular(path) as file:
            unit.content = content_of(file)


def decide(
    given: GivenAgain, name: str, fingerprint: str, file: FileIO, asked: Asked, after: int = 0, renames: bool = True
) -> Decision:
    """Say what becomes of a file that is to be loaded.

    Args:
        given: what is known of earlier runs.
        name: its name in the ledger.
        fingerprint: what it is known by.
        file: the file, open.
        asked: the option of the source.
        after: so many bytes of it were loaded before, when it was not whole: it goes on behind them.
        renames: whether files that are finished lose their names.
    """
    earlier = given.earlier(name, fingerprint)
    if not earlier:
        return Decision("load")
    if after:
        return Decision("load", instead_of=tuple((unit, True) for unit in earlier[:1]))
    likely = [unit for unit in earlier if unit.fingerprint == fingerprint]
    content = content_of(file) if any(unit.content for unit in likely) else ""
    is_short = os.fstat(file.fileno()).st_size <= 2 * FINGERPRINT_BYTES
    same = [unit for unit in likely if is_short or (unit.content and unit.content == content)]
    unsure = [unit for unit in likely if not is_short and not unit.content]
    if same and (asked == "skip" or _is_no_news(given, same[0], renames)):
        return Decision("skip")
    if asked != "load" and given.doubles:
        if any(map(_has_stored, (*same, *unsure))):
            return Decision("refuse", f"loaded before, and to load the same again would count it twice, for "
                            f"{given.doubles}")
        if earlier[0].status == "failed" and _has_stored(earlier[0]):
            return Decision("refuse", "other content under the name of a load that failed: what both have would count "
                            f"twice, for {given.doubles}; retry or purge the letters of that one first (thresher dlq)")
    return _loaded(earlier, same)


def all_refused(given: GivenAgain, files: Sequence[tuple[str, str]], asked: Asked, renames: bool) -> str:
    """Say why each of these files, given as path and name, is refused; empty: some are not, or it is not known."""
    why = ""
    for path, name in files:
        try:
            with open_regular(path) as file:
                known_by = fingerprint_of(file)
                if any(unit.damage for unit in given.earlier(name, known_by)):
                    return ""  # it may be the whole one
                found = decide(given, name, known_by, file, asked, renames=renames)
        except OSError:
            return ""
        if found.verb != "refuse":
            return ""
        why = why or f"{name}: {found.why}"
    return why and (f"{why} ({len(files)} of {len(files)} files): give new files, leave these out by "
                    "source.again = \"skip\", or count them twice by source.again = \"load\"")


def _is_no_news(given: GivenAgain, unit: Unit, renames: bool) -> bool:
    """Whether a run that was interrupted has finished this, so that its file is only still there when it is gone on
    with: one that keeps its name, or that has failed. (To load what has failed once more is harmless elsewhere.)"""
    if not given.is_gone_on_with(unit):
        return False
    return bool(given.doubles) if unit.status == "failed" else not renames


def _has_stored(unit: Unit) -> bool:
    """Whether anything of a load is there, besides letters; of a record that several things were made of it may be."""
    return unit.low > unit.base and any(
        number for name, number in unit.counts.items() if name.partition(".")[0] in ("written", "folded", "made"))


def _loaded(earlier: list[Unit], same: list[Unit]) -> Decision:
    """What a load takes the place of: loads of the same content, and the last one, if it has failed."""
    instead = [(unit, True) for unit in same if unit.status != "replaced"]
    note = f"{AGAIN}: the same content was loaded before under this name" if same else ""
    first = earlier[0]
    if first.status == "failed" and first not in same:
        instead.append((first, False))
        note = note or ("loaded in the place of the load of this name that failed; open dead letters of that one are "
                        "marked as replaced")
    return Decision("load", "", tuple(instead), note)
