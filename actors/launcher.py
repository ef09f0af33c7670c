"""How a run is put together: the supervisor's loop is given what an actor is.

    settings.load(TARGET) ──▶ Manifest ──▶ launcher.run ──▶ runtime.loop, which starts, for each actor,
                                                            actors.__main__.run  (forked: the first generation)
                                                            python -P actors/__main__.py …  (executed: later ones)
"""

from __future__ import annotations

import sys

import actors.__main__ as actor
from actors.runtime import loop
from actors.runtime.desk import Reload
from actors.runtime.events import Observer, RunResult
from actors.runtime.loop import Judge
from actors.runtime.manifest import Manifest
from actors.runtime.spawning import Entry

#: ``-P``: nothing of the folder that the run was started in is imported in the place of what is installed. The file is
#: named, for with ``-m`` it would have to be found first.
_ENTRY = Entry(
    run=actor.run, command=(sys.executable, "-P", actor.__file__),
    preload=("setproctitle", "actors.roles", "actors.reader", "actors.parser", "actors.checker", "actors.writer",
             "actors.aggregator", "actors.runtime.ledger", "actors.runtime.state", "actors.runtime.worker"))


def run_inline(manifest: Manifest, observer: Observer, judge: Judge) -> RunResult:
    """Run a pipeline to its end in this process, without any other: see ``runtime.inline``."""
    from actors import roles
    from actors.runtime import inline

    return inline.run(manifest, observer, roles.prepare, judge)


def run(manifest: Manifest, observer: Observer, reload: Reload | None = None, judge: Judge | None = None) -> RunResult:
    """Run a pipeline to its end; return how it ended. Call from the main thread of a process.

    Args:
        manifest: what to run.
        observer: who is told what happens.
        reload: reads the configuration again, for SIGHUP and ``thresher reload``.
        judge: has the last word on code and reason, before anybody is told: a run that ends well may have bad files.

    Raises:
        ConfigError: the state directory cannot be used, or another run uses it.
    """
    return loop.run(manifest, observer, _ENTRY, reload, judge)
