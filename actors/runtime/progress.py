"""How an application says that it is alive while one record, or one chunk, takes long.

An actor is taken for hung when it works on one batch without a sign of progress for longer than its budget (section
``[watch]``). The runtime gives a sign with every few records. A function that takes minutes for a single record says
so itself::

    from thresher import extend, progress

    def check(value):
        extend(600)            # I may be silent for ten minutes
        for step in steps:
            work(step)
            progress()         # or: I got somewhere

Outside an actor's process (in tests) both do nothing.
"""

from __future__ import annotations

from typing import Protocol


class Listener(Protocol):
    """Who is told: the actor's slot on the board."""

    def progress(self) -> None:
        """Work goes on."""
        ...

    def extend(self, seconds: float) -> None:
        """It may take so long until the next sign."""
        ...


_listener: Listener | None = None


def listen(listener: Listener | None) -> None:
    """Send the signs of this process to a listener; None: nowhere."""
    global _listener
    _listener = listener


def progress() -> None:
    """Show that work goes on: the budgets of ``[watch]`` begin anew. Costs a fraction of a µs.

    Example::

        def check(record):
            for page in record.pages:
                recognise(page)  # a second each
                progress()
            return record
    """
    if _listener is not None:
        _listener.progress()


def extend(seconds: float) -> None:
    """Ask for more time: for so many seconds from now nothing is taken for a hang.

    Example::

        def check(record):
            extend(600)  # this one may be silent for ten minutes
            return solve(record)
    """
    if _listener is not None:
        _listener.extend(seconds)
