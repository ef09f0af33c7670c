"""A Kafka that is ahead of its reader, and dies and comes back, as operators see it."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.apps.test_lag import behind, following, until, verb
from tests.kafka import Kafka, Topics
from tests.servers import Memcached, free_port

pytest.importorskip("confluent_kafka")


def test_the_lag_of_a_kafka_topic_is_shown_by_partition_grows_old_while_the_broker_is_gone_and_is_made_good(
    tmp_path: Path, kafka_to_kill: Kafka
) -> None:
    server, broker = Memcached(free_port()), kafka_to_kill
    topics = Topics(broker.address)
    name = topics.make(partitions=2)
    topics.send(name, [{"key": b"k%d" % number, "value": b"v"} for number in range(200)])
    sets = ("source.type=kafka", f'source.topics=["kafka://{broker.address}/{name}"]', "run.max_outage_s=auto")
    with following(tmp_path, server, *sets) as running:
        seen = until(running, behind(200), "a lag of all")
        assert seen.lag is not None
        assert {each.name.rpartition("/")[2] for each in seen.lag.worst} == {"0", "1"}
        with server:
            until(running, lambda seen: behind(0)(seen) and not seen.not_ready, "no lag, and ready")
            broker.kill()
            seen = until(running, lambda seen: seen.not_ready and seen.lag is not None and seen.lag.age_s > 3,
                         "an outage")
            assert seen.not_ready[0].startswith("reader.1 waits: ")
            assert json.loads(verb(running, "status", "tests.pipelines.behind", "--json"))["not_ready"]
            broker.start()
            topics.send(name, [{"key": b"n%d" % number, "value": b"v"} for number in range(100)])
            until(running, lambda seen: behind(0)(seen) and not seen.not_ready and seen.outcomes["read"] == 300,
                  "it goes on by itself")
            assert server.items() == 300
            running.process.send_signal(signal.SIGTERM)
            assert running.wait() == 0, running.output()
