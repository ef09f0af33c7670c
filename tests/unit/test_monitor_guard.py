"""Who is answered by the monitor."""

from __future__ import annotations

import pytest

from actors.console.surroundings import port_problem
from actors.runtime.sections import MonitorOptions
from actors.telemetry.guard import Guard, host_name

TOKEN = "0123456789abcdef"
OPEN = Guard(MonitorOptions(host="127.0.0.2"), 8686)
CLOSED = Guard(MonitorOptions(host="0.0.0.0", token_secret=TOKEN), 8686)
JSON = {"Content-Type": "application/json; charset=utf-8", "Host": "localhost:8686"}


@pytest.mark.parametrize(("host", "name"), [
    ("localhost", "localhost"), ("LocalHost:8686", "localhost"), ("127.0.0.1:1", "127.0.0.1"), ("[::1]", "::1"),
    ("[::1]:8686", "::1"), ("", ""), ("evil.example:80", "evil.example"), ("localhost.evil.example",
                                                                          "localhost.evil.example")])
def test_the_name_of_a_host_is_what_stands_before_the_port(host: str, name: str) -> None:
    assert host_name(host) == name


@pytest.mark.parametrize(("host", "is_let_in"), [
    ("localhost:8686", True), ("127.0.0.1", True), ("[::1]:9", True), ("127.0.0.2:8686", True), ("", False),
    ("evil.example", False), ("localhost.evil.example", False), ("localhost@evil.example", False)])
def test_without_a_token_only_names_of_this_machine_are_let_in(host: str, is_let_in: bool) -> None:
    refused = OPEN.look({"Host": host}, {})
    assert (refused is None) is is_let_in
    assert refused is None or refused.status == 403


@pytest.mark.parametrize(("headers", "is_let_in"), [
    ({"Authorization": f"Bearer {TOKEN}"}, True), ({"Authorization": f"bearer  {TOKEN} "}, True),
    ({"Authorization": f"Bearer {TOKEN}0"}, False), ({"Authorization": "Bearer "}, False),
    ({"Authorization": f"Basic {TOKEN}"}, False), ({"Authorization": "Bearer ä\udcff"}, False),
    ({"Host": "localhost"}, False), ({}, False)])
def test_with_a_token_only_who_shows_it_is_let_in(headers: dict[str, str], is_let_in: bool) -> None:
    refused = CLOSED.look(headers, {})
    assert (refused is None) is is_let_in
    assert refused is None or (refused.status == 401 and TOKEN not in refused.text)


def test_the_cookie_stands_for_the_token_and_is_not_it() -> None:
    assert CLOSED.look({}, {CLOSED.cookie_name: CLOSED.cookie}) is None
    assert TOKEN not in CLOSED.cookie
    assert CLOSED.look({}, {CLOSED.cookie_name: TOKEN}) is not None
    assert CLOSED.look({}, {CLOSED.cookie_name: ""}) is not None
    assert CLOSED.cookie_name != Guard(MonitorOptions(token_secret=TOKEN), 8687).cookie_name


@pytest.mark.parametrize("shown", ["\udcff", "ä", ""])
def test_a_cookie_that_is_no_text_is_not_the_right_one(shown: str) -> None:
    refused = CLOSED.look({}, {CLOSED.cookie_name: shown})
    assert refused is not None
    assert refused.status == 401
    assert not CLOSED.is_token("\ud800")


def test_an_origin_that_is_no_address_is_another_one() -> None:
    refused = Guard(MonitorOptions(allow_control=True), 8686).command({**JSON, "Origin": "http://["})
    assert refused is not None
    assert refused.status == 403


def test_without_a_token_nothing_is_the_token() -> None:
    assert not OPEN.is_token("")


@pytest.mark.parametrize(("headers", "status"), [
    (JSON, None), ({**JSON, "Origin": "http://localhost:8686"}, None), ({**JSON, "Sec-Fetch-Site": "none"}, None),
    ({**JSON, "Origin": "https://LOCALHOST:8686", "Sec-Fetch-Site": "same-origin"}, None),
    ({**JSON, "Content-Type": "text/plain"}, 415), ({"Host": "localhost"}, 415),
    ({**JSON, "Origin": "http://localhost:9999"}, 403), ({**JSON, "Origin": "null"}, 403),
    ({**JSON, "Sec-Fetch-Site": "cross-site"}, 403), ({**JSON, "Sec-Fetch-Site": "same-site"}, 403)])
def test_a_command_is_json_from_the_same_origin(headers: dict[str, str], status: int | None) -> None:
    refused = Guard(MonitorOptions(allow_control=True), 8686).command(headers)
    assert (refused and refused.status) == status


def test_a_command_that_is_not_allowed_says_how_to_allow_it() -> None:
    refused = OPEN.command(JSON)
    assert refused is not None
    assert refused.status == 403
    assert "set monitor.allow_control = true" in refused.text


def test_an_address_in_brackets_is_the_same_address() -> None:
    bracketed = Guard(MonitorOptions(host="[::1]"), 8686)
    assert bracketed.look({"Host": "[::1]:8686"}, {}) is None
    assert port_problem("[::1]", 0) == port_problem("::1", 0)
