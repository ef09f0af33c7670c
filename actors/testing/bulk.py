"""Whether an application's ``bulk`` does what its functions do."""

from __future__ import annotations

from typing import Any

import msgspec

from actors.parser import bulk_of
from actors.runtime.errors import Reject
from actors.runtime.lift import bind, bind_partials, lift
from actors.runtime.outputs import Many
from actors.runtime.pipeline import Bulk, Pipeline, route_of


def assert_bulk_is_faithful(pipeline: Pipeline, data: bytes, *, options: msgspec.Struct | None = None) -> Bulk | None:
    """Compare what ``bulk`` makes of these lines with what the functions make of them; return the former.

    Args:
        pipeline: a PIPELINE that has a ``bulk``.
        data: whole lines; the last one may lack its newline.
        options: in place of the pipeline's own ``options``.

    Raises:
        AssertionError: they differ, or ``bulk`` took lines of which the functions reject one.

    Example::

        def bulk(data):
            lines = data.splitlines()
            return Bulk(read=len(lines), items={"out": [line.upper() for line in lines]})

        pipeline = Pipeline(name="upper", source=Files(pattern="*.log"), parse=bytes.upper, route=lambda record: "out",
                            bulk=bulk, sinks={"out": Lines()}, dead_letters=DeadLetters())
        assert_bulk_is_faithful(pipeline, b"a")
    """
    options = pipeline.options if options is None else options
    bulk = bulk_of(pipeline, options)
    assert bulk is not None, f"{pipeline.name or 'the pipeline'} has no bulk that could be used"
    made = bulk(data, -1)
    if made is None:
        return None
    expected = _line_by_line(pipeline, data, options)
    names = {*made.items, *expected.items}
    assert made.read == expected.read, f"records read: {made.read}, line by line {expected.read}"
    assert made.filtered == expected.filtered, f"records filtered: {made.filtered}, line by line {expected.filtered}"
    for name in names:
        ours, theirs = made.items.get(name, []), expected.items.get(name, [])
        assert ours == theirs, f"items for {name}: {ours!r}, line by line {theirs!r}"
    assert made.partials == expected.partials, f"folded: {made.partials!r}, line by line {expected.partials!r}"
    return made


def _line_by_line(pipeline: Pipeline, data: bytes, options: msgspec.Struct | None) -> Bulk:
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    values = _without_none(_apply(pipeline.parse, "parse", lines, options))
    read = len(values)
    if pipeline.check is not None:
        values = _without_none(_apply(pipeline.check, "check", values, options))
    items: dict[str, list[Any]] = {}
    names = _apply(route_of(pipeline), "route", values, options)
    for name, item in zip(names, _apply(pipeline.encode, "encode", values, options), strict=True):
        if name is not None:
            items.setdefault(name, []).append(item)
    partials = bind_partials(pipeline.fold.partials, options)(values, 0) if pipeline.fold is not None and values else {}
    return Bulk(read=read, filtered=read - len(values), items=items, partials=partials)


def _apply(function: Any, stage: str, values: list[Any], options: msgspec.Struct | None) -> list[Any]:
    results = lift(bind(function, options), stage)(values) if values else []
    rejects = [(value, result) for value, result in zip(values, results, strict=True) if isinstance(result, Reject)]
    assert not rejects, f"bulk took a slice of which {stage} rejects {rejects[0][0]!r}: {rejects[0][1].reason}"
    several = [value for value, result in zip(values, results, strict=True)
               if isinstance(result, Many) or (stage == "route" and isinstance(result, tuple))]
    assert not several, (
        f"bulk took a slice of which {stage} makes several outputs of {several[0]!r}: return None for it")
    return results


def _without_none(values: list[Any]) -> list[Any]:
    return [value for value in values if value is not None]
