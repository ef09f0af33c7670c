#!/usr/bin/env python3
"""Apache Kafka on this machine: its jars from Maven, and one node (KRaft) in a folder of its own.

    scripts/kafka fetch
    scripts/kafka start [--folder var/kafka] [--port 9092] [--set KEY=VALUE ...]
    scripts/kafka tool TopicCommand --bootstrap-server 127.0.0.1:9092 --create --topic ratings --partitions 4

``fetch`` needs Maven and lays 55 MB of jars, and 50 MB that let a node start sooner, in the folder that
THRESHER_KAFKA_JARS names, else in ~/.cache/thresher/kafka-VERSION; once they are there it does nothing. ``start``
fetches when need be, formats the folder the first time, and serves on 127.0.0.1 until Ctrl-C; what was written is there
the next time. ``tool`` runs a class of org.apache.kafka.tools (TopicCommand, ConfigCommand, ConsoleProducer,
consumer.ConsoleConsumer, consumer.group.ConsumerGroupCommand ...). All need Java 17 or newer: `java`, or what JAVA_HOME
names.

The node is made for tests and for trying things out: one copy of everything, small pools, quick groups.
"""

from __future__ import annotations

import argparse
import base64
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
POM = Path(__file__).with_name("kafka.pom.xml")
JARS = "THRESHER_KAFKA_JARS"
_TRIES = 3
#: Beside the jars: their classes as the virtual machine has them in memory, for a quick start: 2.0 s of CPU, not 3.9.
_CLASSES = "classes.jsa"
#: So long may a node take that is only started for that.
_WATCHDOG_S = 120.0
#: Answered without a login, and only when the node serves: ApiVersions, version 0, with the client's name.
_API_VERSIONS = struct.pack(">hhih8s", 18, 0, 1, 8, b"thresher")
_QUICK = {
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "2",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "2",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
    # One that was killed may not register again before its session has ended: 9 s if nothing is said.
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "300",
    "num.network.threads": "2",
    "num.io.threads": "2",
    "background.threads": "2",
    "log.cleaner.dedupe.buffer.size": "4194304",
    # Retention and compaction at once, where a topic asks for them: by default a record of old time would be gone.
    "log.retention.ms": "-1",
    "log.initial.task.delay.ms": "500",
    "log.retention.check.interval.ms": "500",
    "log.cleaner.backoff.ms": "500",
}


class NotThere(Exception):
    """Java, Maven or the jars are not on this machine; the text says what brings them."""


def version() -> str:
    """The version of Kafka that is fetched."""
    found = re.search(r"<kafka.version>(.+)</kafka.version>", POM.read_text(encoding="utf-8"))
    assert found is not None, f"{POM} names no version"
    return found[1]


def jars_folder() -> Path:
    """Where the jars are, or would be."""
    named = os.environ.get(JARS)
    if named:
        return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "thresher" / f"kafka-{version()}"


def find_jars() -> Path:
    """The folder of the jars.

    Raises:
        NotThere: they have not been fetched.
    """
    folder = jars_folder()
    if not (folder / f"kafka_2.13-{version()}.jar").exists():
        raise NotThere(f"Apache Kafka {version()} is not in {folder} (scripts/kafka fetch)")
    return folder


def find_java() -> str:
    """The program that runs the jars.

    Raises:
        NotThere: no Java is installed.
    """
    home = os.environ.get("JAVA_HOME")
    found = shutil.which(str(Path(home) / "bin" / "java") if home else "java")
    if found is None:
        raise NotThere("Java is not installed (apt-get install default-jre-headless)")
    return found


def fetch() -> Path:
    """Fetch the jars if they are not there; return their folder, which has all of them or does not exist.

    Raises:
        NotThere: Maven is not installed, or it could not fetch them.
    """
    try:
        folder = find_jars()
    except NotThere:
        folder = _fetch(jars_folder())
    if not (folder / _CLASSES).exists():
        _keep_classes(folder)
    return folder


