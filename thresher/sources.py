"""Where records come from: the options of each source that ships, and what a source of one's own is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thresher._lazy import lazy

if TYPE_CHECKING:
    from actors.runtime.framing import pack_records, records_in
    from actors.runtime.ports import Source, SourceOptions, UnitLedger
    from actors.runtime.values import Chunk, Revoked, Unit
    from actors.sources.directory import Directory
    from actors.sources.files import Files
    from actors.sources.kafka import Kafka
    from actors.sources.rabbitmq import RabbitMQ
    from actors.sources.stdin import Stdin
    from actors.sources.tcp import Tcp
    from actors.sources.topic import Topic
else:
    __getattr__, __dir__ = lazy(__name__, {
        "actors.runtime.framing": ("pack_records", "records_in"),
        "actors.runtime.ports": ("Source", "SourceOptions", "UnitLedger"),
        "actors.runtime.values": ("Chunk", "Revoked", "Unit"),
        "actors.sources.directory": ("Directory",),
        "actors.sources.files": ("Files",),
        "actors.sources.kafka": ("Kafka",),
        "actors.sources.rabbitmq": ("RabbitMQ",),
        "actors.sources.stdin": ("Stdin",),
        "actors.sources.tcp": ("Tcp",),
        "actors.sources.topic": ("Topic",),
    })

__all__ = [
    "Chunk", "Directory", "Files", "Kafka", "RabbitMQ", "Revoked", "Source", "SourceOptions", "Stdin", "Tcp", "Topic",
    "Unit", "UnitLedger", "pack_records", "records_in"]
