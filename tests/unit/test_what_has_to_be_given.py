"""A source or a sink that lacks something is refused in one sentence, before a process is started or as it opens."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import msgspec
import pytest

from actors import roles
from actors.runtime.actor import Post
from actors.runtime.errors import ConfigError
from actors.runtime.manifest import Manifest
from actors.runtime.pipeline import Pipeline
from actors.runtime.ports import Sink, SinkOptions, Source, SourceOptions, UnitLedger
from actors.runtime.values import Payload, Refusal
from actors.settings import load
from actors.sinks.discard import Discard
from actors.sources.stdin import Stdin

MODULE = "what_has_to_be_given"


class NoPack(SinkOptions, frozen=True, kw_only=True):
    guarantee: ClassVar[str] = "none"

    def open(self, name: str, state: Path) -> Sink:
        raise AssertionError

    def describe(self) -> str:
        return "nowhere"


class NoOpen(SinkOptions, frozen=True, kw_only=True):
    guarantee: ClassVar[str] = "none"

    def pack(self, items: Sequence[Any]) -> bytes:
        return b""

    def describe(self) -> str:
        return "nowhere"


class NoDescribe(SinkOptions, frozen=True, kw_only=True):
    guarantee: ClassVar[str] = "none"

    def pack(self, items: Sequence[Any]) -> bytes:
        return b""

    def open(self, name: str, state: Path) -> Sink:
        return NoWrite()  # type: ignore[abstract]


class NoGuarantee(SinkOptions, frozen=True, kw_only=True):
    def pack(self, items: Sequence[Any]) -> bytes:
        return b""

    def open(self, name: str, state: Path) -> Sink:
        raise AssertionError

    def describe(self) -> str:
        return "nowhere"


class Nothing(SourceOptions, frozen=True, kw_only=True):
    pass


class NoWrite(Sink):
    pass


class Unfinished(NoDescribe, frozen=True, kw_only=True):
    def describe(self) -> str:
        return "nowhere"


class Other(NoGuarantee, frozen=True, kw_only=True):
    guarantee: ClassVar[str] = "none"

    def open(self, name: str, state: Path) -> Sink:
        return []  # type: ignore[return-value]


class NoRead(Source):
    pass


class NoReading(SourceOptions, frozen=True, kw_only=True):
    guarantee: ClassVar[str] = "none"

    def open(self, ledger: UnitLedger, batch_bytes: int, state: Path) -> Source:
        return NoRead()  # type: ignore[abstract]

    def describe(self) -> str:
        return "nowhere"


class Structural:
    """It has all that a sink has, and inherits from nothing."""

    def write(self, payloads: Sequence[Payload]) -> list[Refusal]:
        return []

    def close(self) -> None:
        return


@pytest.fixture
def module() -> Iterator[types.ModuleType]:
    made = sys.modules[MODULE] = types.ModuleType(MODULE)
    yield made
    del sys.modules[MODULE]


def manifest(module: types.ModuleType, source: Any, sink: Any) -> Manifest:
    module.__dict__["PIPELINE"] = Pipeline(name="x", source=source, parse=bytes.upper, sinks={"out": sink},
                                           dead_letters=Discard())
    return load(MODULE, environ={}).manifest


@pytest.mark.parametrize(("sink", "why"), [
    (NoPack, "NoPack is no sink: it has no pack"), (NoOpen, "NoOpen is no sink: it has no open"),
    (NoDescribe, "NoDescribe is no sink: it has no describe"),
    (NoGuarantee, "NoGuarantee is no sink: it has no guarantee")])
def test_a_sink_that_lacks_something_is_refused_at_load(module: types.ModuleType, sink: type, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        manifest(module, Stdin(), sink())
    assert str(caught.value) == f"PIPELINE: sinks.out: {why}"


def test_a_source_that_lacks_something_is_refused_at_load(module: types.ModuleType) -> None:
    with pytest.raises(ConfigError) as caught:
        manifest(module, Nothing(), Discard())  # type: ignore[abstract]
    assert str(caught.value) == "PIPELINE: source: Nothing is no source: it has no open, describe, guarantee"


def test_a_class_within_a_function_can_be_imported_by_no_actor(module: types.ModuleType) -> None:
    class Local(Discard, frozen=True, kw_only=True):
        pass

    with pytest.raises(ConfigError, match=r"^PIPELINE: sinks\.out: expected a class at the top of its module$"):
        manifest(module, Stdin(), Local())


@pytest.mark.parametrize(("sink", "why"), [
    (Unfinished, r"sinks\.out: Can't instantiate abstract class NoWrite .*write"),
    (Other, r"sinks\.out: open of Other has returned list, which is no Sink: let it inherit from "
            r"thresher\.sinks\.Sink")])
def test_a_sink_that_cannot_write_is_told_when_it_opens(module: types.ModuleType, sink: type, why: str) -> None:
    make = roles.prepare("writer.out", manifest(module, Stdin(), sink()))
    with pytest.raises(ConfigError, match=f"^{why}"):
        make(_post())


def test_a_source_that_cannot_read_is_told_when_it_opens(module: types.ModuleType, tmp_path: Path) -> None:
    made = msgspec.structs.replace(manifest(module, NoReading(), Discard()), state=str(tmp_path))
    with pytest.raises(ConfigError, match=r"^source: Can't instantiate abstract class NoRead .*read"):
        roles.prepare("reader.1", made)(_post())


def test_a_sink_need_not_inherit_to_be_one() -> None:
    assert isinstance(Structural(), Sink)


def _post() -> Post:
    return cast(Post, None)  # it is asked for nothing before the source or the sink is open
