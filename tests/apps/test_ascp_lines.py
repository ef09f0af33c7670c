"""ascp's parser by its rules, on the real lines where they are here, and on short ones of the same form."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from actors.apps.ascp.events import Event, decode, encode, key_of, range_of
from actors.apps.ascp.fields import BITS_PER_SECOND, BYTES, NONE, RATIO, SECONDS
from actors.apps.ascp.lines import parse_lines
from tests.ascp import DATA, PREFIX, REAL, REFERENCE_MS, fields, one, outcome
from thresher import Reject

real_lines = pytest.mark.skipif(not all(path.exists() for path in REAL), reason="the real lines are not here")


def real() -> list[Event]:
    lines = [line for path in REAL for line in path.read_bytes().split(b"\n") if line]
    events = parse_lines(lines, "h", REFERENCE_MS)
    assert all(isinstance(event, Event) for event in events)
    return [event for event in events if isinstance(event, Event)]


def ms(*when: int) -> int:
    return int(datetime(*when, tzinfo=UTC).timestamp() * 1000)  # type: ignore[arg-type, misc]


# The real lines ------------------------------------------------------------------------------------------------------


@real_lines
def test_each_real_line_is_an_event_of_its_kind() -> None:
    assert [event.kind for event in real()] == [
        "data", "transfer_stop", "data", "queues", "text", "text", "session_stop", "session_params", "transfer_start",
        "transfer_stop", "state", "data", "queues", "queues", "session_statistics", "session_start",
        "text", "text", "text", "text", "text"]
    assert [event.level for event in real()][-5:] == ["ERR", "ERR", "ERR", "ERR", "LOG"]


@real_lines
def test_groups_of_real_lines_are_known_by_name_and_members_whatever_their_version() -> None:
    first, second, third = (event for event in real() if event.kind == "data")
    assert first.group("bl t/o/r/d") == (5292, 5292, 0, 0) and first.group("bl t/o/r/d/ts") is None
    assert second.group("bl t/o/r/d/ts") == (722162, 722160, 0, 2, 722160)
    assert first.group("disk l/h/b/w") == (0, 1, 0, 7683984) and second.group("disk l/h/b") == (0, 1, 0)
    assert first.group("vlink lq/lo/rq/ro") is None and second.group("vlink lq/lo/rq/ro") == (0, 0, 0, 0)
    assert third.group("bl l/d/o/r/a/x/dl/df/dm/ds") == (1548, 57, 0, 0, 0, 0, 0, 0, 0, 0)
    assert third.group("prog t/f/e") == (1417238305, 1417238305, 41180198)
    assert [event.field("rcvD") for event in (first, second, third)] == [0, 1, 6]
    for event in (first, second, third):  # what arithmetic bears out
        total, *parts = (event.number("bl", member) or 0 for member in "tord")
        assert total == sum(parts)
        assert event.number("rate", "t") in (80_000_000, 100_000_000, 300_000_000)


@real_lines
def test_real_queues_have_no_triple_behind_the_backlog_or_one_or_two() -> None:
    none, one_triple, two = (event for event in real() if event.kind == "queues")
    assert [event.group("mgmt backlog i/s/n") for event in (none, one_triple, two)] == [
        None, (0, 5, 0), (0, 412, 0, 1, 456, 0)]
    assert (none.side, two.side) == ("Receiver", "Sender")
    assert two.group("DS Qs ds/re/a/d/ao/eo/n/ap/rq/rd/ru/cl/di/do") == (0,) * 14 and two.group("Rs o/i") == (1, 1)


@real_lines
def test_values_of_real_lines_have_blanks_and_slashes_and_units() -> None:
    stop, params, start = (next(event for event in real() if event.kind == kind) for kind in (
        "session_stop", "session_params", "session_start"))
    assert fields(stop)["source"] == "aspera-test-dir-large/1GB (1)" and fields(stop)["dest"] == "/tmp"
    assert fields(start)["os"] == "Microsoft Windows *.* " and fields(start)["proto_data"] == "2000e"
    assert fields(stop)["proto_data"] == "20008"  # hexadecimal, so it is no number
    assert fields(params)["exclude_older/newer_than"] == "0/0" and fields(params)["partial_file_suffix"] == ""
    assert fields(params)["targetrate"] == 100_000_000 and fields(params)["peer_vl_proto_ver"] == 1
    transfer = next(event for event in real() if event.kind == "transfer_stop")
    assert {name: (value, unit) for name, value, unit in transfer.fields if unit} == {
        "size": (1048576000, BYTES), "start_byte": (0, BYTES), "rate": (96_360_000, BITS_PER_SECOND),
        "elapsed": (87.05, SECONDS)}


@real_lines
def test_real_statistics_nest_groups() -> None:
    (event,) = (event for event in real() if event.kind == "session_statistics")
    assert event.side == "Sender" and event.field("id") == "029c1333-c732-4636-83c1-e1acec2864cb"
    by_name = {(name, unit): value for name, value, unit in event.fields}
    assert by_name["ave_xmit_rate", BITS_PER_SECOND] == 299_530_000 and by_name["delay", SECONDS] == 0.064
    assert by_name["solicited_rex", RATIO] == 0.0001 and by_name["detail/bl_rex", NONE] == 3136
    assert by_name["rcvr ctl/lost", NONE] == 1 and by_name["rcvr ctl/lost", RATIO] == 0.0001  # there twice
    assert by_name["progress/tx_bytes", BYTES] == 36274005756 and by_name["estimate transfer size", BYTES] == 0
    assert by_name["sess->instru.num_rex_abrtxfer_not_found", NONE] == 0


@real_lines
def test_real_prefixes_say_host_and_process_and_time() -> None:
    first, dated = real()[0], next(event for event in real() if event.kind == "session_statistics")
    assert (first.host, first.pid, first.at) == ("elsaspera03", "5276", ms(2018, 1, 23, 10, 47, 43))
    assert (dated.host, dated.pid, dated.thread) == ("h", "112c", "00001cf0")
    assert dated.at == ms(2020, 8, 21, 19, 48, 44) + 622
    (bare,) = (event for event in real() if event.text.startswith("Receiver has not"))
    assert (bare.host, bare.pid, bare.at) == ("h", "", None)


@real_lines
def test_real_events_are_read_back_from_their_messages_and_keep_their_lines() -> None:
    lines = [line for path in REAL for line in path.read_bytes().split(b"\n") if line]
    assert [decode(encode(event)[1]) for event in real()] == real()
    assert [event.raw for event in real()] == lines
    assert len({key_of(event) for event in real()}) == len(lines)


# Prefixes and years --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("reference", "stamp", "year"), [
    ((2026, 1, 1, 0, 30), "Dec 31 23:59:59", 2025),
    ((2025, 12, 31, 23, 30), "Jan  1 00:10:00", 2026),  # a clock that is ahead
    ((2025, 12, 31, 23, 30), "Jan  1 23:30:01", 2025),  # more than a day ahead: it was the year before
    ((2025, 12, 31, 23, 30), "Jan  1 23:30:00", 2026),
    ((2026, 3, 1), "Feb 29 12:00:00", 2024),  # the last year that had one
    ((2026, 6, 1), "Jun  1 00:00:00", 2026),
])
def test_the_year_is_the_latest_that_puts_a_line_at_most_a_day_after_the_reference(
    reference: tuple[int, ...], stamp: str, year: int
) -> None:
    event = one(f"{stamp} h ascp[1]: LOG x", reference_ms=ms(*reference))
    assert event.at is not None and datetime.fromtimestamp(event.at / 1000, UTC).year == year


def test_clocks_ahead_of_utc_are_set_back() -> None:
    line = "Oct 10 13:21:08 src-3 ascp[21736]: LOG x"
    assert one(line, offset_ms=7_200_000).at == ms(2018, 10, 10, 11, 21, 8)
    at = one("2020-08-21 19:48:44.622 [1-2] LOG x", offset_ms=-3_600_000).at
    assert at == ms(2020, 8, 21, 20, 48, 44) + 622


@pytest.mark.parametrize("line", [
    "Foo 10 13:21:08 src-3 ascp[21736]: LOG State: x", "Oct 32 13:21:08 src-3 ascp[21736]: LOG State: x",
    "Oct 10 25:21:08 src-3 ascp[21736]: LOG State: x", "Oct 10 13:21:08 src-3 sshd[21736]: LOG State: x",
    "2020-13-21 19:48:44.622 [1-2] LOG State: x", "2020-08-21 19:48:44 [1-2] LOG State: x",
    "1969-08-21 19:48:44.622 [1-2] LOG State: x", "Completed: 1024000K bytes", "  (95875K bits/sec)", "LOGS x"])
def test_what_has_no_prefix_that_is_known_and_no_level_is_kept_as_text(line: str) -> None:
    event = one(line, host="h")
    assert (event.kind, event.level, event.at, event.pid, event.host) == ("text", "", None, "", "h")
    assert event.text == line


def test_a_prefix_before_free_text_is_taken_apart() -> None:
    event = one(f"{PREFIX}Completed: 1024000K bytes transferred\r")
    assert (event.kind, event.host, event.pid, event.text) == (
        "text", "src-3", "21736", "Completed: 1024000K bytes transferred")
    assert not event.raw.endswith(b"\r")


def test_both_levels_have_rules() -> None:
    assert one(f"{PREFIX}ERR FASP Session Stop uuid=a status=error errcode=14").kind == "session_stop"
    assert one(f"LOG {DATA}").kind == one(f"ERR {DATA}").kind == "data"


# Groups --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("body", "why"), [
    ("Receiver bl t/o/r/d=5/5/0 rcvD=0", "bl t/o/r/d: expected 4 values, as there are members, got 3"),
    ("Receiver bl t/o=5/5/0/1 rcvD=0", "bl t/o: expected 2 values"),
    ("Receiver bl t/o=5/x", "bl t/o: expected whole numbers, got '5/x'"),
    ("Receiver bl t/o=5/", "expected whole numbers"),
    ("Receiver bl t/o=5/99999999999999999999", "expected numbers of 64 bits"),
    ("Receiver bl t/o 5/6", "without any"),
    ("Receiver bl t/o=5/6 rex", "expected name members=values, got 'rex' without any"),
    ("Receiver bl t/o=5/6 a/b=1/2", "expected name n1/n2/…=v1/v2/…, got 'a/b'"),
    ("Receiver bl t/o=5/6 rcvD=x", "rcvD: expected whole numbers"),
    ("Receiver bl t/o=5/6 rcvD=1 rcvX", "without any"),
    ("Sender DS Qs ds/n=0/0 mgmt backlog i/s/n = 1/2/3 4/5/6 7/8/9", "at most 2 of them, got 3"),
    ("Sender DS Qs ds/n=0/0 mgmt backlog i/s/n = 1/2", "expected 3 values"),
    ("FASP Session Statistics [Sender] (detail: a 1 b)", "expected names and values in turn"),
    ("FASP Session Statistics [Sender] (detail: a 1", "expected name=value"),
    ("FASP Session Statistics [Sender] a", "expected name=value")])
def test_a_malformed_group_is_rejected_with_what_is_wrong(body: str, why: str) -> None:
    for _ in range(2):  # also when lines like it are known
        found = outcome(f"{PREFIX}LOG {body}")
        assert isinstance(found, Reject) and found.reason == "group" and why in found.detail
        one(f"LOG {DATA}")


def test_a_group_that_nobody_knows_is_one_all_the_same() -> None:
    for body, first in (("bl t/q=-0/5", 0), ("bl t/q=-3/5", -3)):  # the one makes nothing known of the other
        assert one(f"LOG Receiver {body}").numbers == [first, 5]
    event = one("LOG Receiver bl t/o=1/2 new_group q/w/e2=-7/8/09 other x=5 rcvD=1 pair2=4")
    assert event.groups == ("bl t/o", "new_group q/w/e2", "other x") and event.numbers == [1, 2, -7, 8, 9, 5]
    assert event.fields == [("rcvD", 1, NONE), ("pair2", 4, NONE)]
    assert event.number("new_group", "e2") == 9 and event.number("bl", "ts") is None


def test_equals_signs_and_blanks_in_other_places_are_no_known_line() -> None:
    one("LOG Receiver bl t/o=1/2 rex q/w=3/4 rcvD=1")
    for body in ("bl t/o 1/2 rex=q/w=3/4 rcvD=1", "bl t/o=1/2 rex=q/w 3/4 rcvD=1", "bl t/o=1/2/3 rex q/w=4 rcvD=1",
                 "bl t/o=1/2 rex q/w=3/4 rcvD1=", "bl t1/o=/2 rex q/w=3/4 rcvD=1", "bl t/o=1/ rex2 q/w=3/4 rcvD=1"):
        assert isinstance(outcome(f"LOG Receiver {body}"), Reject)
    one("LOG Receiver DS Qs ds/n=1/2 mgmt backlog i/s/n = 0/1/2")
    assert isinstance(outcome("LOG Receiver DS Qs ds/n=1/2 mgmt backlog i/s/n =0"), Reject)
    assert one("LOG Receiver bl t2/o=1/2 rex q/w=3/4 rcvD=1").groups == ("bl t2/o", "rex q/w")
    assert one("LOG Receiver bl t/o=1/2 rex3 q/w=3/4 rcvD=1").groups == ("bl t/o", "rex3 q/w")
    assert one("LOG Receiver bl t/o=1/2 rex q/w=3/4 rcvD5=1").fields == [("rcvD5", 1, NONE)]
    assert one("LOG Receiver bl  t/o=1/2  rex q/w=3/4 rcvD=1 ").numbers == [1, 2, 3, 4]


# Fields --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("body", "found"), [
    ('file="a b.mp4" size=5', {"file": "a b.mp4", "size": 5}),
    ('file="a "b" c.mp4" size=5', {"file": 'a "b" c.mp4', "size": 5}),
    ('file="" mtime=""', {"file": "", "mtime": ""}),
    ('file="unclosed size=5', {"file": '"unclosed', "size": 5}),
    ("source=a b=c (1) dest=/tmp/my dir source_prefix=-", {
        "source": "a b=c (1)", "dest": "/tmp/my dir", "source_prefix": "-"}),
    ("source=a new=1 dest=b", {"source": "a new=1", "dest": "b"}),
    ('uuid=1 new="x y" other=2 file="z"', {"uuid": "1", "new": "x y", "other": 2, "file": "z"}),
    ("exclude_older/newer_than=0/0 uuid=5", {"exclude_older/newer_than": "0/0", "uuid": "5"}),
    ("status=error  errcode=14 errstr=no such file: a=b", {
        "status": "error", "errcode": 14, "errstr": "no such file: a=b"})])
def test_where_values_end(body: str, found: dict[str, Any]) -> None:
    for _ in range(2):
        assert fields(one(f"LOG FASP Session Start {body}")) == found


@pytest.mark.parametrize(("text", "value", "unit"), [
    ("300.00Mbps", 300_000_000, BITS_PER_SECOND), ("1.5Gbps", 1_500_000_000, BITS_PER_SECOND),
    ("95875Kbps", 95_875_000, BITS_PER_SECOND), ("12bps", 12, BITS_PER_SECOND), ("6.98s", 6.98, SECONDS),
    ("64ms", 0.064, SECONDS), ("7us", 0.000007, SECONDS), ("0.01%", 0.0001, RATIO), ("42", 42, NONE),
    ("-1", -1, NONE), ("0.00", 0.0, NONE), ("5XB", "5XB", NONE), ("9" * 40, "9" * 40, NONE), ("٣", "٣", NONE)])
def test_units_are_made_one(text: str, value: object, unit: int) -> None:
    ((name, found, counts),) = one(f"LOG FASP Transfer Stop rate={text}").fields
    assert (name, found, counts) == ("rate", value, unit) and type(found) is type(value)


def test_a_transfer_without_fields_is_text_and_other_lines_say_what_they_can() -> None:
    assert one("LOG FASP Session Start of something").kind == "text"
    assert one("LOG State: something else").text == "something else"
    assert fields(one("LOG Source file transfers failed : 12")) == {"failed": 12}
    assert one("LOG Source file transfers failed: many").kind == "text"


def test_blank_lines_are_none() -> None:
    assert [outcome(line) for line in ("", "   ", "\r", "\t")] == [None] * 4


# Keys ----------------------------------------------------------------------------------------------------------------


def test_keys_are_of_the_line_alone_and_in_order_of_time() -> None:
    early, late = one("Oct 10 13:21:08 h ascp[7]: LOG a"), one("Oct 10 13:21:09 h ascp[7]: LOG a")
    other = one("Oct 10 13:21:08 h ascp[77]: LOG a")
    keys = [key_of(event) for event in (early, late, other)]
    assert keys == sorted(keys) and len(set(keys)) == 3
    assert key_of(one("Oct 10 13:21:08 h ascp[7]: LOG a\r")) == keys[0]
    assert early.at is not None
    first, last = range_of("h", "7", early.at, early.at)
    assert [first <= key < last for key in keys] == [True, False, False]


def test_a_host_with_strange_characters_has_a_key_of_its_own() -> None:
    keys = {key_of(one("LOG x", host=host)) for host in ("a/b", "a%2Fb", "a b", "a", "")}
    assert len(keys) == 5 and all(b" " not in key and key.count(b"/") == 3 for key in keys)
