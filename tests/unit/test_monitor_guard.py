"""Who is answered by the monitor."""

from __future__ import annotations

import pytest

from actors.console.surroundings import port_problem
from actors.runtime.sections import MonitorOptions
from actors.telemetry.guard import Guard

TOKEN = "0123456789abcdef"
CLOSED = Guard(MonitorOptions(), 8686, TOKEN, "run-1")
JSON = {"Content-Type": "application/json; charset=utf-8", "Host": "localhost:8686"}


@pytest.mark.parametrize(("headers", "is_let_in"), [
    ({"Authorization": f"Bearer {TOKEN}"}, True), ({"Authorization": f"bearer  {TOKEN} "}, True),
    ({"Authorization": f"Bearer {TOKEN}0"}, False), ({"Authorization": "Bearer "}, False),
    ({"Authorization": f"Basic {TOKEN}"}, False), ({"Authorization": "Bearer ä\udcff"}, False),
    ({"Host": "localhost"}, False), ({}, False)])
def test_only_who_shows_the_token_is_let_in_also_on_this_machine(headers: dict[str, str], is_let_in: bool) -> None:
    refused = CLOSED.look(headers, {})
    assert (refused is None) is is_let_in
    assert refused is None or (refused.status == 401 and TOKEN not in refused.text)


def test_the_cookie_stands_for_the_token_and_is_not_it() -> None:
    assert CLOSED.look({}, {CLOSED.cookie_name: CLOSED.cookie}) is None
    assert TOKEN not in CLOSED.cookie
    assert CLOSED.look({}, {CLOSED.cookie_name: TOKEN}) is not None
    assert CLOSED.look({}, {CLOSED.cookie_name: ""}) is not None
    assert CLOSED.cookie_name != Guard(MonitorOptions(), 8687, TOKEN, "run-1").cookie_name


def test_the_cookie_of_a_run_is_worth_nothing_at_the_next_with_the_same_token_and_outlives_the_monitor() -> None:
    shown = {CLOSED.cookie_name: CLOSED.cookie}
    assert Guard(MonitorOptions(), 8686, TOKEN, "run-1").look({}, shown) is None
    refused = Guard(MonitorOptions(), 8686, TOKEN, "run-2").look({}, shown)
    assert refused is not None
    assert refused.status == 401


@pytest.mark.parametrize("shown", ["\udcff", "ä", ""])
def test_a_cookie_that_is_no_text_is_not_the_right_one(shown: str) -> None:
    refused = CLOSED.look({}, {CLOSED.cookie_name: shown})
    assert refused is not None
    assert refused.status == 401
    assert not CLOSED.is_token("\ud800")


def test_an_origin_that_is_no_address_is_another_one() -> None:
    refused = Guard(MonitorOptions(allow_control=True), 8686, TOKEN, "run-1").command({**JSON, "Origin": "http://["})
    assert refused is not None
    assert refused.status == 403


def test_nothing_is_not_the_token_and_there_has_to_be_one() -> None:
    assert not CLOSED.is_token("")
    with pytest.raises(ValueError, match="token: expected one, got none"):
        Guard(MonitorOptions(), 8686, "", "run-1")


@pytest.mark.parametrize(("headers", "status"), [
    (JSON, None), ({**JSON, "Origin": "http://localhost:8686"}, None), ({**JSON, "Sec-Fetch-Site": "none"}, None),
    ({**JSON, "Origin": "https://LOCALHOST:8686", "Sec-Fetch-Site": "same-origin"}, None),
    ({**JSON, "Content-Type": "text/plain"}, 415), ({"Host": "localhost"}, 415),
    ({**JSON, "Origin": "http://localhost:9999"}, 403), ({**JSON, "Origin": "null"}, 403),
    ({**JSON, "Sec-Fetch-Site": "cross-site"}, 403), ({**JSON, "Sec-Fetch-Site": "same-site"}, 403)])
def test_a_command_is_json_from_the_same_origin(headers: dict[str, str], status: int | None) -> None:
    refused = Guard(MonitorOptions(allow_control=True), 8686, TOKEN, "run-1").command(headers)
    assert (refused and refused.status) == status


def test_a_command_that_is_not_allowed_says_how_to_allow_it() -> None:
    refused = CLOSED.command(JSON)
    assert refused is not None
    assert refused.status == 403
    assert "set monitor.allow_control = true" in refused.text


def test_an_address_in_brackets_is_the_same_address() -> None:
    assert port_problem("[::1]", 0) == port_problem("::1", 0)
