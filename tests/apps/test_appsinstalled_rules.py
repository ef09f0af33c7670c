"""The rules of appsinstalled, as pure functions: nothing runs."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.apps.appsinstalled import DEVICE_TYPES, Options, check, encode_user_apps, parse, partials
from actors.apps.appsinstalled.appsinstalled_pb2 import UserApps
from actors.runtime.errors import Reject
from tests.loads import encode

GOOD = b"idfa\te7e1a50c0ec2747ca56cd9e1558c0d7c\t67.7835424444\t-22.8044005471\t7942,8519,4232,3032"
uint32 = st.integers(0, 2**32 - 1)
finite = st.floats(allow_nan=False, allow_infinity=False)


def run(line: bytes, options: Options | None = None) -> Any:
    """What becomes of one line."""
    (row,) = parse([line])
    if row is None or isinstance(row, Reject):
        return row
    (value,) = check([row], options or Options())
    return value


def line(kind: bytes = b"idfa", device: bytes = b"abc", lat: bytes = b"1.5", lon: bytes = b"-2.5",
         apps: bytes = b"1,2") -> bytes:
    return b"\t".join((kind, device, lat, lon, apps))


def test_a_good_line_becomes_a_key_and_protobufs_own_bytes() -> None:
    assert run(GOOD) == (
        "idfa", b"idfa:e7e1a50c0ec2747ca56cd9e1558c0d7c",
        encode([7942, 8519, 4232, 3032], 67.7835424444, -22.8044005471), 4, 0)


@given(st.lists(uint32, max_size=120), finite, finite)
def test_values_equal_protobufs_encoding_byte_for_byte(apps: list[int], lat: float, lon: float) -> None:
    packed = encode(apps, lat, lon)
    assert encode_user_apps(apps, lat, lon) == packed
    if apps:
        value = run(line(lat=repr(lat).encode(), lon=repr(lon).encode(), apps=b",".join(b"%d" % app for app in apps)))
        assert value == ("idfa", b"idfa:abc", packed, len(apps), 0)
    message = UserApps.FromString(packed)
    assert list(message.apps) == apps
    assert math.copysign(1, message.lat) == math.copysign(1, lat)


@pytest.mark.parametrize("app", [0, 1, 127, 128, 129, 16383, 16384, 2**21, 2**28, 2**32 - 1])
def test_boundary_ids_are_encoded_as_protobuf_does(app: int) -> None:
    assert run(line(apps=b"%d,%d" % (app, app)))[2] == encode([app, app], 1.5, -2.5)


@pytest.mark.parametrize(("apps", "stored", "dropped"), [
    (b"abc", [], 1), (b"-5", [], 1), (b"99999999999", [], 1), (b"4294967296", [], 1), (b"4294967295", [2**32 - 1], 0),
    (b"1,,2", [1, 2], 1), (b",", [], 2), (b"1,2,", [1, 2], 1), (b"007,7", [7, 7], 0), (b"0" * 30 + b"5", [5], 0),
    (b"9" * 6000, [], 1), (b"1, 2", [1], 1), (b"+1", [], 1), (b"1.0,2", [2], 1), (b"1e2", [], 1),
    ("٣".encode(), [], 1), (b"1_0", [], 1), (b"1\r,2", [2], 1), (b"null,true,[1],\"2\",3", [3], 4), (b"-0", [], 1),
    (b"7942,invalid,8519", [7942, 8519], 1), (b"\x00,1", [1], 1), (b"20000,1", [20000, 1], 0)])
def test_ids_that_are_not_decimal_uint32_are_left_out_and_counted(
    apps: bytes, stored: list[int], dropped: int
) -> None:
    assert run(line(apps=apps)) == ("idfa", b"idfa:abc", encode(stored, 1.5, -2.5), len(stored), dropped)


@given(st.lists(st.one_of(st.from_regex(rb"[0-9]{1,12}", fullmatch=True), st.binary(max_size=6)), min_size=1))
def test_any_column_of_ids_is_what_a_simple_program_makes_of_it(columns: list[bytes]) -> None:
    text = b",".join(column.translate(None, b",\t\n") for column in columns)
    value = run(b"idfa\tabc\t1.5\t-2.5\t" + text + b",8")  # so that stripping the line does not touch the ids
    stripped = [*text.split(b","), b"8"]
    ids = [int(app) for app in stripped if app.isdigit() and int(app) < 2**32]
    assert value == ("idfa", b"idfa:abc", encode(ids, 1.5, -2.5), len(ids), len(stripped) - len(ids))


@pytest.mark.parametrize(("bad", "reason"), [
    (b"idfa\tabc\t1.5\t2.5", "columns"), (line() + b"\textra", "columns"), (b"nonsense", "columns"),
    (line() + b"\t", "columns"), (line(kind=b""), "device_type_empty"), (line(device=b""), "device_id_empty"),
    (line(kind=b"phone"), "device_type_unknown"),
    (line(kind=b"IDFA"), "device_type_unknown"), (line(kind=b"\xff"), "device_type_unknown"),
    (line(lat=b"north"), "latitude"), (line(lat=b"nan"), "latitude"), (line(lat=b"-inf"), "latitude"),
    (line(lat=b"1e999"), "latitude"), (line(lat=b"1_0.5"), "latitude"), (line(lat=b""), "latitude"),
    (line(lon=b"0x10"), "longitude"), (line(lon=b"infinity"), "longitude"), (line(lon=b"1,5"), "longitude"),
    (line(device=b"a b"), "key"), (line(device=b"a\x00b"), "key"), (line(device=b"a\x7f"), "key"),
    (line(device=b"x" * 246), "key")])
def test_bad_lines_are_rejected_each_with_its_reason(bad: bytes, reason: str) -> None:
    result = run(bad)
    assert isinstance(result, Reject)
    assert result.reason == reason


@pytest.mark.parametrize("good", [
    line(device=b"x" * 245), line(lat=b"-0.0"), line(lat=b"1e5"), line(lat=b"+.5"), line(lat=b"200"),
    line(device=b"\xff\xfe"), line(device="ключ".encode()), line() + b"\r", b"  " + line() + b"  ", line(lon=b"-0")])
def test_unusual_lines_are_no_worse_than_others(good: bytes) -> None:
    assert run(good)[0] == "idfa"


@pytest.mark.parametrize("end", [b"", b"\r", b" ", b" \r"])
def test_an_empty_last_column_is_a_record_without_apps(end: bytes) -> None:
    assert run(line(apps=b"") + end)[:4] == ("idfa", b"idfa:abc", encode([], 1.5, -2.5), 0)


@pytest.mark.parametrize("blank", [b"", b" ", b"\r", b"\t\t\t\t", b" \t \x0b\x0c "])
def test_blank_lines_are_no_records(blank: bytes) -> None:
    assert parse([blank]) == [None]


def test_ranges_are_checked_only_when_asked_for() -> None:
    far = line(lat=b"-104.68", lon=b"190")
    assert run(far)[0] == "idfa"
    assert run(far, Options(geo_check=True)).reason == "latitude_range"
    assert run(line(lon=b"190"), Options(geo_check=True)).reason == "longitude_range"
    assert run(line(), Options(geo_check=True))[0] == "idfa"


@given(st.lists(st.sampled_from([GOOD, line(b"gaid"), line(apps=b"x"), b"", b"bad", line(lat=b"?")]), max_size=30))
def test_each_line_keeps_its_place_and_knows_nothing_of_its_neighbours(lines: list[bytes]) -> None:
    rows = parse(lines)
    assert len(rows) == len(lines)
    live = [row for row in rows if isinstance(row, list)]
    together = [value if isinstance(value, tuple) else value.reason for value in check(live, Options())]
    alone = [check([row], Options())[0] for row in live]
    assert together == [value if isinstance(value, tuple) else value.reason for value in alone]


@given(st.binary(max_size=80))
def test_no_bytes_at_all_can_make_it_raise(data: bytes) -> None:
    for text in (data, b"idfa\t" + data, line(lat=data), line(apps=data), line(device=data)):
        result = run(text.replace(b"\n", b" "))
        assert result is None or isinstance(result, tuple | Reject)


def test_partials_count_records_and_ids_of_each_device_type() -> None:
    values = check([[kind, b"a", b"1", b"2", b"1,2,x"] for kind in (b"idfa", b"gaid", b"idfa")], Options())
    assert partials(values, 7) == {(7, "idfa"): [2, 4, 2], (7, "gaid"): [1, 2, 1]}  # type: ignore[arg-type]
    assert set(DEVICE_TYPES) == {"idfa", "gaid", "adid", "dvid"}
