"""The RabbitMQ sink on a real server: a message, where it goes, what is declared, refused and waited for."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest

from actors.runtime.errors import ConfigError, Reject, Retryable
from actors.runtime.following import Follower
from actors.runtime.framing import Record
from actors.runtime.ports import SinkOptions
from actors.runtime.values import Payload
from actors.sinks.rabbitmq import Message, RabbitMQ
from actors.testing import SinkContract
from actors.topics.blocks import pack_items
from tests import amqp
from tests.proxy import Proxy
from tests.rabbitmq import RabbitMQ as Server

pytest.importorskip("pika")
from actors.rabbitmq.following import StreamFollower
from actors.rabbitmq.properties import record_of
from actors.sinks import rabbitmq_line
from actors.sinks.rabbitmq_publishing import Publisher

HERE = Path()


def options(server: Server, rest: str, **others: Any) -> RabbitMQ:
    return RabbitMQ(topic=server.url(rest), **others)


def payload(of: RabbitMQ, items: Sequence[Any], start: int = 0) -> Payload:
    return Payload("run", start, start + 10, len(items), of.pack(items))


def write(of: RabbitMQ, *groups: Sequence[Any]) -> list[Any]:
    with closing(of.open("out", HERE)) as sink:
        return sink.write([payload(of, items, 10 * number) for number, items in enumerate(groups)])


def works(use: Callable[[], object]) -> bool:
    """Whether it can be done now."""
    try:
        use()
    except Retryable:
        return False
    return True


def bodies(taken: Sequence[amqp.Taken]) -> list[bytes]:
    return [one.body for one in taken]


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


class TestRabbitMQ(SinkContract):
    """To a direct exchange, by keys; one key has no queue."""

    in_order: ClassVar[bool] = True
    repeats: ClassVar[bool] = True

    @pytest.fixture(autouse=True)
    def _queue(self, rabbitmq: Server) -> Iterator[None]:
        self.queue, self.seen = rabbitmq.new_name(), list[Any]()
        self.url = rabbitmq.url()
        with amqp.channel(self.url) as channel:
            channel.exchange_declare(self.queue, "direct", durable=True)
            channel.queue_declare(self.queue, durable=True, arguments={"x-queue-type": "quorum"})
            for key in ("a", "b", "", "d"):
                channel.queue_bind(self.queue, self.queue, key)
        with Proxy(rabbitmq.port) as self.proxy:
            yield

    def options(self, folder: Path) -> SinkOptions:
        return RabbitMQ(topic=f"amqp://guest:guest@{self.proxy.address}/?exchange={self.queue}&routing_key={{key}}")

    def items(self) -> list[Any]:
        return [Message(b"one", b"a", 1, (("h", b"x"), ("h", None))), Message(None, b"b", 2), Message(b"", None, 3),
                Message(b"\n\xff", b"d", 1_700_000_000_123)]

    def impossible(self) -> Any:
        return Message(b"for nobody", b"nobody", 5)

    def contents(self, folder: Path) -> list[Any]:
        """All that has come so far: what is looked at is taken."""
        for one in amqp.take(self.url, self.queue):
            found = record_of(0, one.properties, one.body)
            self.seen.append(Message(found.value, found.key, found.time, found.headers))
        return list(self.seen)

    @contextmanager
    def down(self, folder: Path) -> Iterator[None]:
        self.proxy.refuse()
        amqp.eventually(lambda: not listens(self.proxy.port), "nobody listens")
        yield
        self.proxy.heal()
        amqp.eventually(lambda: listens(self.proxy.port), "somebody listens")


class TestRabbitMQStraightToAQueue(TestRabbitMQ):
    def options(self, folder: Path) -> SinkOptions:
        return RabbitMQ(topic=f"amqp://guest:guest@{self.proxy.address}/?queue={self.queue}", window=2)

    def impossible(self) -> Any:
        return None


# What a message is like -----------------------------------------------------------------------------------------------


def test_a_message_is_persistent_and_has_its_id_type_time_and_key(rabbitmq: Server) -> None:
    queue = rabbitmq.new_name()
    of = options(rabbitmq, f"?queue={queue}", content_type="application/json")
    write(of, [Message(b"{}", key=b"B00A", time=1_700_000_000_987, headers=(("trace", b"7f"),))], [b"2"])
    first, second = amqp.take(rabbitmq.url(), queue)
    assert (first.id, second.id) == ("run:0-10:0", "run:10-20:0")
    properties = first.properties
    assert (properties.delivery_mode, properties.content_type, properties.timestamp) == (
        2, "application/json", 1_700_000_000)
    headers = {name: value for name, value in properties.headers.items() if name != "x-delivery-count"}
    assert headers == {"trace": "7f", "thresher-key": "B00A", "thresher-time-ms": 1_700_000_000_987}
    assert second.properties.timestamp > 1_700_000_000, "a message without a time has that of its publishing"


def test_none_is_told_from_empty(rabbitmq: Server) -> None:
    queue = rabbitmq.new_name()
    write(options(rabbitmq, f"?queue={queue}"), [(b"k", None), (b"k", b"")])
    found = [record_of(0, one.properties, one.body) for one in amqp.take(rabbitmq.url(), queue)]
    assert [(one.key, one.value) for one in found] == [(b"k", None), (b"k", b"")]


def test_a_record_that_was_read_elsewhere_is_published_as_it_came(rabbitmq: Server) -> None:
    queue = rabbitmq.new_name()
    record = Record(7, b"\x00\n", time=5, key=b"\xff", headers=(("a", b"\xfe"), ("b", b""), ("a", b"2"), ("c", None)))
    write(options(rabbitmq, f"?queue={queue}"), [record])
    (one,) = amqp.take(rabbitmq.url(), queue)
    found = record_of(7, one.properties, one.body)
    assert sorted(found.headers, key=repr) == sorted(record.headers, key=repr)
    assert (found.value, found.time, found.key) == (record.value, record.time, record.key)


@pytest.mark.parametrize(("item", "reason"), [
    (Message(b"x", b"k" * 256), "too_large"), (Message(b"x", headers=(("n" * 256, b""),)), "too_large"),
    (Message(b"x", headers=(("n", b"v" * 100_000),)), "too_large"),
    (Message(b"x", headers=(("thresher-key", b""),)), "no_message"),
    (Message(b"x", headers=(("CC", b"q"), ("CC", b"q"))), "no_message"), (3, "no_message")])
def test_what_amqp_has_no_room_for_is_rejected_where_it_is_packed(item: Any, reason: str) -> None:
    with pytest.raises(Reject) as caught:
        RabbitMQ(topic="amqp://h?exchange=e&routing_key={key}").pack([item])
    assert caught.value.reason == reason


def test_the_largest_headers_that_are_packed_are_taken_by_the_server(rabbitmq: Server) -> None:
    queue = rabbitmq.new_name()
    many = tuple((f"{number:05}" + "n" * 250, b"v" * 100) for number in range(260))
    assert write(options(rabbitmq, f"?queue={queue}"), [Message(b"x" * 300_000, b"k" * 255, headers=many)]) == []
    assert len(amqp.take(rabbitmq.url(), queue)[0].properties.headers.keys() - {"x-delivery-count"}) == 262


# Where it goes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "route", "binding", "expected"), [
    ("direct", "{key}", "a.x", [b"1", b"3"]), ("topic", "r.{key}", "r.*.x", [b"1", b"2", b"3"]),
    ("topic", "fixed", "#", [b"1", b"2", b"3", b"4"]), ("fanout", "", "", [b"1", b"2", b"3", b"4"])])
def test_the_routing_key_is_fixed_or_the_key_of_the_record(
    rabbitmq: Server, kind: Any, route: str, binding: str, expected: list[bytes]
) -> None:
    name = rabbitmq.new_name()
    with amqp.channel(rabbitmq.url()) as channel:
        channel.exchange_declare(name, kind, durable=True)
        channel.queue_declare(name, durable=True)
        channel.queue_bind(name, name, binding)
    of = options(rabbitmq, f"?exchange={name}&routing_key={route}", exchange_type=kind, unroutable="drop")
    items = [(b"a.x", b"1"), (b"b.x", b"2"), (b"a.x", b"3"), (b"b", b"4")]
    assert write(of, items) == []
    assert bodies(amqp.take(rabbitmq.url(), name)) == expected


def test_a_headers_exchange_matches_the_headers_of_a_record(rabbitmq: Server) -> None:
    name = rabbitmq.new_name()
    with amqp.channel(rabbitmq.url()) as channel:
        channel.exchange_declare(name, "headers", durable=True)
        channel.queue_declare(name, durable=True)
        channel.queue_bind(name, name, "", {"x-match": "all", "country": "at"})
    of = options(rabbitmq, f"?exchange={name}", exchange_type="headers", unroutable="letter")
    refusals = write(of, [Message(b"1", headers=(("country", b"at"),)), Message(b"2", headers=(("country", b"de"),))])
    assert bodies(amqp.take(rabbitmq.url(), name)) == [b"1"]
    assert [(one.item, one.reason) for one in refusals] == [(1, "unroutable")]


def test_a_key_that_is_no_text_is_a_routing_key_too(rabbitmq: Server) -> None:
    name = rabbitmq.new_name()
    write(options(rabbitmq, f"?exchange={name}&queue={name}&routing_key=r.{{key}}", exchange_type="topic"),
          [(b"\xff", b"1")])
    (one,) = amqp.take(rabbitmq.url(), name)
    assert record_of(0, one.properties, one.body).key == b"\xff"


# What is declared -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["quorum", "stream", "classic"])
def test_a_queue_is_made_durable_and_of_the_type_that_is_asked_for(rabbitmq: Server, kind: Any) -> None:
    queue = rabbitmq.new_name()
    write(options(rabbitmq, f"?queue={queue}", **({} if kind == "quorum" else {"queue_type": kind})), [b"1"])
    found = rabbitmq.ask(f"queues/%2F/{queue}")
    assert (found["type"], found["durable"]) == (kind, True)
    amqp.declare(rabbitmq.url(), queue, kind)  # just so, and nothing else


def test_an_exchange_is_made_with_its_queue_and_the_binding(rabbitmq: Server) -> None:
    name = rabbitmq.new_name()
    of = options(rabbitmq, f"?exchange={name}&queue={name}&routing_key={{key}}", exchange_type="topic")
    assert write(of, [(b"any.key", b"1")]) == []
    assert bodies(amqp.take(rabbitmq.url(), name)) == [b"1"]
    assert rabbitmq.ask(f"exchanges/%2F/{name}")["type"] == "topic"


def test_what_is_there_with_other_arguments_is_never_changed_and_it_is_said_what_to_do(rabbitmq: Server) -> None:
    queue, exchange = rabbitmq.new_name(), rabbitmq.new_name()
    amqp.declare(rabbitmq.url(), queue, "classic", x_max_length=5)
    with amqp.channel(rabbitmq.url()) as channel:
        channel.exchange_declare(exchange, "fanout", durable=True)
    for rest, option in ((f"?queue={queue}", "queue_type"), (f"?exchange={exchange}", "exchange_type")):
        of = options(rabbitmq, rest)
        says = rf"^sinks\.out: .*other arguments.*sinks\.out\.{option}.*declare = false"
        with pytest.raises(ConfigError, match=says):
            of.open("out", HERE)
        with pytest.raises(ConfigError, match=rf"other arguments.*sinks\.out\.{option}"):
            of.check("out", HERE)
    of = options(rabbitmq, f"?queue={queue}", declare=False)
    assert of.check("out", HERE) == []
    assert write(of, [b"1"]) == []
    assert rabbitmq.ask(f"queues/%2F/{queue}")["arguments"] == {"x-max-length": 5, "x-queue-type": "classic"}


# What nobody takes, and what is refused -------------------------------------------------------------------------------


def test_a_queue_that_is_not_there_yet_is_waited_for_and_nothing_is_a_dead_letter(rabbitmq: Server) -> None:
    queue = rabbitmq.new_name()
    of = options(rabbitmq, f"?queue={queue}", declare=False)
    given = [payload(of, [b"1", b"2", b"3"])]
    with closing(of.open("out", HERE)) as sink:
        for _ in range(3):
            with pytest.raises(Retryable, match=rf"NO_ROUTE.*default exchange.*{queue}"):
                sink.write(given)
        amqp.declare(rabbitmq.url(), queue)
        assert sink.write(given) == []
    assert bodies(amqp.take(rabbitmq.url(), queue)) == [b"1", b"2", b"3"]


@pytest.mark.parametrize("rest", ["?queue={0}", "?exchange={0}&queue={0}&routing_key=k"])
def test_a_queue_or_an_exchange_that_is_deleted_meanwhile_is_made_again(rabbitmq: Server, rest: str) -> None:
    name = rabbitmq.new_name()
    of = options(rabbitmq, rest.format(name))
    with closing(of.open("out", HERE)) as sink:
        sink.write([payload(of, [b"1"])])
        with amqp.channel(rabbitmq.url()) as channel:
            channel.queue_delete(name)
            channel.exchange_delete(name)
        with pytest.raises(Retryable, match=r"NO_ROUTE.* is gone, with all that was in it|it was removed, and is decl"):
            sink.write([payload(of, [b"2", b"3"], 10)])
        amqp.eventually(lambda: works(lambda: sink.write([payload(of, [b"2", b"3"], 10)])), "it is made again")
    assert bodies(amqp.take(rabbitmq.url(), name)) == [b"2", b"3"]


def test_one_of_several_bound_queues_that_is_deleted_is_missed_and_made_again(
    rabbitmq: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No message comes back for it: the others take them."""
    monkeypatch.setattr(rabbitmq_line, "LOOK_S", 0.0)
    name, other = rabbitmq.new_name(), rabbitmq.new_name()
    of = options(rabbitmq, f"?exchange={name}&queue={name}&routing_key=k")
    with closing(of.open("out", HERE)) as sink:
        amqp.declare(rabbitmq.url(), other)
        with amqp.channel(rabbitmq.url()) as channel:
            channel.queue_bind(other, name, "k")
            sink.write([payload(of, [b"1"])])
            channel.queue_delete(name)
        with pytest.raises(Retryable, match=rf"queue {name} is gone, with all that was in it: it is declared again"):
            sink.write([payload(of, [b"2"], 10)])
        assert sink.write([payload(of, [b"2"], 10)]) == []
    assert bodies(amqp.take(rabbitmq.url(), name)) == [b"2"]
    assert bodies(amqp.take(rabbitmq.url(), other)) == [b"1", b"2"]


