"""``thresher topic``: topics on this machine's disk, for people: which there are, what is in them, let some go.

Looking changes nothing and needs no run: what is shown is what the manifest says, while others write and read.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from actors.console import topic_tail
from actors.console.commandline import at_least
from actors.runtime.errors import ConfigError, plain_reason
from actors.runtime.events import DONE, OVER_BUDGET, USAGE
from actors.runtime.windows import iso
from actors.topics import retention
from actors.topics.lock import described, holder_of
from actors.topics.manifest import View, read_view, stamp_of
from actors.topics.places import MANIFEST, partition_folder, segment_file, topic_folder
from actors.topics.reading import Gap, PartitionReader, first_offset
from actors.topics.retention import Kept
from actors.topics.segments import time_of_first


def add_options(parser: argparse.ArgumentParser) -> None:
    """What can be said to the verb."""
    verbs = parser.add_subparsers(required=True, metavar="VERB", dest="what")
    ls = _verb(verbs, "ls", "list topics: partitions, messages, bytes, the last one's time, who writes")
    ls.add_argument("places", nargs="*", default=[], metavar="DIR", help="topics, and folders with topics in them; "
                    "default: this folder")
    show = _verb(verbs, "show", "show the partitions of a topic: offsets, times, segments, bytes")
    show.add_argument("topic", metavar="TOPIC", help="topic:///path/name, or a path")
    show.add_argument("--check", action="store_true", help="read all of it, and compare checksums; exit code 4 when "
                      "something is damaged")
    tail = _verb(verbs, "tail", "print messages: the newest, or from a moment on, or as they come")
    topic_tail.add_options(tail)
    trim = _verb(verbs, "trim", "let the oldest messages of a topic go: whole segments, also while it is written to")
    trim.add_argument("topic", metavar="TOPIC", help="topic:///path/name, or a path")
    trim.add_argument("--retain-bytes", type=at_least(1), default=0, metavar="N", help="while the topic is larger")
    trim.add_argument("--retain-s", type=_seconds, default=0.0, metavar="S", help="those whose last message is older")
    trim.add_argument("--dry-run", action="store_true", help="only say what would go")
    for verb in (ls, show, trim):
        verb.add_argument("--json", action="store_true")
    parser.epilog = "Example: thresher topic tail topic:///var/topics/live_ratings -f"


def main(options: argparse.Namespace) -> int:
    """Run a verb; return the exit code."""
    if options.what == "ls":
        return _ls(options)
    topic = topic_folder(options.topic, Path.cwd())
    view = view_of(topic)
    if options.what == "tail":
        return topic_tail.tail(topic, view, options)
    return _show(topic, view, options) if options.what == "show" else _trim(topic, view, options)


def view_of(topic: Path) -> View:
    """Return how far a topic goes.

    Raises:
        ConfigError: there is none, or it cannot be read.
    """
    try:
        return read_view(topic)[0]
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ConfigError(f"{topic}: there is no topic: expected a folder with a {MANIFEST}; `thresher topic ls DIR` "
                          "lists those in a folder") from error
    except OSError as error:
        raise ConfigError(f"{topic}: {plain_reason(error)}: it cannot be read") from error


def _verb(verbs: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    return parser


def _seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < float("inf"):
        raise argparse.ArgumentTypeError(f"expected seconds, more than 0, got {text!r}")
    return found


# Looking ----------------------------------------------------------------------------------------------------------


def _ls(options: argparse.Namespace) -> int:
    topics = [topic for text in options.places or ["."] for topic in _topics_in(topic_folder(text, Path.cwd()))]
    rows = [_summary(topic, view_of(topic)) for topic in topics]
    if options.json:
        print(json.dumps(rows))
    elif not rows:
        print(f"no topics in {', '.join(options.places or ['this folder'])}")
    else:
        print("\n".join(table(
            ["topic", "partitions", "messages", "bytes", "last", "written by"],
            [[row["topic"], f"{row['partitions']:,}", f"{row['messages']:,}", f"{row['bytes']:,}", _moment(row["last"]),
              row["writer"] or "-"] for row in rows])))
    return DONE


def _topics_in(place: Path) -> list[Path]:
    """A topic, or those in a folder.

    Raises:
        ConfigError: it cannot be looked into.
    """
    if stamp_of(place) is not None:
        return [place]
    try:
        return sorted(path for path in place.iterdir() if path.is_dir() and stamp_of(path) is not None)
    except OSError as error:
        raise ConfigError(f"{place}: {plain_reason(error)}: expected a topic, or a folder with topics") from error


def _summary(topic: Path, view: View) -> dict[str, Any]:
    segments = retention.kept(topic, view.partitions)
    holder = holder_of(topic)
    last = max((extent.time for extent in view.partitions), default=0)
    return {
        "topic": str(topic), "partitions": len(view.partitions),
        "messages": sum(one.end - one.first for one in segments),
        "bytes": sum(one.size for one in segments), "last": last or None,
        "writer": None if holder is None else described(holder)}


def _show(topic: Path, view: View, options: argparse.Namespace) -> int:
    segments = retention.kept(topic, view.partitions)
    rows = [_partition(topic, view, number, [one for one in segments if one.partition == number])
            for number in range(len(view.partitions))]
    gaps = list(_damage(topic, view)) if options.check else []
    holder = holder_of(topic)
    if options.json:
        found = {"topic": str(topic), "id": view.id, "sync": view.sync,
                 "writer": None if holder is None else msgspec.to_builtins(holder), "partitions": rows}
        print(json.dumps({**found, "damage": [gap.why for gap in gaps]} if options.check else found))
    else:
        print(f"topic {topic}: {sum(row['messages'] for row in rows):,} messages, "
              f"{sum(row['bytes'] for row in rows):,} bytes")
        print(f"written by {'nobody now' if holder is None else described(holder)}\n")
        print("\n".join(table(
            ["partition", "first", "next", "messages", "bytes", "segments", "oldest", "newest"],
            [[str(row["partition"]), str(row["first"]), str(row["next"]), f"{row['messages']:,}",
              f"{row['bytes']:,}", str(row["segments"]), _moment(row["oldest"]), _moment(row["newest"])]
             for row in rows])))
        if options.check:
            print("\n" + ("\n".join(gap.why for gap in gaps) if gaps else "all of it is as it was written"))
    return OVER_BUDGET if gaps else DONE


def _partition(topic: Path, view: View, number: int, segments: Sequence[Kept]) -> dict[str, Any]:
    extent = view.partitions[number]
    folder = partition_folder(topic, number)
    first = segments[0].first if segments else extent.next
    return {
        "partition": number, "first": first, "next": extent.next, "messages": extent.next - first,
        "bytes": sum(one.size for one in segments), "segments": len(segments),
        "oldest": time_of_first(segment_file(folder, first)) if first < extent.next else None,
        "newest": extent.time or None}


def _damage(topic: Path, view: View) -> Iterator[Gap]:
    """Read all of a topic; yield what is not as it was written."""
    for number, extent in enumerate(view.partitions):
        folder = partition_folder(topic, number)
        reader = PartitionReader(folder, first_offset(folder, extent), extent)
        try:
            while (found := reader.next()) is not None:
                if isinstance(found, Gap):
                    yield found
        finally:
            reader.close()


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    for row in [header, *rows]:
        yield "  ".join(map(str.ljust, row, widths)).rstrip()


def _moment(ms: int | None) -> str:
    return "-" if ms is None else iso(ms)


# Letting go -------------------------------------------------------------------------------------------------------


def _trim(topic: Path, view: View, options: argparse.Namespace) -> int:
    if not options.retain_bytes and not options.retain_s:
        print("thresher topic trim: expected --retain-bytes N or --retain-s S, to say what is kept", file=sys.stderr)
        return USAGE
    gone = retention.chosen(retention.kept(topic, view.partitions), options.retain_bytes, options.retain_s,
                            int(time.time() * 1000))
    for number in sorted({one.partition for one in gone} if not options.dry_run else ()):
        folder = partition_folder(topic, number)
        try:
            retention.remove(folder, [one.first for one in gone if one.partition == number], view.sync)
        except OSError as error:
            raise ConfigError(f"{folder}: {plain_reason(error)}: its segments cannot be removed: run this as the user "
                              f"who owns them ({_owner(folder)})") from error
    told = {"topic": str(topic), "segments": len(gone), "messages": sum(one.end - one.first for one in gone),
            "bytes": sum(one.size for one in gone), "dry_run": options.dry_run}
    if options.json:
        print(json.dumps(told))
    else:
        verb = "would go" if options.dry_run else "are gone"
        print(f"{told['messages']:,} messages in {told['segments']:,} segments {verb}, {told['bytes']:,} bytes"
              + ("" if gone else ": what is left is in segments that are not full, younger, or within the size"))
    return DONE


def _owner(folder: Path) -> str:
    try:
        return f"uid {os.stat(folder).st_uid}"
    except OSError:
        return "unknown"
