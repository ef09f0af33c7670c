"""A pipeline whose parser leaves grandchildren behind. For tests of whoever has to bury them."""

from __future__ import annotations

import subprocess

from thresher import ParserOptions, Pipeline
from thresher.sinks import DeadLetters, Lines
from thresher.sources import Files


def parse(seconds: bytes) -> bytes | None:
    """A line is how long a grandchild lives, which is nobody's child from its start and in a session of its own; it
    becomes its process id. A deaf one does not go when it is asked to."""
    if not seconds:
        return None
    deaf = "trap '' TERM; " if seconds.startswith(b"deaf ") else ""
    script = f"{deaf}setsid sleep {float(seconds.split()[-1])} >/dev/null 2>&1 & echo $!"
    return subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE, check=True).stdout.strip()


def route(pid: bytes) -> str:
    """One file."""
    return "store"


def encode(pid: bytes) -> bytes:
    """As it is."""
    return pid


PIPELINE = Pipeline(name="parents", source=Files(pattern="data/*.txt"), parse=parse, route=route, encode=encode,
                    sinks={"store": Lines()}, dead_letters=DeadLetters(), parser=ParserOptions(workers=1))