def test_an_exchange_that_is_not_there_is_waited_for(rabbitmq: Server) -> None:
    name = rabbitmq.new_name()
    of = options(rabbitmq, f"?exchange={name}&routing_key=k", declare=False, exchange_type="fanout")
    given = [payload(of, [b"1"])]
    with closing(of.open("out", HERE)) as sink:
        for _ in range(2):
            with pytest.raises(Retryable, match=rf"exchange {name} is not there .*sinks\.out\.declare = true"):
                sink.write(given)
        with amqp.channel(rabbitmq.url()) as channel:
            channel.exchange_declare(name, "fanout", durable=True)
            channel.queue_declare(name, durable=True)
            channel.queue_bind(name, name, "")
        assert sink.write(given) == []
    assert bodies(amqp.take(rabbitmq.url(), name)) == [b"1"]


def test_while_one_is_waited_for_those_behind_it_are_not_published_again_and_again(rabbitmq: Server) -> None:
    name, other = rabbitmq.new_name(), rabbitmq.new_name()
    of = options(rabbitmq, f"?exchange={name}&routing_key={{key}}", unroutable="wait")
    more = [(b"there", b"%d" % number) for number in range(2, 50)]
    given = [payload(of, [(b"there", b"0"), (b"later", b"1"), *more])]
    with closing(of.open("out", HERE)) as sink, amqp.channel(rabbitmq.url()) as channel:
        for queue, key in ((name, "there"), (other, "later")):
            channel.queue_declare(queue, durable=True)
            if queue == name:
                channel.queue_bind(queue, name, key)
        for _ in range(6):
            with pytest.raises(Retryable, match="'later'"):
                sink.write(given)
        channel.queue_bind(other, name, "later")
        assert sink.write(given) == []
    assert bodies(amqp.take(rabbitmq.url(), other)) == [b"1"]
    found = amqp.take(rabbitmq.url(), name)
    assert len({one.id for one in found}) == 49
    assert len(found) <= 49 + 48, "what is behind it went out more than once more"
    assert bodies(found)[-48:] == [b"%d" % number for number in range(2, 50)], "the last ones are in order"


