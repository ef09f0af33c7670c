"""The desk: commands to a run that is going on, from ``thresher scale``, ``reload`` and ``stop``, and from SIGHUP.

A new configuration is read and checked as a whole first; a bad one changes nothing. What can be changed while the run
goes on is changed (workers of a pool, budgets and limits); the answer says what of it waits for the next run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from actors.runtime.actions import Action, Emit, Send
from actors.runtime.child import Mode
from actors.runtime.errors import ConfigError
from actors.runtime.events import Reloaded
from actors.runtime.manifest import Manifest
from actors.runtime.messages import Command, Reply
from actors.runtime.policy import policy_of
from actors.runtime.sections import MAX_WORKERS
from actors.runtime.tree import Tree

#: Reads the configuration again. Raises ConfigError when it is wrong.
Reload = Callable[[], Manifest]
#: Sections that the supervisor goes by, so they can change at once.
_LIVE = ("restart", "limits", "watch")
#: Identity of a run, not its configuration.
_NOT_COMPARED = ("run", "state", "dry")
#: Most digits of a number in a command.
_DIGITS = 9


class Desk:
    """Carries commands out.

    Args:
        tree: decides.
        manifest: what the run was started with.
        reload: reads the configuration again, or None if there is none to read.
    """

    def __init__(self, tree: Tree, manifest: Manifest, reload: Reload | None) -> None:
        self._tree = tree
        self._manifest = manifest
        self._reload = reload

    def command(self, sender: str, command: Command, now: float) -> Iterator[Action]:
        """Carry out a command, and answer it."""
        match command.verb, command.arguments:
            case "scale", (pool, workers):
                yield from self._scale(sender, pool, workers, now)
            case "reload", ():
                yield from self.reload("thresher reload", now, sender)
            case "tap", (path, seconds) if (lasts_s := _number(seconds)) is not None:
                yield from self._tree.tap(path, float(lasts_s))
                yield Send(sender, Reply(True, "the parsers show some of their records"))
            case "stop", ():
                yield Send(sender, Reply(True, "draining: what is under way is finished, the rest is for a later run"))
                yield from self._tree.signalled("thresher stop", now)
            case _:
                yield Send(sender, Reply(False, f"no such command: {command.verb} {' '.join(command.arguments)}"))

    def reload(self, who: str, now: float, sender: str = "") -> Iterator[Action]:
        """Read the configuration again, and go by it as far as that is possible now."""
        ok, text = True, ""
        actions: list[Action] = []
        try:
            if self._reload is None:
                raise ConfigError("this run was not started from a configuration that can be read again")
            ok, text, actions = self._adopt(self._reload(), now)
        except ConfigError as error:
            ok, text = False, f"nothing is changed: {error}"
        yield Emit(Reloaded(who, ok, text))
        yield from actions
        if sender:
            yield Send(sender, Reply(ok, text))

    def _scale(self, sender: str, pool: str, workers: str, now: float) -> Iterator[Action]:
        pools = ["parser"] if self._manifest.parser.fused else ["parser", "checker"]
        wanted = _number(workers)
        if pool not in pools:
            yield Send(sender, Reply(False, f"expected one of the pools {', '.join(pools)}, got {pool!r}"))
        elif wanted is None or not 1 <= wanted <= MAX_WORKERS:
            yield Send(sender, Reply(False, f"{pool}: expected 1 to {MAX_WORKERS} workers, got {workers!r}"))
        elif self._tree.mode not in (Mode.STARTING, Mode.RUNNING):
            yield Send(sender, Reply(False, f"{pool}: the run is ending, so its workers stay as they are"))
        else:
            yield from self._tree.scale(pool, wanted, now)
            yield Send(sender, Reply(True, f"{pool}: {wanted} workers from now on"))

    def _adopt(self, new: Manifest, now: float) -> tuple[bool, str, list[Action]]:
        self._tree.adopt(policy_of(new))
        before, after = (msgspec.to_builtins(manifest) for manifest in (self._manifest, new))
        changed = [name for name in before if before[name] != after[name] and name not in _NOT_COMPARED]
        done = [name for name in changed if name in _LIVE]
        waiting = [name for name in changed if name not in (*_LIVE, "parser", "checker")]
        actions: list[Action] = []
        for pool in ("parser", "checker"):
            if pool not in changed:
                continue
            if getattr(self._manifest, pool).workers != getattr(new, pool).workers:
                done.append(f"{pool}.workers")
                actions += self._tree.scale(pool, getattr(new, pool).workers, now)
            if before[pool].get("fused") != after[pool].get("fused"):
                waiting.append(f"{pool}.fused")
            if any(before[pool][name] != after[pool][name] for name in ("max_rss_bytes", "max_age_s")):
                done.append(f"{pool} recycling")
        self._manifest = msgspec.structs.replace(
            self._manifest, restart=new.restart, limits=new.limits, watch=new.watch,
            parser=msgspec.structs.replace(new.parser, fused=self._manifest.parser.fused), checker=new.checker)
        said = [f"changed: {', '.join(done)}"] if done else []
        said += [f"for the next run: {', '.join(waiting)}"] if waiting else []
        return True, "; ".join(said) or "nothing has changed", actions


def _number(text: str) -> int | None:
    """The number that these digits say; None: they are none, or too many. What anybody sends ends no run."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else None
