"""What an origin tells of its batches."""

from __future__ import annotations

from actors.runtime import poison
from actors.runtime.messages import Batch, Suspect
from actors.runtime.origin import Origin
from actors.runtime.traced import TracedOrigin, make_origin
from actors.runtime.tracing import OFF
from actors.runtime.values import Chunk
from tests.spans import Keeper

ONE, TWO = "parser.1#1", "parser.2#1"


def origin_of(every: int = 1) -> tuple[TracedOrigin, Keeper]:
    """An origin with two workers that take as much as there is."""
    keeper = Keeper(every)
    origin = TracedOrigin(keeper, 1, 100, 10_000)
    origin.grant(ONE, 100)
    origin.grant(TWO, 1)
    return origin, keeper


def issue(origin: Origin, start: int = 0, lines: int = 4) -> None:
    data = b"aaaa\n" * lines
    origin.issue("p", Chunk(1, "in.log", start, start + len(data), start, 1, data))


def send(origin: Origin) -> list[Batch]:
    return [header for _, header, _ in origin.assign()]


def test_a_batch_is_one_span_from_issue_to_close_with_what_became_of_its_records() -> None:
    origin, keeper = origin_of()
    issue(origin)
    (header,) = send(origin)
    (root,) = keeper.spans
    assert header.trace == root.context
    assert (root.name, root.parent) == ("batch", None)
    assert root.facts == {"partition": "p", "start": 0, "end": 20, "source": "in.log", "unit": 1, "bytes": 20,
                          "fault": ""}
    origin.ack(header.id, header.epoch, {"read": 4, "written": 3, "dead_lettered": 1})
    assert [span.ended for span in keeper.spans] == [0], "it is acknowledged, not closed"
    origin.advance()
    assert (root.ended, root.error) == (1, "")
    assert root.facts | {"records": 4, "outcome.written": 3, "outcome.dead_lettered": 1} == root.facts
    assert [name for name, _ in root.events] == ["delivered", "acknowledged"]


def test_a_batch_behind_one_that_is_open_is_not_closed_before_it() -> None:
    origin, keeper = origin_of()
    issue(origin, 0)
    issue(origin, 20)
    first, second = send(origin)
    origin.ack(second.id, second.epoch, {"read": 4})
    origin.advance()
    assert [span.ended for span in keeper.spans] == [0, 0]
    origin.ack(first.id, first.epoch, {"read": 4})
    origin.advance()
    assert [span.ended for span in keeper.spans] == [1, 1]


def test_a_delivery_that_failed_is_a_span_of_its_own_with_the_cause_and_the_next_one_is_in_the_same_trace() -> None:
    origin, keeper = origin_of()
    issue(origin)
    (header,) = send(origin)
    origin.failed(header.id, header.epoch, ONE, "writer.a#1 died")
    (again,) = send(origin)
    root, delivery = keeper.spans
    assert again.trace == header.trace == root.context
    assert (delivery.name, delivery.parent, delivery.error) == ("delivery", root, "writer.a#1 died")
    assert delivery.facts == {"worker": ONE, "delivery": 1}
    assert [facts["delivery"] for facts in root.said("delivered")] == [1, 2]
    assert root.said("failed") == [{"worker": ONE, "cause": "writer.a#1 died"}]


def test_with_a_worker_that_dies_its_deliveries_fail_and_no_others() -> None:
    origin, keeper = origin_of()
    for start in (0, 20, 40):
        issue(origin, start)
    headers = {header.start: worker for worker, header, _ in origin.assign()}
    held = [start for start, worker in headers.items() if worker == ONE]
    origin.ack(("p", held[0], held[0] + 20), origin.epoch, {"read": 4})
    origin.lost(ONE)
    failed = [span.parent.facts["start"] for span in keeper.named("delivery") if span.parent is not None]
    assert failed == held[1:], "what it had acknowledged has not failed"
    assert {span.error for span in keeper.named("delivery")} == {f"{ONE} died"}