def test_a_queue_that_is_full_and_says_so_is_waited_for_and_nothing_is_missing(rabbitmq: Server) -> None:
    queue = rabbitmq.new_name()
    amqp.declare(rabbitmq.url(), queue, "classic", x_max_length=20, x_overflow="reject-publish")
    of = options(rabbitmq, f"?queue={queue}", declare=False)
    items = [b"%d" % number for number in range(100)]
    found: list[amqp.Taken] = []
    with closing(of.open("out", HERE)) as sink:
        given = [payload(of, items[:60]), payload(of, items[60:], 10)]
        while True:
            try:
                sink.write(given)
                break
            except Retryable as error:
                assert "nack" in str(error)  # noqa: PT017
                found += amqp.take(rabbitmq.url(), queue)
    found += amqp.take(rabbitmq.url(), queue)
    by_id: dict[str, bytes] = {}
    for one in found:
        assert by_id.setdefault(one.id, one.body) == one.body, "one id, two messages"
    assert sorted(by_id.values(), key=int) == items
    last = {body: at for at, body in enumerate(bodies(found))}
    assert sorted(last, key=lambda body: last[body]) == items, "the last of each are in order"


def test_a_message_for_which_the_server_closes_the_channel_is_refused_alone(rabbitmq: Server) -> None:
    queue = rabbitmq.new_name()
    of = options(rabbitmq, f"?queue={queue}")
    items = [b"0", b"1", Message(b"2", headers=(("CC", b"no array"),)), b"3"]  # `pack` would have rejected it
    with closing(of.open("out", HERE)) as sink:
        refusals = sink.write([Payload("run", 0, 4, 4, pack_items(items, 1))])
    assert [(one.item, one.reason) for one in refusals] == [(2, "sink_rejected")]
    assert "CC" in refusals[0].detail
    found = {one.id: one.body for one in amqp.take(rabbitmq.url(), queue)}
    assert sorted(found.values()) == [b"0", b"1", b"3"]


