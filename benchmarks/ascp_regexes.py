"""What ``ascp`` is measured against: a hundred or so regular expressions, one for each thing that a line may say.

The program that was replaced was of that kind, and is not public: this one is ours, written as well as such a program
can be. Each expression is compiled once, begins with the text that it looks for (so that the search for it is quick),
and says how its groups are converted. Two ways to use them:

* ``every``: each is searched for in each line;
* ``by_kind``: what a line begins with chooses those that it may have; the others are not tried.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

#: (name, expression, what makes a value of its groups)
Pattern = tuple[str, re.Pattern[str], Callable[[re.Match[str]], Any]]

_FACTORS = {"K": 10**3, "M": 10**6, "G": 10**9}


def _ints(found: re.Match[str]) -> tuple[int, ...]:
    return tuple(map(int, found.groups()))


def _text(found: re.Match[str]) -> str:
    return found[1]


def _number(found: re.Match[str]) -> int:
    return int(found[1])


def _real(found: re.Match[str]) -> float:
    return float(found[1])


def _rate(found: re.Match[str]) -> int:
    return round(float(found[1]) * _FACTORS[found[2]])


def _ms(found: re.Match[str]) -> float:
    return int(found[1]) / 1000


def _percent(found: re.Match[str]) -> float:
    return round(float(found[1]) / 100, 6)


def _pairs(found: re.Match[str]) -> dict[str, int]:
    return {name: int(value) for name, value in re.findall(r"([a-z_]+) ([0-9]+)(?= |$)", found[1])}


def _group(name: str, members: str) -> Pattern:
    values = "/".join([r"(\d+)"] * (members.count("/") + 1))
    return f"{name} {members}", re.compile(rf" {re.escape(name)} {members}={values}(?= |$)"), _ints


def _word(name: str) -> Pattern:
    return name, re.compile(rf" {name}=(\S*)"), _text


def _whole(name: str) -> Pattern:
    return name, re.compile(rf" {name}=(\d+)"), _number


def _quoted(name: str) -> Pattern:
    return name, re.compile(rf' {name}="([^"]*)"'), _text


def _words(names: str) -> list[Pattern]:
    return [_word(name) for name in names.split()]


def _wholes(names: str) -> list[Pattern]:
    return [_whole(name) for name in names.split()]


_BACKLOG = r"mgmt backlog i/s/n ="
_TRIPLE = r" (\d+)/(\d+)/(\d+)"
_DATA = [_group(name, members) for name, members in (
    ("bl", "t/o/r/d"), ("bl", "t/o/r/d/ts"), ("rex_rtt", "l/h/s/o"), ("ooo_rtt", "l/h/s/o"),
    ("rate_rtt", "b/l/h/s/r/f"), ("ctl", "bm/bs"), ("rex", "n/s/q/v/a/r"), ("bl", "l/d/o/r/a/x/dl/df/dm/ds"),
    ("disk", "l/h/b"), ("disk", "l/h/b/w"), ("vlink", "lq/lo/rq/ro"), ("rate", "t/m/c/n/vl/vr/r"),
    ("prog", "t/f/e"))] + [_whole("rcvD")]
_QUEUES = [
    _group("DS Qs", "ds/n/rq/ao/ap/rd/ru/no/po/pc/do"), _group("DS Qs", "ds/re/a/d/ao/eo/n/ap/rq/rd/ru/cl/di/do"),
    _group("Rs", "i/o"), _group("Rs", "o/i"),
    ("mgmt backlog i/s/n", re.compile(rf"{_BACKLOG}{_TRIPLE}$"), _ints),
    ("mgmt backlog i/s/n", re.compile(rf"{_BACKLOG}{_TRIPLE}{_TRIPLE}$"), _ints)]
_STATE: list[Pattern] = [
    ("ds_id", re.compile(r"State: ds_id (\d+)"), _number), ("state", re.compile(r"State: ds_id \d+ (\S+)"), _text),
    ("direction", re.compile(r"State: ds_id \d+ \S+ (\S+)"), _text),
    ("size", re.compile(r"\(size (\d+) thresh"), _number), ("thresh", re.compile(r" thresh (\d+)\)"), _number)]
_FILES: list[Pattern] = [
    (name, re.compile(rf"Source file transfers {name} : (\d+)"), _number) for name in ("passed", "failed", "skipped")]
_SESSION = [
    *_words("uuid op status"), ("source", re.compile(r" source=(.*?) dest="), _text),
    ("dest", re.compile(r" dest=(.*?) source_prefix="), _text), *_words("source_prefix local peer"),
    *_wholes("tcp_port"), _quoted("os"), *_words("ver lic"), _quoted("peeros"),
    *_words("peerver peerlic proto_sess proto_udp proto_bwmeas proto_data")]
_PARAMS = [
    _word("uuid"), *_wholes("userid"), _quoted("user"), *_wholes("targetrate minrate"), *_words("rate_policy cipher"),
    *_wholes("resume create ovr times"), _word("precalc"), _whole("mf"),
    *_words("mf_path mf_suffix partial_file_suffix files_encrypt files_decrypt file_csum"), _whole("dgram_sz"),
    *_words("prepostcmd tcp_mode rtt_auto"), _quoted("cookie"),
    *_wholes("vl_proto_ver peer_vl_proto_ver vl_local vlink_remote vl_sess_id"), _word("srcbase"),
    *_wholes("rd_sz wr_sz cluster_num_nodes cluster_node_id"),
    *_words("range keepalive test_login proxy_ip net_rc_alg"), _word("exclude_older/newer_than")]
_TRANSFER: list[Pattern] = [
    *_words("uuid op status"), _quoted("file"), *_wholes("size start_byte"),
    ("rate", re.compile(r" rate=([\d.]+)([KMG])bps"), _rate),
    ("elapsed", re.compile(r" elapsed=([\d.]+)s"), _real), ("loss", re.compile(r" loss=([\d.]+)"), _real),
    *_wholes("rexreqs overhead"), _quoted("mtime")]
_STATISTICS: list[Pattern] = [
    _word("id"), ("delay", re.compile(r" delay=(\d+)ms"), _ms), ("rex_delay", re.compile(r" rex_delay=(\d+)ms"), _ms),
    ("solicited_rex", re.compile(r" solicited_rex=([\d.]+)%"), _percent),
    ("unsolicited_rex", re.compile(r" unsolicited_rex=([\d.]+)%"), _percent),
    ("ave_xmit_rate", re.compile(r" ave_xmit_rate ([\d.]+)([KMG])bps"), _rate),
    ("effective", re.compile(r" effective=([\d.]+)%"), _percent),
    ("effective_rate", re.compile(r" effective_rate=([\d.]+)([KMG])bps"), _rate),
    *[(name, re.compile(rf"\({name}: ([^()]*)\)"), _pairs)
      for name in ("detail", "sndr ctl", "rcvr ctl", "rex ctl", "progress")],
    ("estimate transfer size", re.compile(r"\(estimate transfer size: (\d+) bytes\)"), _number),
    *[(f"sess->instru.{name}", re.compile(rf"sess->instru\.{name} (\d+)"), _number)
      for name in ("num_rex_xfer_not_found", "num_rex_abrtxfer_not_found")]]

_KINDS: list[tuple[str, re.Pattern[str], list[Pattern]]] = [
    ("data", re.compile(r"(?:LOG|ERR) (Receiver|Sender) bl "), _DATA),
    ("queues", re.compile(r"(?:LOG|ERR) (Receiver|Sender) DS Qs "), _QUEUES),
    ("transfer_start", re.compile(r"(?:LOG|ERR) FASP Transfer Start "), _TRANSFER),
    ("transfer_stop", re.compile(r"(?:LOG|ERR) FASP Transfer Stop "), _TRANSFER),
    ("session_start", re.compile(r"(?:LOG|ERR) FASP Session Start "), _SESSION),
    ("session_stop", re.compile(r"(?:LOG|ERR) FASP Session Stop "), _SESSION),
    ("session_params", re.compile(r"(?:LOG|ERR) FASP Session Params "), _PARAMS),
    ("session_statistics", re.compile(r"(?:LOG|ERR) FASP Session Statistics \[(Sender|Receiver)\]"), _STATISTICS),
    ("state", re.compile(r"(?:LOG|ERR) State: "), _STATE),
    ("files", re.compile(r"(?:LOG|ERR) Source file transfers "), _FILES)]

_SYSLOG = re.compile(r"([A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) (\S+) ascp\[(\d+)\]: (LOG|ERR) ")
_DATED = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}) \[([0-9a-f]+)-([0-9a-f]+)\] (LOG|ERR) ")

#: Each of them once: what has the same name and the same expression in several kinds is one.
PATTERNS: list[Pattern] = list({(name, pattern.pattern): (name, pattern, convert)
                                for _, _, patterns in _KINDS for name, pattern, convert in patterns}.values())
#: How many there are, with those for prefix and kind.
COUNT = len(PATTERNS) + len(_KINDS) + 2


def every(line: str, year: int) -> dict[str, Any]:
    """What each of the expressions finds in a line."""
    event = _prefix(line, year)
    for name, kind, _ in _KINDS:
        if kind.search(line):
            event["kind"] = name
    for name, pattern, convert in PATTERNS:
        found = pattern.search(line)
        if found is not None:
            event[name] = convert(found)
    return event


def by_kind(line: str, year: int) -> dict[str, Any]:
    """What those expressions find that a line of its kind may have."""
    event = _prefix(line, year)
    for name, kind, patterns in _KINDS:
        if kind.search(line):
            event["kind"] = name
            for field, pattern, convert in patterns:
                found = pattern.search(line)
                if found is not None:
                    event[field] = convert(found)
            break
    return event


@lru_cache(maxsize=1 << 16)
def _moment(year: int, stamp: str) -> int:
    return int(datetime.strptime(f"{year} {stamp} +0000", "%Y %b %d %H:%M:%S %z").timestamp()) * 1000


@lru_cache(maxsize=1 << 16)
def _dated(stamp: str) -> int:
    return round(datetime.fromisoformat(stamp).replace(tzinfo=UTC).timestamp() * 1000)


def _prefix(line: str, year: int) -> dict[str, Any]:
    found = _SYSLOG.match(line)
    if found is not None:
        stamp, host, pid, level = found.groups()
        return {"at": _moment(year, stamp), "host": host, "pid": pid, "level": level}
    found = _DATED.match(line)
    if found is not None:
        stamp, pid, thread, level = found.groups()
        return {"at": _dated(stamp), "pid": pid, "thread": thread, "level": level}
    return {"level": line[:3]} if line[:4] in ("LOG ", "ERR ") else {}