def test_a_new_epoch_fails_what_is_under_way_and_delivers_all_that_is_open_again() -> None:
    origin, keeper = origin_of()
    issue(origin, 0)
    issue(origin, 20)
    first, second = send(origin)
    origin.ack(second.id, second.epoch, {"read": 4})
    origin.new_epoch()
    assert [header.trace for header in send(origin)] == [first.trace, second.trace]
    assert [span.parent for span in keeper.named("delivery")] == [keeper.spans[0]]


def test_halves_are_spans_of_the_same_trace_linked_to_what_they_were_cut_from_and_the_root_waits_for_them() -> None:
    origin, keeper = origin_of()
    issue(origin, lines=4)
    key = ("p", 0, 20)
    for _ in range(2):
        send(origin)
        origin.lost(ONE)
        origin.grant(ONE, 100)
        _blame(origin, key)
    root = keeper.spans[0]
    assert [facts["deaths"] for facts in root.said("suspect")] == [1, 2]
    assert root.said("split") == [{"halves": 2}]
    first, second = keeper.named("half")
    assert [(half.parent, half.link) for half in (first, second)] == [(root, root)] * 2
    assert [header.trace for header in send(origin)] == [first.context, second.context]
    origin.lost(ONE)
    origin.grant(ONE, 100)
    _blame(origin, ("p", 0, 10))
    quarters = keeper.named("half")[2:]
    assert [(half.parent, half.link) for half in quarters] == [(root, first)] * 2
    assert (first.ended, second.ended, root.ended) == (1, 0, 0)
    for header in send(origin):
        origin.ack(header.id, header.epoch, {"read": (header.end - header.start) // 5})
    origin.advance()
    assert [span.ended for span in (root, second, *quarters)] == [1, 1, 1, 1]
    assert (root.facts["records"], second.facts["records"]) == (4, 2)
    assert {span.trace for span in keeper.spans} == {root.trace}
    assert not origin._pieces


def test_a_suspicion_that_comes_late_is_told_and_fails_no_other_delivery() -> None:
    origin, keeper = origin_of()
    issue(origin)
    send(origin)
    origin.lost(ONE)
    origin.grant(ONE, 100)
    send(origin)
    _blame(origin, ("p", 0, 20))
    assert send(origin) == []
    root, delivery = keeper.spans
    assert (delivery.name, delivery.error) == ("delivery", f"{ONE} died")
    assert [facts["delivery"] for facts in root.said("delivered")] == [1, 2]
    assert [facts["deaths"] for facts in root.said("suspect")] == [1]


def test_a_delivery_that_failed_by_a_suspicion_does_not_fail_again_when_its_producer_says_so() -> None:
    origin, keeper = origin_of()
    issue(origin)
    (header,) = send(origin)
    _blame(origin, ("p", 0, 20))
    assert origin.failed(header.id, header.epoch, ONE, "checker.1#1 died")
    assert [span.error for span in keeper.named("delivery")] == ["worker_died"]
    assert len(send(origin)) == 1


def _blame(origin: Origin, key: tuple[str, int, int]) -> None:
    suspect = origin.suspect(key)
    assert suspect is not None
    origin.replace(key, poison.blame(*suspect, Suspect(*key, "worker_died", "signal SIGSEGV\nin parse")))


def test_a_batch_that_is_not_sampled_has_an_empty_header_and_is_not_remembered() -> None:
    origin, keeper = origin_of(every=3)
    for start in range(0, 120, 20):
        issue(origin, start)
    headers = send(origin)
    assert [bool(header.trace) for header in headers] == [False, False, True] * 2
    assert len(origin._pieces) == len(keeper.spans) == 2


def test_who_is_not_told_to_trace_has_an_origin_that_knows_nothing_of_it() -> None:
    assert type(make_origin(OFF, 1, 1, 1)) is Origin
    assert type(make_origin(Keeper(), 1, 1, 1)) is TracedOrigin