def test_without_its_client_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name.startswith(("pika.", "actors.sinks.rabbitmq_", "actors.rabbitmq.client")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pika", None)
    of = RabbitMQ(topic="amqp://127.0.0.1:1?queue=q")
    says = r"^sinks\.out: type rabbitmq needs pika: pip install 'pika>=1\.3\.2'$"
    for use in (of.open, of.check):
        with pytest.raises(ConfigError, match=says):
            use("out", HERE)


# Connections ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [600, 5_000, 40_000, 90_000])
def test_a_connection_that_is_cut_anywhere_costs_repeats_under_the_same_ids_and_nothing_is_missing(
    rabbitmq: Server, after: int
) -> None:
    queue = rabbitmq.new_name()
    with Proxy(rabbitmq.port) as proxy:
        of = RabbitMQ(topic=f"amqp://guest:guest@{proxy.address}/?queue={queue}", window=100)
        items = [b"%d" % number for number in range(1000)]
        given = [payload(of, items[:700]), payload(of, items[700:], 10)]
        with closing(of.open("out", HERE)) as sink:
            proxy.cut_after = after
            with pytest.raises(Retryable, match=rf"^rabbitmq {proxy.address}: .*(lost|closed the connection)"):
                sink.write(given)
            proxy.cut_after = None
            assert sink.write(given) == []
    found = amqp.take(rabbitmq.url(), queue)
    by_id = {one.id: one.body for one in found}
    assert sorted(by_id.values(), key=int) == items
    assert len(found) <= len(items) + 100, "more than a window was published again"


def test_a_connection_that_was_silent_for_longer_than_its_heartbeats_is_opened_again_without_a_word(
    rabbitmq: Server
) -> None:
    queue = rabbitmq.new_name()
    of = options(rabbitmq, f"?queue={queue}", heartbeat_s=1)
    with closing(of.open(queue, HERE)) as sink:
        sink.write([payload(of, [b"1"])])
        amqp.eventually(lambda: re.search(rf"sinks\.{queue}[^\n]*\n[^\n]*missed heartbeats", rabbitmq.log()),
                        "the server has closed the connection")
        assert sink.write([payload(of, [b"2"], 10)]) == []
    assert bodies(amqp.take(rabbitmq.url(), queue)) == [b"1", b"2"]


def test_what_a_server_does_not_confirm_is_told_and_published_again_one_message_at_a_time(rabbitmq: Server) -> None:
    queue = rabbitmq.new_name()
    amqp.declare(rabbitmq.url(), queue)
    with Proxy(rabbitmq.port) as proxy:
        of = RabbitMQ(topic=f"amqp://guest:guest@{proxy.address}/?queue={queue}", timeout_s=1.0, declare=False)
        items = [b"%d" % number for number in range(100)]
        given = [payload(of, items)]
        with closing(of.open("out", HERE)) as sink:
            assert isinstance(sink, Publisher)
            for _ in range(3):
                amqp.eventually(lambda: works(sink.connect), "it is connected")
                proxy.delay_s = 60.0
                with pytest.raises(Retryable, match=r"confirmed nothing for 1 s"):
                    sink.write(given)
                proxy.heal()
            amqp.eventually(lambda: works(lambda: sink.write(given)), "all is confirmed")
        found = bodies(amqp.take(rabbitmq.url(), queue))
    assert set(found) == set(items)
    assert len(found) <= 100 + 2 + 100, "all at first, one at each further try, all at last"
    assert found[-100:] == items


def test_each_node_of_a_cluster_is_tried_in_turn(rabbitmq: Server) -> None:
    queue = rabbitmq.new_name()
    of = RabbitMQ(topic=f"amqp://guest:guest@127.0.0.1:1,127.0.0.1:{rabbitmq.port}/?queue={queue}")
    assert write(of, [b"1"]) == []
    assert bodies(amqp.take(rabbitmq.url(), queue)) == [b"1"]


def test_tls_is_spoken_to_a_server_whose_ca_is_trusted_and_to_no_other(rabbitmq: Server) -> None:
    queue = rabbitmq.new_name()
    topic = rabbitmq.url(f"?queue={queue}", tls=True)
    of = RabbitMQ(topic=topic, ca_file=str(rabbitmq.authority))
    assert write(of, [b"1", b"x" * 500_000, b"3"]) == []
    assert bodies(amqp.take(rabbitmq.url(), queue)) == [b"1", b"x" * 500_000, b"3"]
    with pytest.raises(ConfigError, match=r"certificate is not trusted.*ca_file"):
        RabbitMQ(topic=topic).open("out", HERE)
    with pytest.raises(ConfigError, match=r"ca_file: .*no such file"):
        RabbitMQ(topic=topic, ca_file="/nowhere/ca.pem").open("out", HERE)


@pytest.mark.parametrize(("wrong", "says"), [
    ({"password": "secret"}, "this user, or the password"), ({"vhost": "nowhere"}, "nowhere.*virtual host")])
def test_a_wrong_user_or_virtual_host_is_no_outage(rabbitmq: Server, wrong: dict[str, Any], says: str) -> None:
    of = RabbitMQ(topic=rabbitmq.url("?queue=q", **wrong))
    for use in (lambda: of.open("out", HERE), lambda: of.check("out", HERE)):
        with pytest.raises(ConfigError, match=says) as caught:
            use()
        assert "secret" not in str(caught.value)


def test_a_user_who_is_not_let_in_any_more_is_waited_for_once_something_was_published(rabbitmq: Server) -> None:
    user, queue = rabbitmq.new_name(), rabbitmq.new_name()
    of = RabbitMQ(topic=rabbitmq.url(f"?queue={queue}", user=user, password=user))
    given = [payload(of, [b"2"], 10)]
    with rabbitmq.user(user):
        sink = of.open("out", HERE)
        assert sink.write([payload(of, [b"1"])]) == []

    def said() -> str:
        try:
            sink.write(given)
        except Retryable as error:
            return str(error)
        return ""

    with closing(sink):
        amqp.eventually(lambda: "it refuses this user, or the password" in said(), "it is cut off, and not let in")
        with rabbitmq.user(user):
            amqp.eventually(lambda: not said(), "it is let in again")
    assert bodies(amqp.take(rabbitmq.url(), queue))[-1] == b"2"


# check ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def limited(rabbitmq: Server) -> Iterator[str]:
    """A user who may write to what begins with ``mine``, and configure nothing."""
    user = rabbitmq.new_name()
    rabbitmq.ask(f"users/{user}", "PUT", password="pw", tags="")
    rabbitmq.ask(f"permissions/%2F/{user}", "PUT", configure="^$", write="^mine.*", read=".*")
    yield user
    rabbitmq.ask(f"users/{user}", "DELETE")


def test_check_says_what_may_not_be_written_and_publishes_nothing(rabbitmq: Server, limited: str) -> None:
    mine, theirs = f"mine{rabbitmq.new_name()}", rabbitmq.new_name()
    with amqp.channel(rabbitmq.url()) as channel:
        for name in (mine, theirs):
            channel.exchange_declare(name, "fanout", durable=True)
            channel.queue_declare(name, durable=True)
            channel.queue_bind(name, name, "")

    def of(name: str, **others: Any) -> RabbitMQ:
        return RabbitMQ(topic=rabbitmq.url(f"?exchange={name}", user=limited, password="pw"), exchange_type="fanout",
                        **others)

    assert of(mine, declare=False).check("out", HERE) == []
    with pytest.raises(ConfigError, match=rf"{theirs}.*permission to write"):
        of(theirs, declare=False).check("out", HERE)
    with closing(of(theirs, declare=False).open("out", HERE)) as sink, pytest.raises(
            ConfigError, match=r"^sinks\.out: .*permission to write"):
        sink.write([payload(of(theirs), [b"1"])])
    with pytest.raises(ConfigError, match=r"permission to configure.*sinks\.out\.declare = false"):
        of(mine).check("out", HERE)
    with pytest.raises(ConfigError, match=r"permission to configure"):
        of(mine).open("out", HERE)
    assert amqp.take(rabbitmq.url(), mine) == amqp.take(rabbitmq.url(), theirs) == []


def test_check_says_what_is_not_there_and_makes_nothing(rabbitmq: Server) -> None:
    name = rabbitmq.new_name()
    for rest, noun in ((f"?exchange={name}", "exchange"), (f"?queue={name}", "queue")):
        assert options(rabbitmq, rest).check("out", HERE) == []
        (problem,) = options(rabbitmq, rest, declare=False).check("out", HERE)
        assert re.search(rf"{noun} {name} is not there.*sinks\.out\.declare = true", problem)


def test_check_says_that_nobody_listens() -> None:
    (problem,) = RabbitMQ(topic="amqp://127.0.0.1:1/?queue=q").check("out", HERE)
    assert re.search(r"^rabbitmq 127\.0\.0\.1:1: connection refused: start it, or set sinks\.out\.topic", problem)


# Options --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("wrong", "why"), [
    ({"topic": "amqp://h"}, "expected a queue or an exchange"), ({"topic": "amqp://h?queue=a{key}"}, "queue: "),
    ({"topic": "amqp://h?queue=a&routing_key=k"}, "routing_key: "),
    ({"topic": "amqp://h?exchange=e&routing_key=r.{ky}"}, r"routing_key: .*got \{ky\}"),
    ({"topic": "amqp://h?exchange="}, "expected a queue"),
    ({"topic": "amqp://h?exchange=e&queue=q&routing_key={key}"}, "direct exchange"),
    ({"topic": "amqp://h?queue=q", "key_file": "k.pem"}, "cert_file")])
