"""Real Redis servers for tests: one, with replicas and Sentinels, each in a folder of its own."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import pytest
from redis import Redis as Client
from redis.exceptions import RedisError

from tests.certificates import make_certificates, require_openssl
from tests.processes import Broker, Served
from tests.servers import free_port

WATCHDOG_S = 60.0
#: How soon Sentinels take a master for gone.
_DOWN_MS = 1000


def require_redis(name: str = "redis-server") -> str:
    """The path of a program of Redis; without it a test is skipped on a laptop and fails in CI."""
    path = shutil.which(name)
    if path is None:
        message = f"{name} is not installed (apt-get install redis-server redis-sentinel)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path


class Redis(Broker):
    """A server on 127.0.0.1 that keeps what it answers, unless it is told otherwise; a context manager.

    Args:
        settings: more of its configuration, or others.
        secure: whether it listens with TLS as well.
        program: another server than the one that is installed (Valkey).

    Attributes:
        port: where it listens.
        tls_port: with TLS; ``authority`` vouches for ``localhost`` and 127.0.0.1.
        authority: the file of the certificate that a client has to trust.
    """

    def __init__(self, settings: Mapping[str, str] = {}, secure: bool = False, program: str = "") -> None:
        self._program = program or require_redis()
        if secure:
            require_openssl()
        super().__init__(Path(tempfile.mkdtemp(prefix="thresher-redis-")))
        self.port, self.tls_port = free_port(), free_port()
        self.authority = self.folder / "certificates" / "authority.pem"
        self.settings = {
            "bind": "127.0.0.1", "port": str(self.port), "dir": str(self.folder), "appendonly": "yes",
            "appendfsync": "always", "save": '""', "repl-diskless-sync-delay": "0", **settings}
        if secure:
            made = make_certificates(self.folder / "certificates")
            self.settings |= {
                "tls-port": str(self.tls_port), "tls-cert-file": str(made.certificate),
                "tls-key-file": str(made.key), "tls-ca-cert-file": str(made.authority), "tls-auth-clients": "no"}

    def url(self, rest: str = "/0", user: str = "", tls: bool = False) -> str:
        """Its address: ``redis://127.0.0.1:PORT/0``."""
        login = f"{user}@" if user else ""
        return f"{'rediss' if tls else 'redis'}://{login}127.0.0.1:{self.tls_port if tls else self.port}{rest}"

    @property
    def client(self) -> Client:
        """A client of the library that everybody uses."""
        return Client(port=self.port, socket_timeout=WATCHDOG_S, decode_responses=False,
                      password=self.settings.get("requirepass"))

    def ask(self, *words: object) -> Any:
        """Send a command and return its answer."""
        with self.client as client:
            return client.execute_command(*words)

    def contents(self) -> dict[bytes, bytes]:
        """All values that are text, but for those of ours."""
        with self.client as client:
            keys = [key for key in client.scan_iter(count=1000, _type="string") if not key.startswith(b"thresher_")]
            return dict(zip(keys, client.mget(keys), strict=True)) if keys else {}

    def entries(self, name: bytes) -> list[tuple[bytes, float]]:
        """A sorted set in its order."""
        with self.client as client:
            return list(client.zrange(name, 0, -1, withscores=True))

    def _begin(self) -> Served:
        path = self.folder / "redis.conf"
        if not path.exists():
            path.write_text("".join(f"{name} {value}\n" for name, value in self.settings.items()))
            path.chmod(0o600)
        return Served([self._program, str(path)], self.folder, {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"})

    def _serves(self) -> bool:
        return answers(self.port, self.settings.get("requirepass"))


class Watched:
    """A master, a replica of it and three Sentinels, who make the replica the master when that is gone.

    Args:
        settings: of master and replica.
        password: what all of them ask for; empty: nothing.

    Attributes:
        nodes: the master and the replica of the beginning.
        name: what the Sentinels call the master.
    """

    name = "main"

    def __init__(self, settings: Mapping[str, str] = {}, password: str = "") -> None:
        require_redis("redis-sentinel")
        settings = {**settings, **({"requirepass": password, "masterauth": password} if password else {})}
        first = Redis(settings)
        self.nodes = (first, Redis({**settings, "replicaof": f"127.0.0.1 {first.port}"}))
        self._login = f":{password}@" if password else ""
        self._sentinels = [_Sentinel(self.name, first.port, password) for _ in range(3)]
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            for one in (*self.nodes, *self._sentinels):
                self._stack.enter_context(one)
            until(lambda: self.nodes[1].ask("ROLE")[3] == b"connected", "the replica is not connected")
            until(lambda: all(one.knows_all() for one in self._sentinels), "the Sentinels do not know one another")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def url(self) -> str:
        """Its address: ``redis+sentinel://127.0.0.1:PORT,…/main/0``."""
        nodes = ",".join(f"127.0.0.1:{one.port}" for one in self._sentinels)
        return f"redis+sentinel://{self._login}{nodes}/{self.name}/0"

    def until_master(self, node: Redis) -> None:
        """Wait until the Sentinels say that this one is the master, and it takes writes."""
        until(lambda: all(one.master() == node.port for one in self._sentinels) and node.ask("ROLE")[0] == b"master",
              "there is no new master")


class _Sentinel(Broker):
    """One of three."""

    def __init__(self, name: str, port: int, password: str) -> None:
        super().__init__(Path(tempfile.mkdtemp(prefix="thresher-sentinel-")))
        self.port = free_port()
        self._name = name
        self._password = password or None
        secret = (f"sentinel auth-pass {name} {password}\nrequirepass {password}\n"
                  f"sentinel sentinel-pass {password}\n")
        (self.folder / "sentinel.conf").write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.folder}\nsentinel monitor {name} 127.0.0.1 {port} 2\n"
            f"sentinel down-after-milliseconds {name} {_DOWN_MS}\nsentinel failover-timeout {name} 5000\n"
            + secret * bool(password))

    def master(self) -> int:
        """The port of the master, as it knows it."""
        return int(self._ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._name)[1])

    def knows_all(self) -> bool:
        """Whether it has found the others, and the replica."""
        found = self._ask("SENTINEL", "MASTER", self._name)
        return (int(found["num-other-sentinels"]), int(found["num-slaves"])) == (2, 1)

    def _ask(self, *words: str) -> Any:
        with Client(port=self.port, socket_timeout=WATCHDOG_S, decode_responses=True,
                    password=self._password) as client:
            found = client.execute_command(*words)
        return dict(zip(found[::2], found[1::2], strict=True)) if isinstance(found, list) and len(found) > 2 else found

    def _begin(self) -> Served:
        return Served([require_redis("redis-sentinel"), str(self.folder / "sentinel.conf")], self.folder,
                      {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"})

    def _serves(self) -> bool:
        return answers(self.port, self._password)


def answers(port: int, password: str | None = None) -> bool:
    """Whether Redis is spoken there, and it has read its file."""
    try:
        with Client(port=port, socket_timeout=1, password=password) as client:
            return bool(client.ping())
    except (RedisError, OSError):
        return False


def until(ready: Callable[[], bool], otherwise: str) -> None:
    """Look until it is so; fail after a minute."""
    deadline = time.monotonic() + WATCHDOG_S
    while True:
        try:
            if ready():
                return
        except (RedisError, OSError):
            pass
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.02)