def _fetch(folder: Path) -> Path:
    maven = shutil.which("mvn")
    if maven is None:
        raise NotThere("Maven is not installed (apt-get install maven)")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as name:
        made = Path(name) / "jars"
        command = [maven, "--batch-mode", "--quiet", "-f", str(POM), "dependency:copy-dependencies",
                   f"-DoutputDirectory={made}", "-DincludeScope=runtime"]
        if not any(subprocess.run(command, stdout=sys.stderr, check=False).returncode == 0 for _ in range(_TRIES)):
            raise NotThere(f"Maven could not fetch Apache Kafka {version()}: see above")
        try:
            made.rename(folder)
        except OSError as error:
            try:
                return find_jars()  # another one has fetched them meanwhile
            except NotThere:
                raise NotThere(f"{folder} is not empty, and has not Apache Kafka {version()}: "
                               f"remove it, or name another folder with {JARS} ({error})") from error
    return find_jars()


def java_command(main: str, *words: str, heap_mb: int = 256, quick: bool = True) -> list[str]:
    """The command that runs a class of the jars.

    Args:
        main: the class, with its package.
        words: what it is told.
        heap_mb: how much it may use for its objects.
        quick: whether it starts soon and stays small; else it compiles what it does often as well as it can.

    Raises:
        NotThere: Java or the jars are missing.
    """
    how = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", f"-Xms{min(heap_mb, 64)}m"] if quick else []
    if (find_jars() / _CLASSES).exists():
        how += [f"-XX:SharedArchiveFile={find_jars() / _CLASSES}", "-Xlog:cds=off", "-Xlog:cds+dynamic=off"]
    return [find_java(), *how, f"-Xmx{heap_mb}m", "-XX:-UsePerfData", "-Djava.awt.headless=true",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS",
            "-cp", f"{find_jars()}/*", main, *words]


@dataclass
class Node:
    """One node, broker and controller, on 127.0.0.1.

    Args:
        folder: where its data and its properties lie; made when it is missing.
        port: of clients, without a password.
        controller_port: of the other nodes.
        node_id: from 1 on.
        controllers: the controller ports of all nodes, by their ids; none for a node that is alone.
        listeners: more for clients: ``NAME://host:port``, each with how it is protected.
        more: properties that add to or replace the others.
        heap_mb: of its virtual machine.
        quick: whether that starts soon, for tests, or compiles well, for people and measurements.
    """

    folder: Path
    port: int
    controller_port: int
    node_id: int = 1
    controllers: Mapping[int, int] = field(default_factory=dict)
    listeners: Mapping[str, str] = field(default_factory=dict)
    more: Mapping[str, str] = field(default_factory=dict)
    heap_mb: int = 256
    quick: bool = True

    def properties(self) -> dict[str, str]:
        """All that the node is told."""
        controllers = self.controllers or {self.node_id: self.controller_port}
        plain = f"PLAINTEXT://127.0.0.1:{self.port}"
        protocols = {"CONTROLLER": "PLAINTEXT", "PLAINTEXT": "PLAINTEXT"}
        protocols |= {address.partition("://")[0]: protocol for address, protocol in self.listeners.items()}
        return {
            "process.roles": "broker,controller",
            "node.id": str(self.node_id),
            "controller.quorum.voters": ",".join(f"{one}@127.0.0.1:{port}" for one, port in controllers.items()),
            "listeners": ",".join([plain, f"CONTROLLER://127.0.0.1:{self.controller_port}", *self.listeners]),
            "advertised.listeners": ",".join([plain, *self.listeners]),
            "listener.security.protocol.map": ",".join(f"{name}:{one}" for name, one in protocols.items()),
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": str(self.folder / "data"),
        } | _QUICK | dict(self.more)

    def prepare(self, cluster: str = "") -> None:
        """Write the properties, and format the folder if that has not been done.

        Args:
            cluster: the name of the cluster, which its nodes share; empty for one of its own.

        Raises:
            NotThere: Java or the jars are missing, or Java is too old.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = [f"{key}={value}\n" for key, value in self.properties().items()]
        self._settings.write_text("".join(lines), encoding="utf-8")
        if (self.folder / "data" / "meta.properties").exists():
            return
        done = subprocess.run(
            java_command("kafka.tools.StorageTool", "format", "-t", cluster or new_cluster(), "-c",
                         str(self._settings)), capture_output=True, text=True, check=False)
        if "UnsupportedClassVersionError" in done.stderr:
            raise NotThere(f"Java 17 or newer is needed, {find_java()} is older (JAVA_HOME names another)")
        if done.returncode != 0:
            raise RuntimeError(f"{self.folder} cannot be formatted:\n{done.stdout}{done.stderr}")

    def command(self) -> list[str]:
        """The command that serves, once the node is prepared."""
        return java_command("kafka.Kafka", str(self._settings), heap_mb=self.heap_mb, quick=self.quick)

    @property
    def _settings(self) -> Path:
        return self.folder / "server.properties"


def new_cluster() -> str:
    """A name for a cluster: not one that the tool that formats takes for an option."""
    while (name := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return name


def answers(port: int, timeout_s: float = 1.0) -> bool:
    """Whether a node serves clients there: it does some time after it listens."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
            connection.sendall(struct.pack(">i", len(_API_VERSIONS)) + _API_VERSIONS)
            return len(connection.recv(4)) > 0
    except OSError:
        return False


