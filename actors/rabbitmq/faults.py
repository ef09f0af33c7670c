"""What an error of the client, or an answer of the server, means: another configuration is needed, or it passes.

The client deduces "wrong password" and "no such virtual host" from the moment at which a connection was closed, so a
server that dies just then looks the same. Only what the server itself has said (403, 530) is taken for its word;
anything else passes.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator

from actors.runtime.errors import ConfigError, Retryable, plain_reason

#: Replies that only another configuration mends: access refused, not allowed (no such virtual host, not this user's).
_REFUSED = (403, 530)
#: What is said with 530 where there is only too much of it at the moment.
_PASSES = "limit"
#: What OpenSSL puts around its words.
_OF_OPENSSL = re.compile(r"^\[[^]]*\] | \(_ssl\.c:\d+\)$")

#: What OpenSSL says of a certificate whose authority may well be trusted, by number, and what to do.
_OTHER_NAME = "name the server in the address as its certificate does"
_OF_CERTIFICATES = {62: _OTHER_NAME, 64: _OTHER_NAME, 9: "is a clock wrong? Or wait until it is valid",
                    10: "the server needs a new one"}
#: Errors of the client that mean that a connection was lost, whatever else they deduce.
_LOST = ("StreamLostError", "ProbableAuthenticationError", "ProbableAccessDeniedError", "ConnectionOpenAborted",
         "ConnectionWrongStateError")
#: In their text: the reply of the server, and an error of the system.
_SAID = re.compile(r"ClosedByBroker: \((\d+)\) ['\"](.*?)['\"](?: \(host=|$)")
_OF_SYSTEM = re.compile(r"Error\(\d+, ['\"]([^'\"]*)['\"]")


class Refused(Exception):
    """The server has closed a channel, and says why.

    Args:
        code: 403 (access refused), 404 (there is none), 405 (locked), 406 (not with these arguments) and others.
        text: its words.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text

    def __str__(self) -> str:
        return f"{self.code} {self.text}"


def failure_of(error: BaseException, where: str) -> ConfigError | Retryable:
    """Return what to raise for an error of the client.

    Args:
        error: as the client gives it: of a connection that could not be made, or was lost.
        where: the server, for people.
    """
    causes = list(_causes(error))
    for cause in causes:
        if (problem := _configuration(cause)) is not None:
            return ConfigError(f"rabbitmq {where}: {problem}")
    return Retryable(f"rabbitmq {where}: {_words(causes[-1]) if causes else 'the connection was lost'}")


def _configuration(error: BaseException) -> str | None:
    """What is wrong with the configuration; None: it may pass."""
    name = type(error).__name__
    if isinstance(error, ssl.SSLCertVerificationError):
        mend = _OF_CERTIFICATES.get(error.verify_code, "set ca_file to the CA that signed it")
        return f"its certificate is not trusted ({_plain(error).removesuffix('.')}): {mend}"
    said = _reply_in(error)
    if said is None or said[0] not in _REFUSED or _PASSES in said[1]:
        return None
    if name == "ProbableAuthenticationError":
        return "it refuses this user, or the password: correct them in the address (amqp://USER:PASSWORD@…)"
    return f"it does not let this user in: {said[1]}: correct the virtual host, or give the user its permissions there"


def _reply_in(error: BaseException) -> tuple[int, str] | None:
    """Code and words of the server, where it has said any before it closed the connection."""
    if type(error).__name__ == "ConnectionClosedByBroker":
        return error.args[0], error.args[1]
    # what the client has deduced holds the reply in its text: "ConnectionClosedByBroker: (403) 'ACCESS_REFUSED - …'"
    text = str(error.args[0]) if error.args else ""
    for code in _REFUSED:
        if (at := text.find(f"({code}) ")) >= 0 and "ClosedByBroker" in text[:at]:
            return code, text[at + 6:].rsplit(" (host=", 1)[0].strip("'\"")
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """What the client has wrapped: the errors of all attempts, the last one last."""
    from pika.adapters.utils.connection_workflow import AMQPConnectionWorkflowFailed, AMQPConnectorPhaseErrorBase

    if isinstance(error, AMQPConnectionWorkflowFailed):
        for one in error.exceptions:
            yield from _causes(one)
    elif isinstance(error, AMQPConnectorPhaseErrorBase):
        yield from _causes(error.exception)
    else:
        yield error


def _plain(error: ssl.SSLError) -> str:
    """What is wrong, of "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: … (_ssl.c:1000)"."""
    return _OF_OPENSSL.sub("", str(error)).removeprefix("certificate verify failed: ")


def _words(error: BaseException) -> str:
    """An error in plain words; never its class alone, never a password (there is none in it)."""
    name = type(error).__name__
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {_plain(error)}"
    if isinstance(error, OSError):
        return plain_reason(error)
    if name == "ConnectionClosedByBroker":
        return f"it has closed the connection: {error.args[0]} {error.args[1]}"
    if name == "AMQPHeartbeatTimeout":
        return "no sign of life from it within the heartbeat"
    if name == "AMQPConnectorStackTimeout":
        return "it does not answer in time"
    if name == "IncompatibleProtocolError":
        return ("it has closed the connection before it said anything: is it a server of AMQP, without TLS (amqp://) "
                "or with it (amqps://)?")
    if name in _LOST:
        return _lost(str(error.args[0]) if error.args else "")
    return str(error) or name


def _lost(text: str) -> str:
    """Of a lost connection, what the client's text says, which is in the words of its language."""
    if said := _SAID.search(text):
        return f"it has closed the connection: {said[1]} {said[2]}"
    if of_system := _OF_SYSTEM.search(text):
        return f"the connection was lost ({of_system[1].lower()})"
    return "it has closed the connection" if "EOF" in text else "the connection was lost"
