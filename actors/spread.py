"""Partial aggregates on their way: which goes to which shard, by its key, or by its window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from zlib import crc32

import msgspec

from actors.runtime.making import Making
from actors.runtime.windows import WindowId, shard_of_window
from actors.runtime.worker import Output

_encoder = msgspec.msgpack.Encoder()


def shard_parts(partials: Mapping[tuple[Any, ...], list[Any]], shards: Sequence[str]) -> list[Output]:
    """The partial aggregates of a batch, by shard.

    Args:
        partials: numbers by key.
        shards: their names, in order.

    Raises:
        TypeError, OverflowError: a number, or a member of a key, cannot travel.
    """
    if not shards:
        return []
    by_shard: list[list[tuple[tuple[Any, ...], list[Any]]]] = [[] for _ in shards]
    if len(shards) == 1:
        by_shard = [list(partials.items())]
    else:
        for key, numbers in partials.items():
            by_shard[shard_of(key, len(shards))].append((key, numbers))
    return [Output(shard, len(entries), {}, [_encoder.encode(entries)] if entries else [])
            for shard, entries in zip(shards, by_shard, strict=True)]


def window_parts(made: Making, kind: str, shards: Sequence[str], spread: int) -> list[Output]:
    """The partial aggregates of each window, encoded once: the shard keeps them as they are.

    Args:
        made: of a batch; the keys of its partials have their window in front.
        kind: of the windows.
        shards: their names, in order.
        spread: over so many of them windows are spread.

    Raises:
        TypeError, OverflowError: a number, or a member of a key, cannot travel.
    """
    by_window: dict[WindowId, list[tuple[Any, Any]]] = {}
    for (window, key), numbers in made.partials.items():
        by_window.setdefault(window, []).append((key, numbers))
    by_shard: list[list[tuple[int, int, tuple[Any, ...], bytes]]] = [[] for _ in shards]
    for window, entries in by_window.items():
        by_shard[shard_of_window(window, kind, spread)].append((*window, _encoder.encode(entries)))
    return [Output(shard, len(some), {}, [_encoder.encode(some)] if some else [], made.passage.judged(number))
            for number, (shard, some) in enumerate(zip(shards, by_shard, strict=True))]


def shard_of(key: tuple[Any, ...], shards: int) -> int:
    """The shard that a key belongs to; the same for ever, in every process."""
    return crc32(msgspec.msgpack.encode(key)) % shards
