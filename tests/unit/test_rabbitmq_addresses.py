"""Addresses of RabbitMQ: what they mean, what is refused, and that no password is shown."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.rabbitmq.addresses import Address, address_of
from actors.runtime.errors import ConfigError

KNOWN = ("queue", "exchange", "routing_key")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


@pytest.mark.parametrize(("text", "expected"), [
    ("amqp://h", Address(False, (("h", 5672),), "guest", "guest", "/", {})),
    ("amqps://h/", Address(True, (("h", 5671),), "guest", "guest", "/", {})),
    ("amqp://me:pw@h:1/%2F?queue=q", Address(False, (("h", 1),), "me", "pw", "/", {"queue": "q"})),
    ("amqp://me:@h/v%2Fw", Address(False, (("h", 5672),), "me", "", "v/w", {})),
    ("amqp://a:1,b,[::1]:3/v", Address(False, (("a", 1), ("b", 5672), ("::1", 3)), "guest", "guest", "v", {})),
    ("amqp://h?exchange=e&routing_key={key}.x", Address(
        False, (("h", 5672),), "guest", "guest", "/", {"exchange": "e", "routing_key": "{key}.x"})),
    ("amqp://h?exchange=e&routing_key=", Address(
        False, (("h", 5672),), "guest", "guest", "/", {"exchange": "e", "routing_key": ""}))])
def test_an_address_has_its_parts(text: str, expected: Address) -> None:
    assert address_of(text, KNOWN, "topic") == expected


@pytest.mark.parametrize(("text", "why"), [
    ("h:5672", "scheme"), ("http://h", "'http'"), ("amqp://", "no host"), ("amqp://h:99999", "99999"),
    ("amqp://h:x", "'h:x'"), ("amqp://a,,b", "no host"), ("amqp://h?que=q", "'que'.*queue, exchange, routing_key"),
    ("amqp://h?queue=a&queue=b", "twice"), ("amqp://h?queue", "question mark"), ("amqp://h/v#x", "%23"),
    ("amqp://[::1", "amqp://"), (f"amqp://h?queue={'q' * 256}", "at most 255 bytes"),
    (f"amqp://h/{'v' * 256}", "at most 255 bytes")])
def test_what_is_no_address_is_refused_and_why(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=rf"^topic: .*{why}"):
        address_of(text, KNOWN, "topic")


@given(TEXT, TEXT, TEXT, TEXT)
def test_any_user_password_and_name_can_be_said_in_an_address(user: str, password: str, vhost: str, queue: str) -> None:
    text = "amqp://{}:{}@h/{}?queue={}".format(*(quote(part, safe="") for part in (user, password, vhost, queue)))
    assert address_of(text, KNOWN, "topic") == Address(
        False, (("h", 5672),), user, password, vhost, {"queue": queue})


@pytest.mark.parametrize("text", ["amqp://me:secret@h:x", "amqp://me:secret@h?no=1", "http://me:secret@h",
                                  "amqp://me:secret@h/v#x", "amqp://me:secret@h/v?queue=q&queue=q",
                                  "amqp://me:secret?secret@h/v", "amqp://me:1#secret@h/v", "amqp://me:[secret]@h/v",
                                  "amqp://me:secret/secret=1@h/v?queue=q", "amqp://me:[secret@h"])
def test_a_refusal_never_shows_the_password(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        address_of(text, KNOWN, "topic")
    assert "secret" not in str(caught.value)


@given(st.text("ab1:/?#[]@,&=%[", max_size=12))
def test_no_piece_of_a_password_that_is_not_encoded_is_shown(middle: str) -> None:
    for text in (f"amqp://me:S3cret{middle}Pw0rd@h:5672/v?queue=q", f"amqp://me:{middle}S3cret@h:5672/v?queue=q"):
        try:
            found = address_of(text, KNOWN, "topic").shown
        except ConfigError as refused:
            found = str(refused)
        assert "S3cret" not in found and "Pw0rd" not in found


def test_an_at_sign_behind_the_host_is_a_password_that_is_not_encoded() -> None:
    with pytest.raises(ConfigError, match=r"percent-encoded \(a / is %2F"):
        address_of("amqp://thr:S3cr@t/pwx@h:5672/?queue=q", KNOWN, "topic")


def test_what_people_are_shown_has_neither_user_nor_password() -> None:
    assert address_of("amqp://me:secret@a:1,[::1]/v?queue=q", KNOWN, "topic").shown == "a:1,[::1]:5672/v"
    assert address_of("amqp://me:secret@a", KNOWN, "topic").shown == "a:5672"
