"""Ask the supervisor of a run that is going on to do something: for ``thresher scale`` and the monitor alike."""

from __future__ import annotations

import os
from pathlib import Path

from actors.runtime.mailbox import SUPERVISOR, Mailbox
from actors.runtime.messages import Command, Reply

#: The supervisor answers between two events, so at once.
WAIT_S = 10.0


def ask(run_dir: Path, verb: str, *arguments: str) -> Reply:
    """Send a command to the run of a run directory; return the answer. One process asks one thing at a time."""
    mailbox = Mailbox(f"command.{os.getpid()}#1", run_dir)
    try:
        mailbox.send(SUPERVISOR, Command(verb, arguments))
        answers = [message for _, message, _ in mailbox.receive(WAIT_S) if isinstance(message, Reply)]
    finally:
        mailbox.close()
    return answers[0] if answers else Reply(False, f"the supervisor did not answer within {WAIT_S:g} s")
