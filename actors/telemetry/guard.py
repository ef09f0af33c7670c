"""Who is answered by the monitor: decided from a request's headers alone. Pure.

    anything    the token of the run: ``Authorization: Bearer TOKEN``, or the cookie that ``/?token=TOKEN`` sets, once
    a panel     its page may be of an origin in ``monitor.allow_origins``: that one is named in the answer
    a command   besides: ``monitor.allow_control``, JSON (which no form of another site can send), the same origin

The cookie is not the token: it is made from it and from the run. Browsers send a host's cookies to every port of it, so
another user's server on this machine may get it, also at the port of a run that has ended: what it has got is worth
nothing at the next run, though that has the same token. It outlives the monitor, so that open pages go on.

All comparisons take the same time whatever is shown.

What does not work: to trust the loopback address (every user of the machine can connect to it); checking the ``Host``
instead of a token (it keeps out pages of other sites, and nobody who writes it by hand); checking the ``Origin`` alone
(a browser sends none with a plain GET); CORS (it keeps a page from reading an answer, not from sending a command).
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from actors.runtime.sections import MonitorOptions

#: Where this user finds the token.
_WHERE = "the run says where it is when it starts (`dashboard: ...`)"


class Refused(msgspec.Struct, frozen=True):
    """No: the HTTP status, and what is wrong and how to mend it."""

    status: int
    text: str


class Guard:
    """Judges requests.

    Args:
        options: of the monitor.
        port: where it really listens.
        token: of the run.
        run: its identity.

    Raises:
        ValueError: the token is empty, as nothing would be kept out.
    """

    def __init__(self, options: MonitorOptions, port: int, token: str, run: str) -> None:
        if not token:
            raise ValueError("token: expected one, got none")
        self._token = token.encode()
        self._origins = frozenset(options.allow_origins)
        self.allows_control = options.allow_control
        #: Browsers keep one jar for all ports of a host, so the port is in the cookie's name.
        self.cookie_name = f"thresher_{port}"
        self.cookie = hmac.digest(self._token, f"thresher monitor cookie of {run}".encode(), "sha256").hex()

    def look(self, headers: Mapping[str, str], cookies: Mapping[str, str]) -> Refused | None:
        """Judge any request but a probe."""
        scheme, _, shown = headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.is_token(shown.strip()):
            return None
        if _is_same(cookies.get(self.cookie_name, ""), self.cookie.encode()):
            return None
        return Refused(401, "expected the token of this run as `Authorization: Bearer TOKEN`; in a browser open the "
                            f"address with /?token=TOKEN once: {_WHERE}")

    def enter(self, shown: str) -> Refused | None:
        """Judge who shows a token in the address."""
        return None if self.is_token(shown) else Refused(401, f"this is not the token of this run: {_WHERE}")

    def is_token(self, shown: str) -> bool:
        """Whether this is the token."""
        return _is_same(shown, self._token)

    def origin(self, headers: Mapping[str, str]) -> str:
        """The site that may read what is answered, though it is another one's page; empty: none may."""
        origin = headers.get("Origin", "")
        return origin if origin in self._origins else ""

    def command(self, headers: Mapping[str, str]) -> Refused | None:
        """Judge a command, which has already been let in as any request."""
        if not self.allows_control:
            return Refused(403, "this monitor only shows: set monitor.allow_control = true to allow commands, or use "
                                "`thresher scale`, `thresher reload` and `thresher stop` on the machine itself")
        kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            return Refused(415, f"expected Content-Type: application/json, got {kind or 'none'}")
        origin, host = headers.get("Origin"), headers.get("Host", "")
        if origin is not None and _netloc(origin) != host.lower():
            return Refused(403, f"expected a page of this monitor ({host}), got one of {origin}")
        site = headers.get("Sec-Fetch-Site", "same-origin")
        if site not in ("same-origin", "none"):
            return Refused(403, f"expected a page of this monitor, got one that is {site}")
        return None


def _is_same(shown: str, secret: bytes) -> bool:
    """Whether a stranger has shown this; it may be no text at all."""
    return hmac.compare_digest(shown.encode(errors="surrogatepass"), secret)


def _netloc(origin: str) -> str:
    """Host and port of an ``Origin``; empty, which no host is, when it is no address."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
