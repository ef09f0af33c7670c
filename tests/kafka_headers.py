"""Messages whose headers have names that are no text: the Python client sends none such, but others' do."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_char_p, c_int, c_size_t, c_ssize_t, c_void_p
from pathlib import Path

import confluent_kafka

_WAIT_MS = 120_000
#: What the next arguments are, to ``rd_kafka_producev``.
_TOPIC, _VALUE, _KEY, _MSGFLAGS, _HEADER, _END = 1, 4, 5, 7, 9, 0
_COPY = 2


def send_named(address: str, topic: str, value: bytes, key: bytes, headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Send a message with headers of any names, and wait until it is acknowledged."""
    package = Path(confluent_kafka.__file__).parent
    (found,) = package.parent.glob("confluent_kafka.libs/librdkafka*.so*")
    library = ctypes.CDLL(str(found))
    for made in (library.rd_kafka_conf_new, library.rd_kafka_new):
        made.restype = c_void_p
    said = ctypes.create_string_buffer(512)
    configuration = c_void_p(library.rd_kafka_conf_new())
    assert library.rd_kafka_conf_set(configuration, b"bootstrap.servers", address.encode(), said, c_size_t(512)) == 0
    producer = c_void_p(library.rd_kafka_new(c_int(0), configuration, said, c_size_t(512)))
    assert producer.value, said.value
    arguments: list[object] = [c_int(_TOPIC), c_char_p(topic.encode()), c_int(_MSGFLAGS), c_int(_COPY)]
    arguments += [c_int(_VALUE), c_char_p(value), c_size_t(len(value)), c_int(_KEY), c_char_p(key), c_size_t(len(key))]
    for name, held in headers:
        arguments += [c_int(_HEADER), c_char_p(name), c_char_p(held), c_ssize_t(len(held))]
    try:
        assert library.rd_kafka_producev(producer, *arguments, c_int(_END)) == 0
        assert library.rd_kafka_flush(producer, c_int(_WAIT_MS)) == 0
    finally:
        library.rd_kafka_destroy(producer)
