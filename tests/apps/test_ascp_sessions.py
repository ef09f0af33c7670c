"""Sessions of ascp: found by a fold, the same in whatever order lines come, and however often."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from itertools import islice
from typing import Any

import pytest

from actors.apps.ascp import PIPELINE, Options
from actors.apps.ascp.events import Event, decode
from actors.apps.ascp.lines import parse_lines
from scripts.make_ascp import make_lines
from tests.ascp import REAL, REFERENCE, REFERENCE_MS, sessions
from thresher.testing import Faults, InlineResult, run_inline

OPTIONS = Options(reference=REFERENCE)


def line(at: str, text: str, pid: int = 7) -> bytes:
    return f"Oct 10 {at} h ascp[{pid}]: LOG {text}".encode()


def data(sent: int, us: int, blocks: int = 0, again: int = 0) -> str:
    return (f"Sender bl t/o/r/d={blocks}/{blocks - again}/{again}/0 rate_rtt b/l/h/s/r/f=2/2/9/5/0/1 "
            f"rate t/m/c/n/vl/vr/r=8000000/0/1/1/1/1/1 prog t/f/e={sent}/{sent}/{us} rcvD=0")


def start(uuid: str) -> str:
    return f"FASP Session Start uuid={uuid} op=send status=started source=a b dest=/tmp targetrate=9 rate_policy=fair"


def stop(uuid: str, status: str = "success") -> str:
    return f"FASP Session Stop uuid={uuid} op=send status={status} source=a b dest=/tmp"


ONE = [
    line("10:00:00", start("u1")), line("10:00:01", data(1_000_000, 1_000_000, 1000)),
    line("10:00:02", data(3_000_000, 2_000_000, 3000, 20)),
    line("10:00:02", 'FASP Transfer Stop uuid=u1 op=send status=success file="x" size=5 rate=1.00Mbps elapsed=1.00s'),
    line("10:00:03", "FASP Session Statistics [Sender] id=u1 delay=64ms (detail: bl_total 3000 bl_rex 30)"),
    line("10:00:03", stop("u1")), line("10:00:03", "Source file transfers passed : 1")]


def test_a_session_is_summed_up_from_start_to_stop() -> None:
    (session,) = sessions(ONE)
    found = session.summary()
    assert {name: found[name] for name in (
        "uuid", "op", "status", "source", "bytes", "elapsed_s", "mbps", "blocks", "rex_blocks", "rex_ratio", "delay_s",
        "transfers", "passed", "target_bps", "rate_policy", "lines")} == {
        "uuid": "u1", "op": "send", "status": "success", "source": "a b", "bytes": 3_000_000, "elapsed_s": 2.0,
        "mbps": 12.0, "blocks": 3000, "rex_blocks": 30, "rex_ratio": 0.01, "delay_s": 0.064, "transfers": 1,
        "passed": 1, "target_bps": 8_000_000, "rate_policy": "fair", "lines": 7}
    assert found["end"] - found["start"] == 3000


def test_a_series_has_rates_and_ratios_since_the_line_before() -> None:
    (session,) = sessions(ONE)
    first, second = session.series()
    assert (first["bandwidth_bps"], second["bandwidth_bps"]) == (8_000_000.0, 16_000_000.0)
    assert (first["rex_ratio"], second["rex_ratio"]) == (0.0, 0.01)
    assert (second["target_bps"], second["rtt_h"], second["rtt_s"]) == (8_000_000, 9, 5)


def test_a_process_number_that_comes_back_is_another_session() -> None:
    again = [line("10:00:03", start("u2")), line("10:00:04", data(500_000, 1_000_000)), line("10:00:05", stop("u2"))]
    first, second = sessions([*ONE, *again])
    assert (first.uuid, first.summary()["bytes"], first.summary()["status"]) == ("u1", 3_000_000, "success")
    assert (second.uuid, second.summary()["bytes"]) == ("u2", 500_000)


def test_in_the_second_of_stop_and_start_a_data_line_is_of_the_session_whose_age_it_says() -> None:
    lines = [*ONE, line("10:00:03", data(3_500_000, 2_900_000)), line("10:00:03", start("u2")),
             line("10:00:03", data(10, 100)), line("10:00:04", data(20, 1_000_000))]
    first, second = sessions(lines)
    assert [point.transferred for point in first.points] == [1_000_000, 3_000_000, 3_500_000]
    assert [point.transferred for point in second.points] == [10, 20]


def test_a_session_that_nobody_stopped_is_open_and_its_successor_is_another() -> None:
    first, second = sessions([ONE[0], ONE[1], line("10:10:00", start("u2")), line("10:10:01", data(7, 1_000_000)),
                              line("10:10:02", stop("u2", "error"))])
    assert first.summary()["status"] == "open" and len(first.points) == 1
    assert second.summary()["status"] == "error" and len(second.points) == 1


def test_data_of_a_session_that_was_not_seen_to_start_is_a_session() -> None:
    (session,) = sessions(ONE[1:3])
    assert session.summary()["bytes"] == 3_000_000 and session.uuid == ""


def test_errors_of_the_process_are_counted() -> None:
    (session,) = sessions([*ONE, b"Oct 10 10:00:02 h ascp[7]: ERR fasp_sock_send() failed, err:10022, len:46"])
    assert session.summary()["errors"] == 1


def made(count: int = 600, **more: Any) -> list[bytes]:
    return [each[:-1] for each in islice(make_lines(3, hosts=2, processes=2, longest_s=20, **more), count)]


def rows(result: InlineResult, sink: str) -> list[tuple[Any, ...]]:
    return sorted((tuple(row.items()) for row in result.written[sink]), key=str)


def test_batches_and_kills_change_nothing_and_order_within_the_disorder_neither() -> None:
    lines = made()
    plain = run_inline(PIPELINE, lines, options=OPTIONS, batch_bytes=20_000)
    assert plain.counts == {"read": 600, "written": 600, "written.events": 600}
    expected = [session.summary() for session in sessions(lines)]
    assert rows(plain, "sessions") == sorted((tuple(row.items()) for row in expected), key=str)
    assert {row["status"] for row in plain.written["sessions"]} == {"success", "open"}
    rng = random.Random(5)
    times = {each: next(e.at for e in parse_lines([each], "", REFERENCE_MS) if isinstance(e, Event)) for each in lines}
    shuffled = sorted(lines, key=lambda each: (times[each] or 0) + rng.random() * 299_000)
    for given, faults, fused in ((lines, Faults(11, kills=3), True), (shuffled, Faults(12), False)):
        other = run_inline(PIPELINE, given, options=OPTIONS, batch_bytes=9_000, faults=faults, fused=fused)
        assert not other.dead_letters and other.stores["events"] == plain.stores["events"]
        assert rows(other, "sessions") == rows(plain, "sessions") and rows(other, "series") == rows(plain, "series")


def test_a_line_that_is_there_twice_is_one_event_and_counted() -> None:
    once = run_inline(PIPELINE, ONE, options=OPTIONS)
    twice = run_inline(PIPELINE, [each for each in ONE for _ in range(2)], options=OPTIONS)
    assert twice.stores["events"] == once.stores["events"]
    (row,), (doubled,) = once.written["sessions"], twice.written["sessions"]
    assert (row["lines"], row["repeated"], doubled["lines"], doubled["repeated"]) == (7, 0, 14, 7)
    assert {**doubled, "lines": 7, "repeated": 0} == row
    assert twice.written["series"] == once.written["series"]


def test_lines_without_a_time_are_stored_and_are_of_no_session() -> None:
    result = run_inline(PIPELINE, ["LOG FASP Session Start uuid=a op=send", "free text", "", b"LOG Receiver bl t/o=1"],
                        options=Options(host="here"))
    assert result.counts["read"] == 3 and result.counts["written"] == 2
    assert [letter.reason for letter in result.dead_letters] == ["group"]
    assert not result.written["sessions"] and set(result.stores["events"]) == {
        key for key in result.stores["events"] if key.startswith(b"here/-/-/")}


def test_the_year_is_that_of_the_first_reading_where_no_reference_is_given() -> None:
    result = run_inline(PIPELINE, ONE, options=Options())
    (row,) = result.written["sessions"]
    latest = time.time() * 1000 + 86_400_000
    assert latest - 367 * 86_400_000 < row["start"] <= latest
    assert {event.at // 10_000 for event in map(decode, result.stores["events"].values()) if event.at} == {
        row["start"] // 10_000}


@pytest.mark.skipif(not REAL[0].exists(), reason="the real lines are not here")
def test_the_real_lines_have_three_sessions() -> None:
    result = run_inline(PIPELINE, {"log": REAL[0].read_bytes()}, options=Options(host="h", reference=REFERENCE))
    assert result.counts == {"read": 16, "written": 16, "written.events": 16}
    by_uuid = {row["uuid"]: row for row in result.written["sessions"]}
    sent = by_uuid["029c1333-c732-4636-83c1-e1acec2864cb"]  # its statistics stand before its start
    assert (sent["host"], sent["op"], sent["bytes"], sent["delay_s"]) == ("h", "send", 36274005756, 0.064)
    assert round(by_uuid["7aadbc08-a6ec-4f5a-89af-696d02b82574"]["mbps"]) == 275
    assert round(by_uuid[None]["mbps"]) == 61


@pytest.mark.parametrize(("options", "why"), [
    ({"host": "a b"}, "host: expected"), ({"reference": "2018-10-11"}, "reference: expected a time with its zone"),
    ({"reference": "yesterday"}, "reference"), ({"utc_offset_s": 100_000}, "utc_offset_s: expected at most a day")])
def test_options_that_mean_nothing_are_refused(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Options(**options)


def test_many_sessions_of_few_processes_are_told_apart() -> None:
    lines = made(3000)
    starts: dict[tuple[bytes, bytes], list[bytes]] = defaultdict(list)
    for each in lines:
        words = each.split(b" ")
        if b"FASP Session Start" in each:
            starts[words[3], words[4]].append(each.partition(b"uuid=")[2].split(b" ")[0])
    found = sessions(lines)
    assert sorted(session.uuid.encode() for session in found) == sorted(
        uuid for some in starts.values() for uuid in some)
    for session in found:
        elapsed = [point.elapsed_us or 0 for point in session.points]
        assert elapsed == sorted(elapsed) and len(set(elapsed)) == len(elapsed)
