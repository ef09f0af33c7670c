"""Sorted sets beside the keys: which keys belong to a session, a host, …, in order of time.

    Indexed(b"e17", b"{...}", 1565647200000, b"session:9", b"host:a")    with index = "by-"

    e17                  {...}                                  the value
    by-session:9         e17 ─ 1565647200000                    in each sorted set, key and score
    by-host:a            e17 ─ 1565647200000
    by-                  e17 ─ 0                                all keys, in their order: what ``Reader.range`` reads
    thresher_index:e17   by-, by-session:9, by-host:a           where to take it out again

A value and its entries are changed by one script, in the ``MULTI`` of the batch, so who looks sees both or neither. A
key that moves to another session leaves the old one; a tombstone knows its key alone, so ``thresher_index:KEY`` says
where its entries are. The position is written by the same script: where the server has forgotten it
(``SCRIPT FLUSH``, a failover), items and position fail together, and neither is there.

Guarantees: an entry whose set is somebody else's string or list is refused with its value, and with it the position:
Redis does not roll back, so the batch is written once more without that item. No entry outlives its key for long: with
``expire_s`` each addition looks at the oldest few entries of the set, and takes out those whose keys are gone. In the
set of all keys nobody could find the oldest, so there is none with ``expire_s``.

What does not work: ``ZADD`` beside ``SET`` in the ``MULTI`` (a set of another type fails alone, and the position would
pass it); expiry of entries by their score (an old event that is written now would lose its entry before its key).
"""

from __future__ import annotations

import hashlib
import math

from actors.runtime.errors import Reject
from actors.sinks.redis_resp import command

#: Nobody else's keys may begin so.
RESERVED = b"thresher_"
SCRIPT = b"""
local mode = ARGV[1]
if mode == 'at' then
  if redis.call('DEL', 'thresher_failed') > 0 then return redis.error_reply('REFUSED some items') end
  redis.call('HSET', KEYS[1], unpack(ARGV, 2))
  return redis.status_reply('OK')
end
local key, of = KEYS[1], 'thresher_index:' .. KEYS[1]
local ttl, is_kept, score = tonumber(ARGV[3] or '0'), ARGV[4] == '1', ARGV[5]
if is_kept and redis.call('EXISTS', key) == 1 then return redis.status_reply('OK') end
local now_in = {}
for i = 2, #KEYS do
  local kind = redis.call('TYPE', KEYS[i]).ok
  if kind ~= 'zset' and kind ~= 'none' then
    redis.call('SET', 'thresher_failed', '1')
    return redis.error_reply('WRONGTYPE ' .. KEYS[i] .. ' is a ' .. kind .. ' and no sorted set')
  end
  now_in[KEYS[i]] = true
end
local packed = redis.call('GET', of)
for _, name in ipairs(packed and cmsgpack.unpack(packed) or {}) do
  if not now_in[name] then redis.pcall('ZREM', name, key) end
end
if mode == 'del' then
  redis.call('DEL', key, of)
  return redis.status_reply('OK')
end
local with = ttl > 0 and {'EX', ttl} or {}
redis.call('SET', key, ARGV[2], unpack(with))
local names = {}
for i = 2, #KEYS do
  names[#names + 1] = KEYS[i]
  redis.call('ZADD', KEYS[i], KEYS[i] == ARGV[6] and 0 or score, key)
  if ttl > 0 then
    for _, old in ipairs(redis.call('ZRANGE', KEYS[i], 0, 3)) do
      if redis.call('EXISTS', old) == 0 then redis.call('ZREM', KEYS[i], old) end
    end
    redis.call('EXPIRE', KEYS[i], ttl)
  else
    redis.call('PERSIST', KEYS[i])
  end
end
if #names > 0 then redis.call('SET', of, cmsgpack.pack(names), unpack(with)) else redis.call('DEL', of) end
return redis.status_reply('OK')
"""
_SHA = hashlib.sha1(SCRIPT).hexdigest().encode()
LOAD = command(b"SCRIPT", b"LOAD", SCRIPT)


class Indexed(tuple[bytes, bytes | None]):
    """A pair ``(key, value)`` with the sorted sets that its key is found in; to a sink without such it is the pair.

    Args:
        key: of the value, bytes.
        value: bytes; None deletes the key and its entries, whatever ``under`` says.
        score: of its entries, a finite number; a time, say.
        under: names of the sets, bytes, each behind the option ``index`` of the sink; none is empty.

    Example::

        Indexed(b"event:17", b"{}", 1565647200000, (b"session:9", b"host:a"))
    """

    score: float
    under: tuple[bytes, ...]

    def __new__(cls, key: bytes, value: bytes | None, score: float = 0.0, under: tuple[bytes, ...] = ()) -> Indexed:
        """Make one."""
        made = tuple.__new__(cls, (key, value))
        made.score, made.under = score, under
        return made

    def __eq__(self, other: object) -> bool:
        """Whether it is the same pair, in the same sets."""
        sets = (other.score, other.under) if isinstance(other, Indexed) else (self.score, ())
        return tuple.__eq__(self, other) is True and (self.score, self.under) == sets

    def __ne__(self, other: object) -> bool:
        """Whether it is another."""
        return not self == other

    __hash__ = tuple.__hash__

    def __repr__(self) -> str:
        """As it is made."""
        return f"Indexed({self[0]!r}, {self[1]!r}, {self.score!r}, {self.under!r})"


def put_in(item: tuple[bytes, bytes | None], index: bytes, expire_s: int, keeps: bool) -> bytes:
    """Return the command that stores an item with its entries, or deletes it with them.

    Raises:
        Reject: the score is no finite number, or a set has no name.
    """
    key, value = item
    score, under = (item.score, item.under) if isinstance(item, Indexed) else (0.0, ())
    if value is None:
        return command(b"EVALSHA", _SHA, b"1", key, b"del")
    if not math.isfinite(score):
        raise Reject("score", f"expected a finite number, got {score!r}")
    if b"" in under:
        raise Reject("index", f"expected names of sets, got {under!r:.80}")
    names = [index] * (not expire_s) + [index + name for name in dict.fromkeys(under)]
    return command(b"EVALSHA", _SHA, b"%d" % (1 + len(names)), key, *names, b"put", value,
                   b"%d" % expire_s, b"1" if keeps else b"0", repr(score).encode(), index)


def taken_out(words: list[bytes], index: bytes) -> Indexed:
    """Return the item that ``put_in`` made this of.

    Raises:
        Reject: it is no such command.
    """
    try:
        number = int(words[2])
        names, rest = words[3:3 + number], words[3 + number:]
        if rest[0] == b"del":
            return Indexed(names[0], None)
        score = float(rest[4])
        return Indexed(names[0], rest[1], int(score) if score.is_integer() else score,
                       tuple(name.removeprefix(index) for name in names[1:] if name != rest[5]))
    except (IndexError, ValueError) as error:
        raise Reject("format", f"expected a command of this sink, got {words!r:.100}") from error


def advance(applied: bytes, positions: list[bytes]) -> bytes:
    """Return the command that writes positions, where no item of the ``MULTI`` before it was refused."""
    return command(b"EVALSHA", _SHA, b"1", applied, b"at", *positions)
