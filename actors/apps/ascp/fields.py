"""``key=value`` lines: values in quotation marks, values with blanks, and units made one.

    uuid=a9063e44-… status=success file="/tmp/1 GB" size=1048576000 rate=96.36Mbps elapsed=87.05s
    ──▶  (uuid, "a9063e44-…") … (size, 1048576000, BYTES) (rate, 96360000, BITS_PER_SECOND) (elapsed, 87.05, SECONDS)

Where a value ends. One in quotation marks ends at the first mark that is followed by the end of the line, or by blanks
and a key. One without ends before the next key: of a path (``source``, ``dest``), which may have blanks and ``=`` in
it, that is the next key that is known.

What a value is. The keys of ``TEXTS`` are text, whatever they look like (``proto_data=20008`` is hexadecimal: another
line has ``2000e``), and so is what has quotation marks. Of all others a number is a number, with its unit.

Fast: lines of one kind and version have the same keys in the same order. From the first one that is taken apart key by
key an expression is made, which takes apart all that are like it in one call; what it does not fit, or may not, goes
key by key, to the same result.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

#: As ``Unit`` of the message has them.
NONE, BITS_PER_SECOND, BYTES, SECONDS, RATIO = range(5)
#: (name, value, unit)
Field = tuple[str, str | int | float, int]

_TEXTS = (
    "uuid id op status source dest source_prefix local peer os ver lic peeros peerver peerlic proto_sess proto_udp "
    "proto_bwmeas proto_data user rate_policy cipher precalc mf_path mf_suffix partial_file_suffix files_encrypt "
    "files_decrypt file_csum prepostcmd tcp_mode rtt_auto cookie srcbase range keepalive test_login proxy_ip "
    "net_rc_alg exclude_older/newer_than file mtime errstr token")
_OTHERS = (
    "tcp_port userid targetrate minrate resume create ovr times mf dgram_sz vl_proto_ver peer_vl_proto_ver vl_local "
    "vlink_remote vl_sess_id rd_sz wr_sz cluster_num_nodes cluster_node_id rate elapsed loss rexreqs overhead "
    "errcode")
#: Keys whose values are text.
TEXTS = frozenset(_TEXTS.split())
#: Keys whose numbers are bytes.
SIZES = frozenset(("size", "start_byte"))
#: Keys that are known besides.
KNOWN = TEXTS | SIZES | frozenset(_OTHERS.split())
#: Keys whose values are paths, or sentences: they may have blanks and ``=`` in them.
PATHS = frozenset(("source", "dest", "source_prefix", "srcbase", "file", "errstr"))

#: (what it counts, power of ten that it is multiplied with)
_UNITS = {
    "": (NONE, 0), "bps": (BITS_PER_SECOND, 0), "Kbps": (BITS_PER_SECOND, 3), "Mbps": (BITS_PER_SECOND, 6),
    "Gbps": (BITS_PER_SECOND, 9), "Tbps": (BITS_PER_SECOND, 12), "s": (SECONDS, 0), "ms": (SECONDS, -3),
    "us": (SECONDS, -6), "%": (RATIO, -2)}
_QUANTITY = re.compile(r"(-?[0-9]{1,18})(?:\.([0-9]{1,9}))?([A-Za-z%]{0,4})", re.ASCII)
_MOST = (1 << 63) - 1
_KEY = r"([A-Za-z_][A-Za-z0-9_./>-]*)="
_FIRST = re.compile(" *" + _KEY)
_NEXT = re.compile(" +" + _KEY)
_CLOSING = re.compile(r'"(?=\Z| +' + _KEY + ")")
#: Values that are as they usually are, so that there is no other place where one may end.
_QUOTED, _PATH, _PLAIN = r'"([^"]*)"', r'([^"=]*)', r'([^"= ]*)'
#: So many forms of lines of one kind are remembered.
_FEW = 8
#: So many values of one key are remembered, each of so many characters at most.
_MOST_VALUES, _LONGEST_KEPT = 4096, 64
#: No form is made of a longer line.
_LONGEST_LEARNT = 8192


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
    if power >= 0 and (part is None or unit[0] == BITS_PER_SECOND):
        number: int | float = digits * 10**power
        return (number, unit[0]) if abs(number) <= _MOST else None
    return digits / 10**-power, unit[0]


def typed(name: str, text: str, is_quoted: bool = False) -> Field:
    """A field of this name."""
    if is_quoted or name in TEXTS:
        return name, text, NONE
    if text.isdigit() and text.isascii() and len(text) < 19:
        return name, int(text), BYTES if name in SIZES else NONE
    found = quantity(text)
    if found is None:
        return name, text, NONE
    return name, found[0], BYTES if name in SIZES and found[1] == NONE else found[1]


class _Values(dict[str, Field]):
    """The fields of one key, by their text: of many keys few values ever come.

    Args:
        name: of the key.
        make: makes a field of a name and a text.
    """

    def __init__(self, name: str, make: Callable[[str, str], Field]) -> None:
        self._name = name
        self._make = make

    def __missing__(self, text: str) -> Field:
        found = self._make(self._name, text)
        if len(text) <= _LONGEST_KEPT:  # however long lines are, what is remembered is small
            if len(self) >= _MOST_VALUES:
                self.clear()
            self[text] = found
        return found


#: An expression that lines like one fit, and by group of it the name; None: it has quotation marks, so it is text.
Form = tuple[str, Sequence[tuple[str, bool]]]


class Forms:
    """Takes apart lines of one kind; remembers what they look like.

    Args:
        take: the fields of a line, piece by piece; None: it is nothing of the kind.
        form_of: what lines are like that are like this one: an expression, and for each of its groups the name of the
            key and whether it is text whatever it looks like. None: it is too odd.
        make: makes a field of a name and a text.
    """

    def __init__(self, take: Callable[[str], list[Field] | None],
                 form_of: Callable[[str, list[Field]], Form | None], make: Callable[[str, str], Field]) -> None:
        self._take = take
        self._form_of = form_of
        self._make = make
        #: Each with the names of its values, and what they are if they are not text.
        self._known: list[tuple[re.Pattern[str], list[tuple[str, _Values | None]]]] = []

    def __call__(self, text: str) -> list[Field] | None:
        """The fields of a line; None: it is nothing of the kind."""
        for form, names in self._known:
            match = form.fullmatch(text)
            if match is not None:
                return [(name, value, NONE) if values is None else values[value]
                        for (name, values), value in zip(names, match.groups(), strict=True)]
        found = self._take(text)
        if found is not None and len(self._known) < _FEW and len(text) <= _LONGEST_LEARNT:
            self._learn(text, found)
        return found

    def _learn(self, text: str, found: list[Field]) -> None:
        """From here on lines are known that are like this one, if it is a usual one: read back the same."""
        form = self._form_of(text, found)
        if form is None:
            return
        pattern = re.compile(form[0])
        match = pattern.fullmatch(text)
        names = [(name, None if is_text else _Values(name, self._make)) for name, is_text in form[1]]
        if match is not None and [(name, value, NONE) if values is None else self._make(name, value) for (
                name, values), value in zip(names, match.groups(), strict=True)] == found:
            self._known.append((pattern, names))


def form_of_fields(text: str, found: list[Field]) -> Form:
    """What lines are like that have the same keys in the same order, and quotation marks at the same ones."""
    words: list[str] = []
    names: list[tuple[str, bool]] = []
    at = 0
    for name, *_ in found:
        start = text.index(f"{name}=", at)
        before, at = text[at:start], start + len(name) + 1
        is_quoted = text[at:at + 1] == '"'
        value = _QUOTED if is_quoted else _PATH if name in PATHS else _PLAIN
        if words:  # what is left of the value before this one ends in its blanks
            before = before[len(before.rstrip(" ")):]
        words.append(f"{re.escape(before)}{re.escape(name)}={value}")
        names.append((name, is_quoted or name in TEXTS))
    return "".join(words) + " *", names


def fields_of(text: str) -> list[Field] | None:
    """The fields of ``key=value key=value …``, key by key; None: it is nothing of the kind."""
    found: list[Field] = []
    text = text.rstrip(" ")
    here = _FIRST.match(text)
    while here is not None:
        name, start = here[1], here.end()
        closing = _CLOSING.search(text, start + 1) if text[start:start + 1] == '"' else None
        if closing is None:
            here = _next(text, start, name in PATHS)
            found.append(typed(name, text[start:here.start() if here else len(text)]))
        else:
            here = _NEXT.match(text, closing.end())
            found.append(typed(name, text[start + 1:closing.start()], is_quoted=True))
    return found or None


def _next(text: str, start: int, is_path: bool) -> re.Match[str] | None:
    """The next key."""
    for found in _NEXT.finditer(text, start):
        if not is_path or found[1] in KNOWN:
            return found
    return None
