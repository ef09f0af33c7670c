"""Sentences and lengths that several places show: ``top``, ``status``, probes."""

from __future__ import annotations

from actors.telemetry.model import Lag

#: Partitions that a sentence names.
_NAMED = 3
#: Seconds after which it is said how old a lag is: it is looked at about once a second.
OLD_S = 5.0


def span(seconds: float) -> str:
    """A length of time."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def lag_line(lag: Lag) -> str:
    """Say how far the run is behind its source, and in which partitions most; what is old is no figure of now."""
    where = f"{lag.partitions:,} partition{'' if lag.partitions == 1 else 's'}"
    behind = [each for each in lag.worst[:_NAMED] if each.records]
    worst = ", ".join(f"{each.name} {each.records:,}" for each in behind)
    more = ", …" if sum(each.records for each in behind) < lag.records else ""
    text = f"{lag.records:,} records in {where}" if lag.records else f"none in {where}"
    text += f"; worst {worst}{more}" if worst else ""
    return f"lag: {text}" if lag.age_s <= OLD_S else (
        f"lag: unknown for {span(lag.age_s)}; before, {text}")
