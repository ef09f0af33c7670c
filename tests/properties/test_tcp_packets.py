"""However the bytes of several clients are cut into packets and mixed, each client's good lines come out, in order."""

from __future__ import annotations

import socket
from contextlib import ExitStack, suppress
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tcp import reading

#: A line says whose it is, and which one.
FORM: dict[str, Any] = {"line": "[0-9]{4}", "max_line_bytes": 5}
GOOD = b"good\n"
PIECES = st.sampled_from([GOOD] * 12 + [b"9222\r\n", b"933\n", b"\n", b"94444\n", b"95", b"x", b"9666"])


def good_lines(stream: bytes, newline: str) -> list[bytes]:
    """What counts of one client's bytes: the lines before the first bad one, the tail not."""
    if newline == "any":
        stream = stream.replace(b"\r\n", b"\n")
    lines = []
    for line in stream.split(b"\n")[:-1]:
        if len(line) != 4 or not line.isdigit():
            break
        lines.append(line)
    return lines


@st.composite
def packets(draw: st.DrawFn) -> list[tuple[int, bytes]]:
    """(client, bytes): what several clients send, cut anywhere, in any order among them."""
    queues = []
    for client in range(draw(st.integers(1, 4))):
        pieces = enumerate(draw(st.lists(PIECES, max_size=12)))
        stream = b"".join(b"%d%03d\n" % (client, number) if piece is GOOD else piece for number, piece in pieces)
        cuts = sorted(draw(st.sets(st.integers(1, max(1, len(stream) - 1)), max_size=8)))
        queues.append([piece for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
                       if (piece := stream[start:end])])
    order = draw(st.permutations([client for client, queue in enumerate(queues) for _ in queue]))
    return [(client, queues[client].pop(0)) for client in order]


@given(sent=packets(), newline=st.sampled_from(["lf", "any"]), batch_bytes=st.sampled_from([1, 7, 65536]),
       segment_bytes=st.sampled_from([1, 12, 1 << 20]), looks=st.integers(0, (1 << 30) - 1))
@settings(max_examples=150, deadline=None)
def test_each_clients_good_lines_come_out_in_order(
    sent: list[tuple[int, bytes]], newline: str, batch_bytes: int, segment_bytes: int, looks: int
) -> None:
    streams: dict[int, bytes] = {}
    options = {"newline": newline, "segment_bytes": segment_bytes, **FORM}
    with TemporaryDirectory() as folder, reading(Path(folder), batch_bytes, **options) as here, ExitStack() as stack:
        clients: dict[int, socket.socket] = {}
        for number, (client, data) in enumerate(sent):
            if client not in clients:
                clients[client] = stack.enter_context(here.connect())
            streams[client] = streams.get(client, b"") + data
            with suppress(OSError):  # it is closed, for what it sent before
                clients[client].sendall(data)
            if looks >> number % 30 & 1:
                here.read()
        expected = {client: good_lines(stream, newline) for client, stream in streams.items()}
        for connection in clients.values():
            connection.close()
        here.until_data(sum(len(line) + 1 for lines in expected.values() for line in lines))
        here.until_quiet()
        found = here.data.splitlines()
        assert b"".join(path.read_bytes() for path in here.segments) == here.data
        assert all(one.end == two.start for one, two in pairwise(here.chunks))
    assert sorted(found) == sorted(line for lines in expected.values() for line in lines)
    for client, lines in expected.items():
        own = b"%d" % client
        assert [line for line in found if line.startswith(own)] == [line for line in lines if line.startswith(own)]
