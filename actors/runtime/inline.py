"""A whole run in one process: the same tree, roles, ledger, sources and sinks, and no child; for a debugger.

    tree ──Spawn──▶ an actor is made here      ──Send──▶ its box ◀──post── other actors
         ◀──Booted, Ready, InputDone, Drained── one after the other has its turn, from the sinks to the source

What differs: nobody is restarted, hung or killed. What would end an actor ends the run; what was not acknowledged by
then is read again by the next one. Times by which something has to answer are so long that nobody at a prompt meets
them. There is one worker, and a function is called for a record once.
"""

from __future__ import annotations

import gc
import math
import os
import random
import select
import time
import traceback
from bdb import BdbQuit
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from actors.runtime import actions, messages, stacks
from actors.runtime.actor import Actor, Post, Role
from actors.runtime.board import SupervisorBoard
from actors.runtime.codec import decode, encode
from actors.runtime.deaths import Recorder
from actors.runtime.errors import ConfigError, Lost
from actors.runtime.eventlog import Log
from actors.runtime.events import (
    BAD_CONFIG,
    FAILED,
    RESUMABLE,
    LastWords,
    Observer,
    RunEnded,
    RunReady,
    RunResult,
    RunStarted,
)
from actors.runtime.lift import one_at_a_time
from actors.runtime.loop import Judge, furnished, heard
from actors.runtime.mailbox import SUPERVISOR
from actors.runtime.manifest import Manifest
from actors.runtime.policy import policy_of
from actors.runtime.restart import LOST, Exit
from actors.runtime.rundir import BOARD
from actors.runtime.topology import ChildSpec, downstream, expand, stage_of
from actors.runtime.tree import Tree

_Received = tuple[str, messages.AnyMessage, list[bytes]]
_Prepare = Callable[[str, Manifest], Callable[[Post], Role]]
#: Longer than anybody sits at a prompt, in seconds.
_AGES_S = 1e8
#: Longest time that nothing happens without a look at the clock, in seconds.
_LOOK_S = 0.5


def run(manifest: Manifest, observer: Observer, prepare: _Prepare, judge: Judge) -> RunResult:
    """Run a pipeline to its end in this process; see ``loop.run``.

    Args:
        manifest: what to run.
        observer: who is told what happens.
        prepare: returns what makes the role of an actor, by its name.
        judge: has the last word on code and reason.

    Raises:
        ConfigError: the state directory cannot be used, or another run uses it.
    """
    one_at_a_time()
    with furnished(alone(manifest)) as (run_dir, manifest):
        told = Log(run_dir, Recorder(manifest, observer))
        specs = expand(manifest)
        told.event(RunStarted(manifest.run, manifest.name, manifest.state, len(specs)))
        began = time.monotonic()
        ended, ready_s, outages = _Inline(run_dir, manifest, specs, told, prepare).until_ended()
        gc.collect()  # what is not committed is dropped with whoever held it
        result = judge(RunResult(ended.code, ended.reason, time.monotonic() - began, ready_s, outages))
        told.event(RunEnded(result.code, result.reason, result.seconds))
        return result


def alone(manifest: Manifest) -> Manifest:
    """The same, with one worker and without what is judged by the clock."""
    but = msgspec.structs.replace
    return but(
        manifest, parser=but(manifest.parser, workers=1), checker=but(manifest.checker, workers=1),
        flow=but(manifest.flow, batch_s=0.0, redeliver_s=_AGES_S), restart=but(manifest.restart, ready_s=_AGES_S),
        monitor=but(manifest.monitor, enabled=False), tracing=but(manifest.tracing, enabled=False))


class _Box:
    """What an actor here is sent, in order; it is the ``Box`` of that actor.

    Args:
        address: of the actor.
        boxes: those of all actors that are there, by address, and of the supervisor.
    """

    garbage = refused = 0

    def __init__(self, address: str, boxes: dict[str, _Box]) -> None:
        self._address = address
        self._boxes = boxes
        self.waiting: deque[_Received] = deque()

    def bind(self) -> str:
        """It is there already."""
        return "here"

    def connect(self, address: str, endpoint: str) -> None:
        """All are here."""

    def disconnect(self, address: str) -> None:
        """Nobody dies here."""

    def send(self, address: str, message: messages.Message, frames: Sequence[bytes] = ()) -> bool:
        """Put a message into somebody's box; False when it is not there."""
        box = self._boxes.get(address)
        if box is not None:
            box.waiting.append((self._address, decode(encode(message)), list(frames)))
        return box is not None

    post = send

    def flush(self) -> None:
        """Nothing is kept."""

    def receive(self, timeout_s: float | None, wake: int | None = None) -> list[_Received]:
        """What has come by now; who waits for a time waits for all of it."""
        if timeout_s and not self.waiting:
            time.sleep(timeout_s)
        received = list(self.waiting)
        self.waiting.clear()
        return received

    def close(self) -> None:
        """Be there no more."""
        self._boxes.pop(self._address, None)


