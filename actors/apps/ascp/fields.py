"""``key=value`` lines: values in quotation marks, values with blanks, and units made one.

    uuid=a9063e44-… status=success file="/tmp/1 GB" size=1048576000 rate=96.36Mbps elapsed=87.05s
    ──▶  (uuid, "a9063e44-…", NONE) … (size, 1048576000, BYTES) (rate, 96360000, BITS_PER_SECOND) (elapsed, 87.05, SECONDS)

Where a value ends. One in quotation marks ends at the first mark that is followed by the end of the line, or by blanks
and a key that is known; if there is none, by any key. One without ends before the next key: of a path (``source``,
``dest``), which may have blanks and ``=`` in it, that is the next key that is known.

What a value is. The keys of ``TEXTS`` are text, whatever they look like (``proto_data=20008`` is hexadecimal: another
line has ``2000e``), and so is what has quotation marks. Of all others a number is a number, with its unit.
"""

from __future__ import annotations

import re
from functools import lru_cache

#: As ``Unit`` of the message has them.
NONE, BITS_PER_SECOND, BYTES, SECONDS, RATIO = range(5)
#: (name, value, unit)
Field = tuple[str, str | int | float, int]

#: Keys whose values are text.
TEXTS = frozenset((
    "uuid id op status source dest source_prefix local peer os ver lic peeros peerver peerlic proto_sess proto_udp "
    "proto_bwmeas proto_data user rate_policy cipher precalc mf_path mf_suffix partial_file_suffix files_encrypt "
    "files_decrypt file_csum prepostcmd tcp_mode rtt_auto cookie srcbase range keepalive test_login proxy_ip "
    "net_rc_alg exclude_older/newer_than file mtime errstr token").split())
#: Keys whose numbers are bytes.
SIZES = frozenset(("size", "start_byte"))
#: Keys that are known besides.
KNOWN = TEXTS | SIZES | frozenset((
    "tcp_port userid targetrate minrate resume create ovr times mf dgram_sz vl_proto_ver peer_vl_proto_ver vl_local "
    "vlink_remote vl_sess_id rd_sz wr_sz cluster_num_nodes cluster_node_id rate elapsed loss rexreqs overhead "
    "errcode").split())
#: Keys whose values are paths, or sentences: they may have blanks and ``=`` in them.
PATHS = frozenset(("source", "dest", "source_prefix", "srcbase", "file", "errstr"))

#: (what it counts, power of ten that it is multiplied with)
_UNITS = {
    "": (NONE, 0), "bps": (BITS_PER_SECOND, 0), "Kbps": (BITS_PER_SECOND, 3), "Mbps": (BITS_PER_SECOND, 6),
    "Gbps": (BITS_PER_SECOND, 9), "Tbps": (BITS_PER_SECOND, 12), "s": (SECONDS, 0), "ms": (SECONDS, -3),
    "us": (SECONDS, -6), "%": (RATIO, -2)}
_QUANTITY = re.compile(r"(-?[0-9]{1,18})(?:\.([0-9]{1,9}))?([A-Za-z%]{0,4})", re.ASCII)
_MOST = (1 << 63) - 1
_KEY = rb"([A-Za-z_][\w./>-]*)="
_FIRST = re.compile(_KEY)
_NEXT = re.compile(rb" +" + _KEY)
_CLOSING = re.compile(rb'"(?= *$| +' + _KEY + rb")")


@lru_cache(maxsize=1 << 16)
def quantity(text: str) -> tuple[int | float, int] | None:
    """The number that a text is, in bit/s, bytes or seconds, and what it counts; None: it is no number.

    Whole numbers stay whole: ``96.36Mbps`` is 96,360,000.
    """
    found = _QUANTITY.fullmatch(text)
    if found is None:
        return None
    whole, part, name = found.groups()
    unit = _UNITS.get(name)
    if unit is None:
        return None
    digits, power = int(whole + (part or "")), unit[1] - len(part or "")
    if part is None and power >= 0 or unit[0] == BITS_PER_SECOND and power >= 0:
        number: int | float = digits * 10**power
        return (number, unit[0]) if abs(number) <= _MOST else None
    return digits / 10**-power, unit[0]


def typed(name: str, text: str, is_quoted: bool = False) -> Field:
    """A field of this name."""
    if is_quoted or name in TEXTS:
        return name, text, NONE
    found = quantity(text)
    if found is None:
        return name, text, NONE
    return name, found[0], BYTES if name in SIZES and found[1] == NONE else found[1]


def fields_of(body: bytes) -> list[Field] | None:
    """The fields of ``key=value key=value …``; None: it is nothing of the kind."""
    return _usual(body) or _any(body)


def _usual(body: bytes) -> list[Field] | None:
    """The same where no value has a blank but in quotation marks, and all keys are known; None: it may be otherwise."""
    found: list[Field] = []
    parts = body.decode("utf-8", "replace").split('"')
    last, opened = len(parts) - 1, ""
    if last & 1:
        return None
    known, texts = KNOWN, TEXTS
    for number, part in enumerate(parts):
        if number & 1:
            if parts[number + 1][:1] != " " and (parts[number + 1] or number + 1 < last):
                return None  # a quotation mark within a value, or behind one
            found.append((opened, part, NONE))
            continue
        words = part.split(" ")
        if number < last:
            opened, mark, rest = words.pop().partition("=")
            if not mark or rest or opened not in known:
                return None
        for word in words:
            if not word:
                continue
            name, mark, text = word.partition("=")
            if not mark or name not in known:
                return None
            if name in texts:
                found.append((name, text, NONE))
            else:
                found.append(typed(name, text))
    return found


def _any(body: bytes) -> list[Field] | None:
    found: list[Field] = []
    body = body.rstrip(b" ")
    here = _FIRST.match(body, len(body) - len(body.lstrip(b" ")))
    while here is not None:
        name, start = _text(here[1]), here.end()
        end, is_quoted = (_closing(body, start), True) if body[start:start + 1] == b'"' else (None, False)
        if end is None:
            here = _next(body, start, name in PATHS)
            text, is_quoted = body[start:here.start() if here else len(body)], False
        else:
            text, here = body[start + 1:end], _NEXT.match(body, end + 1)
        found.append(typed(name, _text(text), is_quoted))
    return found or None


def _closing(body: bytes, start: int) -> int | None:
    """Where the quotation mark is that closes the one at ``start``; None: nowhere."""
    ends = list(_CLOSING.finditer(body, start + 1))
    known = next((end for end in ends if end[1] is None or _text(end[1]) in KNOWN), None)
    end = known or (ends[0] if ends else None)
    return None if end is None else end.start()


def _next(body: bytes, start: int, is_path: bool) -> re.Match[bytes] | None:
    """The next key."""
    for found in _NEXT.finditer(body, start):
        if not is_path or _text(found[1]) in KNOWN:
            return found
    return None


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
