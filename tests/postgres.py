"""A real PostgreSQL for tests: a private cluster, started and stopped by whoever needs it."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.servers import free_port

if TYPE_CHECKING:
    import psycopg

START_S = 60.0
#: The user whom a server that must not be root's runs as.
_USER = "postgres"
_PASSWORD = "correct horse"


def require_postgres() -> Path:
    """The folder of PostgreSQL's programs; without it a test is skipped on a laptop and fails in CI."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    message = "PostgreSQL is not installed (apt-get install postgresql)"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


class Postgres:
    """A cluster in a folder of its own, on 127.0.0.1 with a password; a context manager.

    It is as fast as it can be: nothing of it outlives the machine, all of it outlives a kill.
    """

    def __init__(self) -> None:
        self._programs = require_postgres()
        self._folder = Path(tempfile.mkdtemp(prefix="thresher-postgres-"))
        self._user = pwd.getpwnam(_USER) if os.getuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"

    def __enter__(self) -> Postgres:
        try:
            self._make()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def url(self, database: str = "postgres", user: str = _USER, password: str = _PASSWORD) -> str:
        """The address of a database for the sink."""
        return f"postgresql+psycopg://{user}:{password.replace(' ', '%20')}@{self.address}/{database}"

    def make_database(self) -> str:
        """Make an empty database; return its name."""
        name = f"d{uuid.uuid4().hex}"
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return name

    def connect(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """Connect to a database, in autocommit."""
        import psycopg

        return psycopg.connect(host="127.0.0.1", port=self.port, user=_USER, password=_PASSWORD, dbname=database,
                               autocommit=True, connect_timeout=10)

    def start(self) -> None:
        """Start, and wait until it answers."""
        import psycopg

        data = self._folder / "data"
        (data / "postmaster.pid").unlink(missing_ok=True)
        self._process = self._spawn(
            self._programs / "postgres", "-D", data, "-h", "127.0.0.1", "-p", self.port, "-k", self._folder, "-c",
            "fsync=off", "-c", "full_page_writes=off", "-c", "log_min_messages=fatal")
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            try:
                self.connect().close()
                return
            except psycopg.OperationalError:
                assert self._process.poll() is None, f"postgres ended with {self._process.returncode}: {self.log()}"
                time.sleep(0.01)
        raise AssertionError(f"postgres does not answer on port {self.port}: {self.log()}")

    def stop(self) -> None:
        """End it at once; what was committed is there when it is started again."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)  # it ends its children, whatever they are at
        try:
            self._process.wait(START_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def log(self) -> str:
        """What it has said."""
        path = self._folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _make(self) -> None:
        secret = self._folder / "password"
        secret.write_text(_PASSWORD)
        if self._user is not None:
            for path in (self._folder, secret):
                os.chown(path, self._user.pw_uid, self._user.pw_gid)
        made = self._spawn(
            self._programs / "initdb", "-D", self._folder / "data", "-U", _USER, "--auth=scram-sha-256",
            f"--pwfile={secret}", "--encoding=UTF8", "--locale=C", "--no-sync")
        assert made.wait(START_S) == 0, self.log()

    def _spawn(self, *words: object) -> subprocess.Popen[bytes]:
        who: dict[str, Any] = {} if self._user is None else {
            "user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                [os.fspath(word) if isinstance(word, Path) else str(word) for word in words], cwd=self._folder,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"}, **who)
