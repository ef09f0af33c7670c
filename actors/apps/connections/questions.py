"""What the reports of connections can be asked afterwards: who connected to a host, to whom it connected, hour by hour.

A report knows of the hosts that its run was told of (``--into-host``, ``--from-host``); of others it knows nothing, so
a host that no report was about is refused, and not answered with nobody.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from thresher import ConfigError, Moment, Question, Store


def _of_reports(text: str, asked: str, hosts: str, flag: str) -> Question:
    """The question for one of the two lists of the reports, which is kept with the host that it is about."""
    def answer(
        store: Store, host: str, *, since: Moment | None = None, until: Moment | None = None
    ) -> list[dict[str, Any]]:
        reports = store["hours" if "hours" in store else "rows"]
        about: dict[int, list[str]] = {}
        known: set[str] = set()
        for report in reports.rows():
            known.add(report[asked])
            if report[asked] == host:
                about[report["start"]] = report[hosts]  # the later revision of an hour stands
        if host not in known:
            raise ConfigError(f"no report is about {host!r}, but {', '.join(sorted(known - {''})) or 'about nobody'}: "
                              f"thresher run connections --{flag} {host}")
        return [{"start": datetime.fromtimestamp(start / 1000, UTC), "hosts": names}
                for start, names in sorted(about.items())
                if (since is None or start >= since) and (until is None or start <= until)]

    answer.__doc__ = f"""{text}

    Args:
        host: which the reports are about (--{flag} of the run).
        since: only hours that begin then or later.
        until: only hours that begin then or earlier.
    """
    return Question(answer=answer, needs={"hours": "rows"}, or_needs={"rows": "rows"})


QUESTIONS = {
    "into": _of_reports("Who connected to a host, in each hour.", "into_host", "into", "into-host"),
    "from": _of_reports("To whom a host connected, in each hour.", "from_host", "received", "from-host")}
