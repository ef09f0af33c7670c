"""What a crash can do to a record on its way from the source to a sink, in a sentence, for ``thresher explain``.

    the source reads it again    at its old position       as another record
    the sink leaves it out       exactly once              once by key where there is one, else at least once
    it takes its own place       effectively once          effectively once
    it is there twice            at least once             at least once

So no sink can promise more than its source, nor a source more than its sink.
"""

from __future__ import annotations

from actors.runtime.ports import SinkOptions, SourceOptions


def path_of(source: SourceOptions, sink: SinkOptions) -> str:
    """What is promised from this source to this sink, and why."""
    found = _promise(source.comes_again(), sink)
    return "; but ".join([found, *filter(None, (source.loses(), sink.loses()))])


def state_of(source: SourceOptions) -> str:
    """What is promised from this source to what is folded, and why."""
    again, loses = source.comes_again(), source.loses()
    found = ("exactly once: state and positions in one transaction" if not again else
             f"at least once: state and positions are in one transaction, but {again}")
    return f"{found}; but {loses}" if loses else found


def _promise(again: str, sink: SinkOptions) -> str:
    match sink.repeated():
        case "skipped" if not again:
            return "exactly once: what is delivered again after a crash is known by its position, and left out"
        case "skipped" if sink.adds():
            return f"at least once: {again}, and is there twice then"
        case "skipped":
            return f"effectively once: {again}, and takes its own place by its key"
        case "replaced":
            more = f"; so does what comes twice: {again}" if again else ""
            return f"effectively once: what is written again after a crash takes its own place by its key{more}"
        case "added":
            more = f"; {again}" if again else ""
            return f"at least once: what is written again after a crash is there twice{more}"
        case _:
            return f"{sink.promises()}; {again}" if again else sink.promises()