def test_options_that_cannot_be_are_refused(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        RabbitMQ(**wrong)


def test_what_is_promised_says_that_messages_may_be_dropped_where_they_may() -> None:
    assert RabbitMQ(topic="amqp://h?exchange=e", unroutable="wait").promises() == RabbitMQ.guarantee
    assert "dropped by the server" in RabbitMQ(topic="amqp://h?exchange=e", unroutable="drop").promises()


def test_the_place_is_said_without_user_and_password() -> None:
    said = [RabbitMQ(topic=f"amqp://me:secret@h/v?{rest}").describe() for rest in ("queue=q", "exchange=e&queue=q")]
    assert said == ["rabbitmq h:5672/v queue q", "rabbitmq h:5672/v exchange e"]


# Read back, for panels ------------------------------------------------------------------------------------------------


def looked(follower: Follower) -> list[Record]:
    """What is new; nothing when it cannot be read now."""
    try:
        return follower.new()
    except OSError:
        return []


def test_a_stream_is_read_back_from_its_last_messages_on_and_nothing_is_taken(rabbitmq: Server) -> None:
    queue = rabbitmq.new_name()
    of = options(rabbitmq, f"?queue={queue}", queue_type="stream")
    follower = of.follow("out", HERE, 5)
    assert follower is not None
    with closing(follower), closing(of.open("out", HERE)) as sink:
        sink.write([payload(of, [(b"k%d" % number, b"%d" % number) for number in range(20)])])
        first = amqp.eventually(lambda: looked(follower), "the last messages")
        assert [(one.offset, one.key, one.value) for one in first] == [
            (number, b"k%d" % number, b"%d" % number) for number in range(15, 20)]
        assert follower.new() == []
        sink.write([payload(of, [(b"k", None), b"21"], 10)])
        more: list[Record] = []

        def have_come() -> bool:
            more.extend(looked(follower))
            return len(more) == 2

        amqp.eventually(have_come, "those that were written since")
        assert [one.value for one in more] == [None, b"21"]
        late = of.follow("out", HERE, 100)
        assert late is not None
        with closing(late):
            assert [one.value for one in amqp.eventually(lambda: looked(late), "all of them")][-1] == b"21"


def test_a_stream_that_is_not_there_yet_or_cannot_be_reached_is_looked_for_again(rabbitmq: Server) -> None:
    queue = rabbitmq.new_name()
    with Proxy(rabbitmq.port) as proxy:
        of = RabbitMQ(topic=f"amqp://guest:guest@{proxy.address}/?queue={queue}", queue_type="stream")
        follower = of.follow("out", HERE, 5)
        assert isinstance(follower, StreamFollower)
        with closing(follower):
            assert follower.new() == []
            write(of, [b"1"])
            assert [one.value for one in amqp.eventually(lambda: looked(follower), "the first")] == [b"1"]
            proxy.refuse()
            amqp.eventually(lambda: not listens(proxy.port), "nobody listens")
            with pytest.raises(OSError, match=r"^rabbitmq "):
                follower.new()
            proxy.heal()
            amqp.eventually(lambda: listens(proxy.port), "somebody listens")
            write(of, [b"2"])
            assert [one.value for one in amqp.eventually(lambda: looked(follower), "the second")] == [b"2"]
            with amqp.channel(rabbitmq.url()) as channel:
                channel.queue_delete(queue)
            amqp.eventually(lambda: not looked(follower) and follower._next is None, "it is known to be gone")
            write(of, [b"anew"])
            assert [one.value for one in amqp.eventually(lambda: looked(follower), "another")] == [b"anew"]


@pytest.mark.parametrize("rest", ["?queue=q", "?exchange=e"])
def test_of_any_other_queue_nothing_is_read_back(rest: str) -> None:
    assert RabbitMQ(topic=f"amqp://h{rest}").follow("out", HERE, 5) is None
