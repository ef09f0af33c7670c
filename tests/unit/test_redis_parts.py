"""Addresses of Redis, and its replies taken apart: no socket."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from actors.runtime.errors import ConfigError, Reject
from actors.sinks.redis import Redis
from actors.sinks.redis_address import Address, address_of
from actors.sinks.redis_check import kept
from actors.sinks.redis_resp import Fault, Unclear, command, commands_in, parse


@pytest.mark.parametrize(("url", "found"), [
    ("redis://localhost", Address(False, (("localhost", 6379),), "", "", "", "", 0)),
    ("rediss://me:p%40s%2Fs@h:1/3", Address(True, (("h", 1),), "", "", "me", "p@s/s", 3)),
    ("redis://:secret@[::1]:7000/", Address(False, (("::1", 7000),), "", "", "", "secret", 0)),
    ("redis+unix:///run/redis.sock?db=2", Address(False, (), "", "/run/redis.sock", "", "", 2)),
    ("redis+sentinel://a,b:5/main/1", Address(False, (("a", 26379), ("b", 5)), "main", "", "", "", 1)),
    ("rediss+sentinel://u:p@a/my%20name", Address(True, (("a", 26379),), "my name", "", "u", "p", 0))])
def test_an_address_has_these_parts(url: str, found: Address) -> None:
    assert address_of(url) == found


def test_what_is_shown_of_an_address_has_no_user_and_no_password() -> None:
    shown = [Redis(url=url).describe() for url in (
        "redis://me:secret@[::1]/1", "redis+unix://me:secret@/run/r", "redis+sentinel://me:secret@a,b/main/2")]
    assert shown == ["redis [::1]:6379/1", "redis /run/r/0", "redis main/2 of a:26379,b:26379"]


@pytest.mark.parametrize("url", [
    "", "localhost:6379", "http://localhost", "redis://", "redis://h:0", "redis://h:70000", "redis://h:x", "redis://h/a",
    "redis://h/1/2", "redis://h/0?db=1", "redis://h#1", "redis://[::1", "redis+unix://h/path", "redis+unix://",
    "redis+unix:///p?x=1", "redis+sentinel://a:1", "redis+sentinel://a/", "redis+sentinel:///main"])
def test_an_address_that_is_none_is_said_with_what_was_expected_and_no_password(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^url: expected redis://USER:PASSWORD@HOST:PORT/DATABASE .*; "):
        Redis(url=url)


@given(middle=st.text("ab1:/?#[]@,&=%", max_size=8), kind=st.sampled_from(["redis", "redis+sentinel", "redis+unix"]))
@example(middle="@/", kind="redis")
def test_no_piece_of_a_password_that_is_not_encoded_is_shown_or_taken_for_the_host(middle: str, kind: str) -> None:
    for password in (f"{middle}S3cret", f"S3cret{middle}Pw0rd"):
        try:
            options = Redis(url=f"{kind}://me:{password}@h:6379/0")
            said = f"{options.describe()} {address_of(options.url).nodes}"
        except ConfigError as refused:
            said = str(refused)
        assert "S3cret" not in said and "Pw0rd" not in said


@pytest.mark.parametrize(("options", "why"), [
    ({"index": "thresher_by-"}, "index: expected another beginning than thresher_"),
    ({"key_file": "k"}, "key_file: expected cert_file with it")])
def test_options_that_cannot_be_are_refused(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        Redis(url="redis://localhost", **options)


@pytest.mark.parametrize(("data", "reply"), [
    (b"+OK\r\n", b"OK"), (b":-7\r\n", -7), (b"$-1\r\n", None), (b"*-1\r\n", None), (b"$0\r\n\r\n", b""),
    (b"$4\r\na\r\nb\r\n", b"a\r\nb"), (b"*0\r\n", []), (b"*3\r\n:1\r\n*1\r\n+a\r\n$-1\r\n", [1, [b"a"], None]),
    (b"-OOM command not allowed\r\n", Fault("OOM command not allowed"))])
def test_a_reply_is_read_when_it_is_there_whole_and_not_before(data: bytes, reply: Any) -> None:
    assert parse(data + b":1\r\n", 0) == (reply, len(data))
    assert [parse(data[:end], 0) for end in range(len(data))] == [None] * len(data)


@pytest.mark.parametrize("data", [b"HTTP/1.1 400\r\n", b":x\r\n", b"$\r\n", b"\r\n"])
def test_what_is_no_reply_is_said(data: bytes) -> None:
    with pytest.raises(Unclear):
        parse(data, 0)


def test_commands_are_taken_apart_and_what_is_none_is_rejected() -> None:
    one, other = command(b"SET", b"a", b"\r\n"), command(b"DEL", b"")
    assert list(commands_in(memoryview(one + other))) == [(one, [b"SET", b"a", b"\r\n"]), (other, [b"DEL", b""])]
    for data in (one[:-1], b"set a 0 0 1\r\n1\r\n", b"+OK\r\n"):
        with pytest.raises(Reject, match="expected commands of Redis"):
            list(commands_in(data))


@pytest.mark.parametrize(("info", "fsync", "is_sure"), [
    ("redis_version:8.0.1\r\n", "everysec", True), ("redis_version:10.0.0\r\n", "everysec", True),
    ("redis_version:7.4.1\r\n", "everysec", False), ("", "everysec", False), ("", "always", True),
    ("redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.1.8\r\n", "everysec", False),
    ("redis_version:8.0.1\r\n", "no", False)])
def test_only_a_server_whose_word_can_be_relied_on_is_said_to_have_it_on_its_disk(
    info: str, fsync: str, is_sure: bool
) -> None:
    said = kept({"appendonly": "yes", "appendfsync": fsync}, True, info)
    assert ("each batch is on its disk when it counts as written" in said) is is_sure
