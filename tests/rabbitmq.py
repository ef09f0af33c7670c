"""A real RabbitMQ for tests: one node in folders of its own, started and stopped by whoever needs it."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import pytest

from tests.certificates import make_certificates, require_openssl
from tests.processes import Broker, Served, tail
from tests.servers import free_port

#: Not /usr/sbin/rabbitmq-server, which changes the user and knows one node only.
_SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
USER, PASSWORD = "guest", "guest"
WATCHDOG_S = 120.0
#: Bytes that a server may use.
MEMORY = 512 * 1024 * 1024
#: What a node says whose port another process has.
_IN_USE = re.compile(r"in use|already_used|eaddrinuse", re.IGNORECASE)


def require_rabbitmq() -> Path:
    """The path of the server; without it a test is skipped on a laptop and fails in CI."""
    if _SERVER.exists() and shutil.which("epmd"):
        return _SERVER
    message = "RabbitMQ is not installed (apt-get install rabbitmq-server)"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


class RabbitMQ(Broker):
    """A broker on 127.0.0.1 with the user ``guest``; a context manager.

    Its port mapper (epmd) is a process of the test as well: a node that finds none leaves a daemon behind.

    Args:
        secure: whether it listens with TLS as well.
        management: whether it has the plugin that is asked by HTTP.
        stream: whether it has the plugin with the protocol of its own for streams; AMQP reads streams without it.

    Attributes:
        port: of AMQP.
        tls_port: of AMQP with TLS; ``authority`` vouches for ``localhost`` and 127.0.0.1.
        management_port: of HTTP.
        stream_port: of the streams' protocol.
        mapper_port: of epmd.
        authority: the file of the certificate that a client has to trust.
    """

    def __init__(self, *, secure: bool = False, management: bool = False, stream: bool = False) -> None:
        self._program = require_rabbitmq()
        if secure:
            require_openssl()
        super().__init__(Path(tempfile.mkdtemp(prefix="thresher-rabbitmq-")))
        self.authority = self.folder / "certificates" / "authority.pem"
        self._mapper: Served | None = None
        self._has = secure, management, stream
        self._take_ports()
        self._configure(*self._has)

    def __enter__(self) -> Self:
        """Start it, with other ports when another process has taken one of them meanwhile."""
        for left in (2, 1, 0):
            try:
                return super().__enter__()
            except AssertionError as error:
                if not left or not _IN_USE.search(str(error)):
                    raise
                self.folder.mkdir(mode=0o700)
                self._take_ports()
                self._configure(*self._has)
        raise AssertionError

    def _take_ports(self) -> None:
        self.port, self.tls_port, self.management_port, self.stream_port = (free_port() for _ in range(4))
        self.mapper_port, self._node_port = free_port(), free_port()

    def __exit__(self, *exc: object) -> None:
        self.kill()
        if self._mapper is not None:
            self._mapper.kill()
            self._mapper = None
        super().__exit__()

    def url(self, rest: str = "", *, user: str = USER, password: str = PASSWORD, vhost: str = "/",
            tls: bool = False) -> str:
        """Its address: ``amqp://guest:guest@127.0.0.1:PORT/%2F`` and what comes behind it."""
        scheme, port = ("amqps", self.tls_port) if tls else ("amqp", self.port)
        return f"{scheme}://{user}:{password}@127.0.0.1:{port}/{quote(vhost, safe='')}{rest}"

    def _begin(self) -> Served:
        mapper = str(self.mapper_port)
        if self._mapper is None:
            epmd = shutil.which("epmd")
            assert epmd is not None
            self._mapper = Served([epmd, "-address", "127.0.0.1", "-port", mapper], self.folder, {})
            self._mapper.wait_until(lambda: _listens(self.mapper_port), self.log)
        return Served([str(self._program)], self.folder, self._environment())

    def _serves(self) -> bool:
        return _answers(self.port)

    def until_kept(self, queue: str) -> None:
        """Wait until a quorum queue outlives a kill: a node writes down that it has one up to a second after it has
        said so, and one that was killed before that never serves the queue again."""
        deadline = time.monotonic() + WATCHDOG_S
        while not any(queue.encode() in path.read_bytes() for path in self.folder.glob("mnesia/*/quorum/*/names.dets")):
            assert time.monotonic() < deadline, f"the node does not write down that it has {queue}"
            time.sleep(0.02)

    @staticmethod
    def new_name() -> str:
        """A name for a queue or an exchange that nobody else has."""
        return f"q{uuid.uuid4().hex}"

    def ask(self, path: str, method: str = "GET", **body: object) -> Any:
        """Ask the management plugin: ``ask("queues/%2F/mine")``; return what it answers, None when that is nothing."""
        login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.management_port}/api/{path}", method=method,
            data=json.dumps(body).encode() if method != "GET" else None,
            headers={"Authorization": f"Basic {login}", "Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=WATCHDOG_S) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def suspend(self, queue: str, on: bool = True) -> None:
        """Keep a quorum queue's leader from its work, or let it go on; the server answers for it meanwhile."""
        program = str(_SERVER.with_name("rabbitmqctl"))
        done = subprocess.run(
            [program, "eval", f'sys:{"suspend" if on else "resume"}(whereis(list_to_atom("%2F_{queue}"))).'],
            env=self._environment(), capture_output=True, text=True, timeout=WATCHDOG_S, check=False)
        assert done.stdout.strip() == "ok", done.stdout + done.stderr

    def limit_memory(self, size: int) -> None:
        """With more bytes than this the server gives an alarm, and takes no messages. (``rabbitmqctl`` would do, with
        seconds of a processor.)"""
        done = subprocess.run(
            ["erl_call", "-r", "-sname", f"t{self.port}@localhost", "-e"], check=False, text=True, capture_output=True,
            input=f"vm_memory_monitor:set_vm_memory_high_watermark({{absolute, {size}}}).\n",
            env=self._environment(), timeout=WATCHDOG_S)
        assert done.stdout == "{ok, ok}", done.stdout + done.stderr

    @contextmanager
    def user(self, name: str, *, configure: str = ".*", write: str = ".*", read: str = ".*") -> Iterator[None]:
        """A user whose password is the name, who may do this with what has such a name; needs ``management``."""
        self.ask(f"users/{name}", "PUT", password=name, tags="monitoring")
        try:
            self.ask(f"permissions/%2F/{name}", "PUT", configure=configure, write=write, read=read)
            yield
        finally:
            self.ask(f"users/{name}", "DELETE")

    def log(self) -> str:
        """The last of what it has said."""
        return "\n".join(tail(path) for path in (self.folder / "said", *sorted((self.folder / "log").glob("*.log"))))

    def _configure(self, secure: bool, management: bool, stream: bool) -> None:
        lines = [f"listeners.tcp.1 = 127.0.0.1:{self.port}", "log.console = false", "loopback_users = none",
                 f"vm_memory_high_watermark.absolute = {MEMORY}", "disk_free_limit.absolute = 50MB"]
        plugins = []
        if secure:
            made = make_certificates(self.folder / "certificates")
            lines += [f"listeners.ssl.1 = 127.0.0.1:{self.tls_port}", f"ssl_options.cacertfile = {made.authority}",
                      f"ssl_options.certfile = {made.certificate}", f"ssl_options.keyfile = {made.key}",
                      "ssl_options.verify = verify_none"]
        if management:
            plugins.append("rabbitmq_management")
            lines += ["management.tcp.ip = 127.0.0.1", f"management.tcp.port = {self.management_port}",
                      "collect_statistics_interval = 1000"]  # of five seconds: a test waits for what it says
        if stream:
            plugins.append("rabbitmq_stream")
            lines += [f"stream.listeners.tcp.1 = 127.0.0.1:{self.stream_port}", "stream.advertised_host = 127.0.0.1",
                      f"stream.advertised_port = {self.stream_port}"]
        for name in ("mnesia", "log", "home"):
            (self.folder / name).mkdir()
        (self.folder / "rabbitmq.conf").write_text("".join(f"{line}\n" for line in lines))
        (self.folder / "enabled_plugins").write_text(f"[{','.join(plugins)}].\n")

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8", "HOME": str(self.folder / "home"),
            "RABBITMQ_NODENAME": f"t{self.port}@localhost", "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"), "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"), "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_DIST_PORT": str(self._node_port), "ERL_EPMD_PORT": str(self.mapper_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS":
                "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}",
            # It then becomes the server instead of waiting for it as its child: a signal reaches the server.
            "RUNNING_UNDER_SYSTEMD": "true",
        }


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _answers(port: int) -> bool:
    """Whether AMQP is spoken there: a wrong greeting is answered with the right one."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"AMQP\0\0\x09\x01")
            return len(connection.recv(8)) > 0
    except OSError:
        return False
