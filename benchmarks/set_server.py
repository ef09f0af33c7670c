#!/usr/bin/env python3
"""The plain way to the numbers job, to compare with: one asyncio process, one Python set, no journal, no recovery.

    python -P benchmarks/set_server.py LOG     # -P: beside it lies a numbers.py

It prints its port, and at the end what was received.
"""

from __future__ import annotations

import asyncio
import re
import sys
from typing import BinaryIO

_GOOD = re.compile(rb"(?:[0-9]{9}\n)*+")


class Client(asyncio.Protocol):
    """One connection."""

    seen: set[bytes] = set()
    duplicates = open = 0
    asked = False
    log: BinaryIO
    done: asyncio.Event

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.rest = b""
        Client.open += 1

    def connection_lost(self, exc: Exception | None) -> None:
        """End; the run ends when somebody has said so and nobody else is left."""
        Client.open -= 1
        if Client.asked and not Client.open:
            Client.done.set()

    def data_received(self, data: bytes) -> None:
        """Take what is whole; close at anything that is no number."""
        data = self.rest + data
        end = data.rfind(b"\n") + 1
        whole, self.rest = data[:end], data[end:]
        match = _GOOD.match(whole)
        good = match.end() if match else 0
        lines = whole[:good].split(b"\n")[:-1]
        new = set(lines) - Client.seen
        Client.seen |= new
        Client.duplicates += len(lines) - len(new)
        if new:
            Client.log.write(b"\n".join(new) + b"\n")
        if good < len(whole):
            if whole[good:].startswith(b"terminate\n"):
                Client.asked = True
            self.transport.close()


async def main() -> None:
    """Serve until somebody says ``terminate``."""
    Client.done = asyncio.Event()
    with open(sys.argv[1], "wb") as Client.log:
        server = await asyncio.get_running_loop().create_server(Client, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await Client.done.wait()
        server.close()
    print(len(Client.seen), Client.duplicates, flush=True)


if __name__ == "__main__":
    asyncio.run(main())
