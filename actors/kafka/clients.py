"""The configuration of a client: what passes through, what does not, what is secret, and what its errors mean.

The table ``client`` of a source or sink holds properties by the names that librdkafka has for them (TLS, SASL,
timeouts, buffers). Those that carry a promise of ours are refused with a sentence, and so are those that have an option
of their own. Nothing here imports the library.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from actors.runtime.options import is_secret

if TYPE_CHECKING:
    from confluent_kafka import KafkaException

#: A property of a client, as TOML may say it.
Value = str | int | float | bool
Properties = Mapping[str, Value]

#: Imported when a client is opened, and never before.
LIBRARY = "confluent_kafka"
#: Set in no table, for any client: why.
_ALWAYS_OURS = {
    "bootstrap.servers": "the address says it", "metadata.broker.list": "the address says it",
    "error_cb": "it is a function", "stats_cb": "it is a function", "throttle_cb": "it is a function",
    "oauth_cb": "it is a function: use sasl.oauthbearer.method = \"oidc\"", "logger": "it is an object",
    "log_cb": "it is a function"}
#: What no retry mends at the first contact: a wrong user or password, an unknown authority, no right to it.
HOPELESS = frozenset((
    "_AUTHENTICATION", "_SSL", "SASL_AUTHENTICATION_FAILED", "UNSUPPORTED_SASL_MECHANISM", "ILLEGAL_SASL_STATE",
    "TOPIC_AUTHORIZATION_FAILED", "GROUP_AUTHORIZATION_FAILED", "CLUSTER_AUTHORIZATION_FAILED",
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", "INVALID_CONFIG", "INVALID_PARTITIONS", "INVALID_REPLICATION_FACTOR",
    "POLICY_VIOLATION", "TOPIC_EXCEPTION", "SECURITY_DISABLED", "UNSUPPORTED_VERSION"))
_MEND = {
    "_UNKNOWN_TOPIC": "is it there still?",
    "UNKNOWN_TOPIC_OR_PART": "is it there still?",
    "_AUTHENTICATION": "mend sasl.* in client",
    "SASL_AUTHENTICATION_FAILED": "mend sasl.* in client",
    "UNSUPPORTED_SASL_MECHANISM": "set sasl.mechanism in client to one that the broker has",
    "ILLEGAL_SASL_STATE": "set security.protocol in client as the broker's listener has it",
    "_SSL": "mend ssl.* in client",
    "TOPIC_AUTHORIZATION_FAILED": "let this user have it (an ACL of the topic), or set sasl.* in client",
    "GROUP_AUTHORIZATION_FAILED": "let this user have it (an ACL of the group), or set sasl.* in client",
    "CLUSTER_AUTHORIZATION_FAILED": "let this user have it (an ACL of the cluster), or set sasl.* in client",
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED":
        "let this user have it (an ACL of the transactional id), or set sasl.* in client",
}
#: All that is said when a connection comes about and is closed at once; of one that is refused more is said.
_NOBODY = "_ALL_BROKERS_DOWN"
_HUNG_UP = ("was the connection closed at once? Then set security.protocol in client as the broker's listener has it: "
            "SSL for TLS, SASL_SSL with a login")
#: Such a location is looked for by the library.
_PROBE = "probe"
#: What the library adds to an error of a connection; it is another one each time.
_ASIDE = re.compile(r" \(after \d+ms in state .*\)$")
#: Errors that only say that something took too long, or that nobody is there.
_SAYS_LITTLE = ("_TIMED_OUT", "_MSG_TIMED_OUT", "_TRANSPORT", "_ALL_BROKERS_DOWN", "_TIMED_OUT_QUEUE")


class Said(Protocol):
    """What is asked of an error of the library (``KafkaError``)."""

    def name(self) -> str:
        """``_TRANSPORT``, ``MSG_SIZE_TOO_LARGE``, ..."""
        ...

    def str(self) -> str:
        """The words of the library or the broker."""
        ...


def refuse(client: Properties, ours: Mapping[str, str]) -> None:
    """Make sure that a table sets nothing that is not its to set.

    Args:
        client: the table.
        ours: what the source or sink sets itself, and why nobody else does.

    Raises:
        ValueError: it does; the text begins with ``client:`` and never holds a value.
    """
    for name in client:
        if why := {**_ALWAYS_OURS, **ours}.get(name):
            raise ValueError(f"client: {name} is not set here: {why}")


def configured(
    servers: str, defaults: Properties, client: Properties, ours: Mapping[str, object]
) -> dict[str, Any]:
    """Return the configuration of a client.

    Args:
        servers: to begin with.
        defaults: what ``client`` may set otherwise.
        client: the table of the source or sink.
        ours: what it may not.
    """
    # What the library would write to standard error is said by the errors that it returns.
    both: dict[str, Any] = {"log_level": 0, "topic.metadata.refresh.interval.ms": 60_000, **defaults, **client, **ours,
            "bootstrap.servers": servers}
    return {name: str(value) if isinstance(value, float) else value for name, value in both.items()}


def without_values(text: str, client: Properties) -> str:
    """A text of the library as people may see it: without the secrets of the table."""
    for name, value in client.items():
        if is_secret(name) and len(str(value)) > 2:
            text = text.replace(str(value), "***")
    return text


def is_hopeless(error: Said) -> bool:
    """Whether no retry mends this at the first contact. A connection that is cut in the midst of a greeting is that of
    a broker that stops, or starts."""
    return error.name() in HOPELESS and "disconnect" not in error.str().lower()


def took_too_long(text: str) -> KafkaException:
    """An error as the library raises it when there is no answer."""
    from confluent_kafka import KafkaError, KafkaException

    # Those that it makes itself have a line in front of their names, and no other names.
    return KafkaException(KafkaError(KafkaError._TIMED_OUT, text))


def sentence(error: Said, client: Properties, heard: str = "") -> str:
    """What an error means, in one line, and what to do where anything can be done.

    Args:
        error: of the library.
        client: the table, for its secrets.
        heard: what was heard of the connection last, for errors that only say that it took too long.
    """
    words = _ASIDE.sub("", without_values(" ".join(error.str().split()), client))
    if heard and error.name() in _SAYS_LITTLE:
        words = heard
    mend = _MEND.get(error.name(), "")
    if error.name() == _NOBODY and "SSL" not in str(client.get("security.protocol", "")).upper():
        mend = _HUNG_UP
    return f"{words}: {mend}" if mend else words


def wrong_table(error: Exception, client: Properties) -> str:
    """What is wrong with a table that the library does not take, in one line.

    Args:
        error: what the library has raised.
        client: the table.
    """
    for name, value in client.items():
        if name.endswith(".location") and isinstance(value, str) and value != _PROBE and not os.access(value, os.R_OK):
            return f"{name}: {'it cannot be read' if os.path.exists(value) else 'there is no file'}: {value}"
    from confluent_kafka import KafkaException

    if isinstance(error, KafkaException):
        return sentence(error.args[0], client)
    return without_values(" ".join(str(error).split()), client)


class Heard:
    """What a client has heard of its connections: give ``error_cb`` to it.

    Its errors name the broker (``127.0.0.1:9092/bootstrap: Connect to ipv4#127.0.0.1:9092 failed: Connection
    refused``), which those of a call that took too long do not.

    Args:
        client: the table, for its secrets.
        clock: monotonic seconds.
    """

    #: What was heard so long ago says nothing of now.
    FRESH_S = 60.0
    #: A broker of several addresses may be found at the second try; one that is not there for so long is not there.
    ALONE_S = 2.0

    def __init__(self, client: Properties, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._last = ""
        self._at = 0.0
        self._alone_at: float | None = None
        self._is_refused = False
        self.hopeless = ""
        #: How many errors were heard in all: where there are more than before, a connection was lost meanwhile.
        self.count = 0

    def error_cb(self, error: Said) -> None:
        """Take an error; called from within a poll of the client."""
        self.count += 1
        text = sentence(error, self._client)
        if is_hopeless(error):
            self.hopeless, self._is_refused = text, True
        if error.name() == _NOBODY and self._alone_at is None:
            self._alone_at = self._clock()
        if error.name() != _NOBODY or not self.last():  # it says less than what went before
            self._last, self._at = text, self._clock()

    def begin(self) -> None:
        """Something is asked now: what was heard before says nothing of what will be answered."""
        self._alone_at, self._is_refused = None, False

    def is_in_vain(self) -> bool:
        """Whether no answer comes to what was asked last: the client is not let in, or there is no broker."""
        return self._is_refused or (self._alone_at is not None and self._clock() - self._alone_at >= self.ALONE_S)

    def last(self) -> str:
        """The last error that says anything of now; empty: none does."""
        return self._last if self._clock() - self._at < self.FRESH_S else ""

    def forget(self) -> None:
        """It works again."""
        self._last = self.hopeless = ""
