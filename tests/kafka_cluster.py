"""Several real nodes of Kafka as one cluster: each may be killed while the others serve."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from scripts.kafka import Node, answers, new_cluster
from tests.kafka import WATCHDOG_S, Topics, require_kafka
from tests.processes import Served, tail
from tests.servers import free_port

#: Each record on all three, acknowledged when two have it: one node may be away.
_COPIES = {
    "default.replication.factor": "3", "min.insync.replicas": "2", "auto.create.topics.enable": "false",
    "offsets.topic.replication.factor": "3", "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2", "share.coordinator.state.topic.replication.factor": "3",
    "share.coordinator.state.topic.min.isr": "2", "replica.lag.time.max.ms": "5000",
}


class KafkaCluster:
    """Three nodes on 127.0.0.1, each broker and controller; a context manager.

    Args:
        properties: of each node, besides.
        heap_mb: of the virtual machine of each.

    Attributes:
        address: of all, for clients: ``host:port,host:port,host:port``.
        numbers: of the nodes.
    """

    def __init__(self, properties: Mapping[str, str] | None = None, heap_mb: int = 320) -> None:
        require_kafka()
        self._folder = Path(tempfile.mkdtemp(prefix="thresher-kafkas-"))
        self.numbers = (1, 2, 3)
        controllers = {number: free_port() for number in self.numbers}
        more = _COPIES | dict(properties or {})
        self._nodes = {number: Node(self._folder / str(number), free_port(), controllers[number], number, controllers,
                                    more=more, heap_mb=heap_mb) for number in self.numbers}
        self._served: dict[int, Served] = {}
        self.address = ",".join(f"127.0.0.1:{node.port}" for node in self._nodes.values())

    def __enter__(self) -> KafkaCluster:
        cluster = new_cluster()
        try:
            for node in self._nodes.values():
                node.prepare(cluster)
            for number in self.numbers:
                self._spawn(number)
            for number in self.numbers:
                self._wait(number)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        for number in list(self._served):
            self.kill(number)
        shutil.rmtree(self._folder, ignore_errors=True)

    def kill(self, number: int) -> None:
        """SIGKILL of a node."""
        self._served.pop(number).kill()

    def start(self, number: int) -> None:
        """Start a node that was killed, and wait until it serves."""
        self._spawn(number)
        self._wait(number)

    def until_whole(self, topics: Topics, *names: str) -> None:
        """Wait until all nodes have all of these topics, and are in step."""
        deadline = time.monotonic() + WATCHDOG_S
        while missing := [f"{name}/{partition}" for name in names
                          for partition, copies in topics.in_step(name).items() if len(copies) < len(self.numbers)]:
            assert time.monotonic() < deadline, f"not on all nodes: {missing}"
            time.sleep(0.1)

    def _spawn(self, number: int) -> None:
        node = self._nodes[number]
        environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"}
        self._served[number] = Served(node.command(), node.folder, environment)

    def _wait(self, number: int) -> None:
        node = self._nodes[number]
        self._served[number].wait_until(lambda: answers(node.port), lambda: tail(node.folder / "said"))