class _Inline:
    """One run, actor by actor."""

    def __init__(self, run_dir: Path, manifest: Manifest, specs: Sequence[ChildSpec], observer: Observer,
                 prepare: _Prepare) -> None:
        self._run_dir = run_dir
        self._manifest = manifest
        self._observer = observer
        self._prepare = prepare
        self._tree = Tree(specs, policy_of(manifest), random.Random())
        self._board = SupervisorBoard(run_dir / BOARD)
        self._started = time.time()
        self._boxes: dict[str, _Box] = {}
        self._own = self._boxes[SUPERVISOR] = _Box(SUPERVISOR, self._boxes)
        self._actors: dict[str, _Actor] = {}
        self._ready_s = 0.0
        self._ended: actions.End | None = None

    def until_ended(self) -> tuple[actions.End, float, dict[str, str]]:
        """Give everybody turns until the run has ended; return how, after how long all were ready, what is down."""
        try:
            self._do(self._tree.begin(time.monotonic()))
            while self._ended is None:
                self._go_round()
        except (KeyboardInterrupt, BdbQuit) as error:
            by = "the debugger" if isinstance(error, BdbQuit) else str(error) or "SIGINT"
            self._ended = actions.End(RESUMABLE, f"stopped by {by}")
        self._actors.clear()
        self._board.close()
        return self._ended, self._ready_s, self._tree.lasting_outages

    def _go_round(self) -> None:
        """Let each do a piece of work, from the sinks to the source; wait when there is nothing to do for anybody."""
        waits = [_LOOK_S]
        for actor in list(self._actors.values()):
            if self._ended is None and actor.is_due:
                self._turn(actor)
            waits.append(actor.rests_s())
        now = time.monotonic()
        for sender, message, _ in self._own.receive(0.0):
            if isinstance(message, messages.Ready):
                self._do(self._tree.ready(sender, message.endpoint, now))
            else:
                self._do(heard(self._tree, sender, message, now))
        self._do(self._tree.tick(now))
        self._board.beat(self._tree.mode.value, self._started)
        if self._ended is None and not any(box.waiting for box in self._boxes.values()) and min(waits) > 0:
            wakes = [actor.wake for actor in self._actors.values() if actor.wake is not None]
            woken, _, _ = select.select(wakes, [], [], min(waits))
            for actor in self._actors.values():
                actor.is_woken = actor.wake in woken

    def _turn(self, actor: _Actor) -> None:
        actor.listen()
        try:
            is_over = actor.take_turn()
        except (ConfigError, ImportError, Lost) as error:
            self._exited(actor, Exit(LOST if isinstance(error, Lost) else BAD_CONFIG), f"{actor.name}: {error}")
        except Exception as error:
            if isinstance(error, BdbQuit):
                raise
            traceback.print_exc()
            self._ended = actions.End(FAILED, f"{actor.name} failed: {stacks.told(error).splitlines()[-1]}")
        else:
            if is_over:
                self._exited(actor, Exit(0))

    def _exited(self, actor: _Actor, ended: Exit, why: str = "") -> None:
        del self._actors[actor.name]
        actor.box.close()
        self._do(self._tree.exited(actor.name, ended, LastWords(stack=why), time.monotonic()))

    def _do(self, wanted: Iterable[actions.Action]) -> None:
        for action in wanted:
            match action:
                case actions.Spawn(name, generation):
                    self._spawn(name, generation)
                case actions.Send(address, message):
                    self._own.send(address, message)
                case actions.Say(name, state, generation):
                    self._board.say(name, state, generation)
                case actions.Emit(event):
                    if isinstance(event, RunReady):
                        self._ready_s = event.seconds
                    self._observer.event(event)
                case actions.End():
                    self._ended = action

    def _spawn(self, name: str, generation: int) -> None:
        made = _Actor(name, generation, self._run_dir, self._manifest, self._boxes, self._prepare)
        self._actors = {name: made, **self._actors}  # the tree begins at the source
        self._own.waiting.append((made.address, messages.Booted(os.getpid()), []))


class _Actor(Actor):
    """One actor here.

    Attributes:
        name: e.g. ``parser.1``.
        box: what it is sent.
        is_woken: whether what its role waits for is there.
    """

    def __init__(self, name: str, generation: int, run_dir: Path, manifest: Manifest, boxes: dict[str, _Box],
                 prepare: _Prepare) -> None:
        self.name = name
        self.box = boxes[f"{name}#{generation}"] = _Box(f"{name}#{generation}", boxes)
        super().__init__(name, generation, run_dir, downstream(manifest, stage_of(name)), manifest.run,
                         mailbox=self.box)
        self.is_woken = False
        self._make: Callable[[Post], Role] | None = prepare(name, manifest)
        self._due = math.inf

    @property
    def is_due(self) -> bool:
        """Whether there is something to do for it."""
        return bool(self.box.waiting) or self.is_woken or self._due <= time.monotonic()

    def rests_s(self) -> float:
        """How long there will be nothing to do, unless it is sent something."""
        return max(0.0, self._due - time.monotonic())

    def take_turn(self) -> bool:
        """Begin, or do a piece of work; whether it is over."""
        self.is_woken = False
        if self._make is not None:
            make, self._make, self._due = self._make, None, 0.0
            return not self.begin(make)
        wait = self.turn(0.0)
        self._due = math.inf if wait is None else time.monotonic() + wait
        if self.is_stopping:
            self.end()
        return self.is_stopping
