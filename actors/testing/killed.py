"""A writer that is killed: a process of its own that opens a sink, writes, and is gone by SIGKILL before it closes."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from actors.runtime import loading
from actors.runtime.manifest import Component, component_of
from actors.runtime.ports import SinkOptions
from actors.runtime.values import Payload


class _Order(msgspec.Struct):
    """What the process is to do; the data of the payloads is base64."""

    component: Component[SinkOptions]
    name: str
    state: str
    payloads: list[tuple[str, int, int, int, str]]


def write_and_be_killed(options: SinkOptions, name: str, state: Path, payloads: Sequence[Payload]) -> None:
    """Write these payloads in one call, in another process; when it has returned, the process is killed.

    Raises:
        AssertionError: it did not come to that.
    """
    order = _Order(component_of(options), name, str(state), [
        (each.partition, each.start, each.end, each.count, base64.b64encode(each.data).decode()) for each in payloads])
    done = subprocess.run(loading.fresh_interpreter("actors.testing.killed"), input=msgspec.json.encode(order),
                          stderr=subprocess.PIPE, check=False)
    assert done.returncode == -signal.SIGKILL, (
        f"a writer in a process of its own ended with {done.returncode}:\n{done.stderr.decode(errors='replace')}")


def main() -> int:
    """Do what standard input says, and be killed."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=_Order)
    sink = order.component.load().open(order.name, Path(order.state))
    refusals = sink.write([Payload(partition, start, end, count, base64.b64decode(data))
                           for partition, start, end, count, data in order.payloads])
    if refusals:
        print(f"it was refused: {refusals}", file=sys.stderr)
        return 1
    os.kill(os.getpid(), signal.SIGKILL)
    return 1