def _keep_classes(folder: Path) -> None:
    """Start a node and end it, so that the next ones start sooner; a virtual machine that does not do so is left be."""
    with tempfile.TemporaryDirectory(prefix="thresher-kafka-") as name, socket.socket() as one, socket.socket() as two:
        ports = []
        for probe in (one, two):
            probe.bind(("127.0.0.1", 0))
            ports.append(probe.getsockname()[1])
            probe.close()
        node = Node(Path(name), *ports)
        node.prepare()
        java, *words = node.command()
        made = folder / f"{_CLASSES}.{os.getpid()}"
        with subprocess.Popen([java, f"-XX:ArchiveClassesAtExit={made}", *words], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as process:
            try:
                deadline = time.monotonic() + _WATCHDOG_S
                while process.poll() is None and not answers(node.port) and time.monotonic() < deadline:
                    time.sleep(0.1)
                process.terminate()
                process.wait(_WATCHDOG_S)
            finally:
                process.kill()
        if made.exists():
            made.rename(folder / _CLASSES)


def _start(arguments: argparse.Namespace) -> int:
    fetch()
    # Alone it has nobody to hand over to, and would wait for minutes for its own controller when that is slow.
    more = {"controlled.shutdown.enable": "false"} | dict(item.partition("=")[::2] for item in arguments.set)
    node = Node(arguments.folder.resolve(), arguments.port, arguments.controller_port or arguments.port + 1, more=more,
                heap_mb=1024, quick=False)
    node.prepare()
    print(f"Apache Kafka {version()} on 127.0.0.1:{node.port}, data in {node.folder}; Ctrl-C ends it", flush=True)
    command = node.command()
    os.execv(command[0], command)


def _tool(arguments: argparse.Namespace) -> int:
    fetch()
    command = java_command(f"org.apache.kafka.tools.{arguments.name}", *arguments.words)
    os.execv(command[0], command)


def main(words: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("fetch", help="fetch the jars if they are not there, and print their folder")
    start = verbs.add_parser("start", help="serve until Ctrl-C")
    start.add_argument("--folder", type=Path, default=ROOT / "var" / "kafka", help="of its data (default: var/kafka)")
    start.add_argument("--port", type=int, default=9092, help="of clients (default: 9092)")
    start.add_argument("--controller-port", type=int, default=0, help="of the node itself (default: the next one)")
    start.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a property of the broker")
    tool = verbs.add_parser("tool", help="run one of its own tools")
    tool.add_argument("name", help="a class of org.apache.kafka.tools: TopicCommand ...")
    tool.add_argument("words", nargs=argparse.REMAINDER, help="what the tool is told")
    arguments = parser.parse_args(words)
    try:
        if arguments.verb == "fetch":
            print(fetch())
            return 0
        return _start(arguments) if arguments.verb == "start" else _tool(arguments)
    except NotThere as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
