"""The power of a run and of its Redis is cut: both on one disk, the server with ``appendfsync always``.

The server is started beside the run and recorded as it is; after a cut its file may end in the middle of a command, or
have pages of nothing, as ``redis-check-aof --fix`` is for.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redis import Redis as Client

from tests.processes import Served, tail
from tests.redis import answers, require_redis
from tests.servers import free_port

ADDRESS = "POWERCUT_REDIS"
WORDS = ("tests.pipelines.kept", "--set", f"sinks.store.url=${{env:{ADDRESS}}}", "--set", "budget.max_error_rate=0.5",
         "--set", "flow.batch_bytes=200", "--set", "flow.window_batches=4")


@contextmanager
def beside(root: Path, environment: dict[str, str]) -> Iterator[None]:
    """Serve what lies in ``root/redis``, and tell the run where."""
    port, said = free_port(), Path(tempfile.mkdtemp(prefix="thresher-redis-"))
    environment[ADDRESS] = f"redis://127.0.0.1:{port}/0"
    folder = root / "redis"
    folder.mkdir(exist_ok=True)
    _mend(folder)
    served = Served([require_redis(), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "",
                     "--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0"], said,
                    environment)
    try:
        served.wait_until(lambda: answers(port), lambda: tail(said / "said"))
        yield
    finally:
        served.kill()
        shutil.rmtree(said, ignore_errors=True)


def prepare(root: Path) -> None:
    """Have the server make its files, of which all later writes are appended to one."""
    with beside(root, dict(os.environ)):
        pass


def look(root: Path) -> dict[str, Any]:
    """All values, and all sorted sets."""
    environment = dict(os.environ)
    with beside(root, environment), Client.from_url(environment[ADDRESS]) as client:
        values = {key: client.get(key) for key in client.scan_iter(_type="string") if not key.startswith(b"thresher_")}
        return {"values": values, "sets": {name: client.zrange(name, 0, -1, withscores=True)
                                           for name in client.scan_iter(_type="zset")}}


def _mend(folder: Path, environment: Mapping[str, str] = os.environ) -> None:
    """As who runs a server does it after a power cut."""
    for file in folder.glob("appendonlydir/*.incr.aof"):
        subprocess.run(["redis-check-aof", "--fix", str(file)], input=b"y\n", env=dict(environment), check=False,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
