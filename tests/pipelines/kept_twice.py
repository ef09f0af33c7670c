"""A pipeline that keeps each number in Redis and in memcached."""

from __future__ import annotations

from tests.pipelines.kept import parse
from thresher import Pipeline
from thresher.sinks import DeadLetters, Memcached, Redis
from thresher.sources import Files


def route(number: int) -> tuple[str, str]:
    """To both."""
    return "store", "copy"


def encode(number: int) -> tuple[bytes, bytes]:
    """Under itself."""
    return b"%d" % number, b"%d" % -number


PIPELINE = Pipeline(
    name="kept-twice", source=Files(pattern="data/*.txt", rename="none"), parse=parse, route=route, encode=encode,
    sinks={"store": Redis(url="redis://127.0.0.1:1"), "copy": Memcached(server="127.0.0.1:1")},
    dead_letters=DeadLetters())
