"""What is done with an actor that lives: it is suspected, condemned, or asked to leave. Pure: actions come out.

    observed ──silent──▶ SUSPECT, nothing new is given to it ──progress──▶ as before
                            └──budget used up──▶ stack dump ──0.2 s──▶ SIGTERM ──term_s──▶ SIGKILL
    retire   ──▶ nothing new is given to it ──Drain──▶ (it finishes what it has) ──Drained──▶ Stop

A hung process cannot be asked anything, so it is killed; what it had in hand is suspect. One that retires (recycled
for its age or size, or because fewer are wanted) has nothing in hand when it goes, and its going is no death.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence

from actors.runtime.actions import Action, Emit, Kill, Say, Send
from actors.runtime.child import Child
from actors.runtime.errors import ConfigError
from actors.runtime.events import ActorHung, ActorSuspect, Recycled
from actors.runtime.health import Sample, Verdict
from actors.runtime.messages import Drain, Hold
from actors.runtime.sections import RecycleOptions

#: Time for the stacks to be written before the process is asked to go.
STACK_S = 0.2


def observed(child: Child, sample: Sample, term_s: float, givers: Sequence[str], now: float) -> Iterator[Action]:
    """An actor that is up was looked at. ``givers``: the addresses of those who give it work on credit."""
    verdict = child.health.observe(sample, now)
    if verdict is Verdict.WELL:
        if child.suspect:
            child.suspect = False
            yield Say(child.name, "READY", child.generation)
            yield from hold(child, givers, bool(child.leaving))
        return
    if not child.suspect:
        child.suspect = True
        yield Say(child.name, "SUSPECT", child.generation)
        yield Emit(ActorSuspect(child.name, child.generation, child.health.reason))
        yield from hold(child, givers, True)
    if verdict is Verdict.HUNG:
        child.hung = child.health.reason
        child.term_at = now + STACK_S
        child.deadline = child.term_at + term_s
        yield Emit(ActorHung(child.name, child.generation, child.hung))
        yield Kill(child.name, signal.SIGUSR1)


def hold(child: Child, givers: Sequence[str], on: bool) -> Iterator[Action]:
    """Let nothing new be given to an actor, or again."""
    for giver in givers:
        yield Send(giver, Hold(child.address, on))


def retire(child: Child, leaving: str, drain_s: float, givers: Sequence[str], now: float) -> Iterator[Action]:
    """Ask an actor to finish what it has and go; ``leaving`` is ``replace`` or ``remove``."""
    child.leaving = leaving
    child.deadline = now + drain_s
    yield Say(child.name, "DRAINING", child.generation)
    yield from hold(child, givers, True)
    yield Send(child.address, Drain())


def recycle(
    members: Sequence[Child], options: RecycleOptions | None, drain_s: float, givers: Sequence[str], now: float
) -> Iterator[Action]:
    """Replace the oldest worker of a pool that is worn; only when the pool is whole, so one at a time."""
    if options is None or not all(child.is_up and not (child.leaving or child.suspect) for child in members):
        return
    worn = [child for child in members if is_worn(child, options, now)]
    if worn:
        oldest = min(worn, key=lambda child: child.spawned_at)
        oldest.worn = is_worn(oldest, options, now)
        yield Emit(Recycled(oldest.name, oldest.generation, oldest.worn))
        yield from retire(oldest, "replace", drain_s, givers, now)


def finish(left: Sequence[Child], is_end: bool) -> Iterator[Action]:
    """No input is under way any more: let these emit what is closed, or all when the input has ended. Shards come
    first, for what they emit is what writers gather."""
    layer = max((child.spec.layer for child in left), default=0)
    for child in left:
        if child.is_up and child.spec.layer == layer:
            yield Send(child.address, Drain(is_end))


def overdue(child: Child, now: float) -> Iterator[Action]:
    """End an actor that was told to, and has not."""
    if child.term_at is not None and child.term_at <= now and child.alive:
        child.term_at = None
        yield Kill(child.name, signal.SIGTERM)
    if child.deadline is not None and child.deadline <= now and child.alive:
        child.deadline = None
        child.is_late = child.ready_since is None and not child.stopping
        yield Kill(child.name, signal.SIGKILL)


def too_little(children: Iterable[Child], recycle: Mapping[str, RecycleOptions]) -> str:
    """Why a worker would be replaced as soon as it is ready, and so would the next one; empty when none would."""
    for child in children:
        options = recycle.get(child.spec.pool, RecycleOptions())
        if 0 < options.max_rss_bytes < child.bare_bytes:
            return (f"{child.spec.pool}.max_rss_bytes is {options.max_rss_bytes:,}, and {child.name} has "
                    f"{child.bare_bytes:,} before its first batch: set more, well above that, or 0 (never)")
    return ""


def require_room(children: Iterable[Child], recycle: Mapping[str, RecycleOptions]) -> None:
    """Raise ConfigError where ``too_little`` says something."""
    if problem := too_little(children, recycle):
        raise ConfigError(problem)


def is_worn(child: Child, options: RecycleOptions, now: float) -> str:
    """Why an actor is to be replaced by a fresh one; empty when it is not."""
    age_s = now - child.spawned_at
    if options.max_rss_bytes and child.rss_bytes > options.max_rss_bytes:
        return f"resident memory {child.rss_bytes / 2**20:.1f} MiB, at most {options.max_rss_bytes / 2**20:.1f} MiB"
    if options.max_age_s and age_s > options.max_age_s:
        return f"{age_s:.0f} s old, at most {options.max_age_s:g}"
    return ""
