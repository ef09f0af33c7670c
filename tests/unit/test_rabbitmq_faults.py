"""What ends a run on RabbitMQ (exit code 78), and what is waited for: decided by what the server said, not guessed."""

from __future__ import annotations

import re
import socket
import ssl

import pytest

from actors.rabbitmq.faults import failure_of
from actors.runtime.errors import ConfigError, Retryable

pytest.importorskip("pika")
from pika import exceptions
from pika.adapters.utils.connection_workflow import (
    AMQPConnectionWorkflowFailed,
    AMQPConnectorAMQPHandshakeError,
    AMQPConnectorSocketConnectError,
    AMQPConnectorTransportSetupError,
)

#: As the client makes them: what it deduces holds the reply of the server in its text.
LOGIN = exceptions.ProbableAuthenticationError(repr(exceptions.ConnectionClosedByBroker(
    403, "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN")))
VHOST = exceptions.ProbableAccessDeniedError(repr(exceptions.ConnectionClosedByBroker(
    530, "NOT_ALLOWED - vhost nowhere not found")))
LIMIT = exceptions.ProbableAccessDeniedError(repr(exceptions.ConnectionClosedByBroker(
    530, "NOT_ALLOWED - access to vhost '/' refused for user 'guest': connection limit (1) is reached")))
DIED = exceptions.ProbableAuthenticationError(repr(exceptions.StreamLostError("Stream connection lost: reset (403)")))
EOF = exceptions.StreamLostError("Transport indicated EOF")
BOOTING = exceptions.ProbableAccessDeniedError(repr(exceptions.ConnectionClosedByBroker(
    541, "INTERNAL_ERROR - access to vhost '/' refused for user 'guest': vhost '/' is down")))


def attempts(*errors: Exception) -> AMQPConnectionWorkflowFailed:
    return AMQPConnectionWorkflowFailed([AMQPConnectorAMQPHandshakeError(error) for error in errors])


def not_trusted(code: int, why: str) -> AMQPConnectionWorkflowFailed:
    error = ssl.SSLCertVerificationError(
        1, f"[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: {why} (_ssl.c:1006)")
    error.verify_code = code
    return AMQPConnectionWorkflowFailed([AMQPConnectorTransportSetupError(error)])


@pytest.mark.parametrize(("error", "says"), [
    (not_trusted(62, "Hostname mismatch, certificate is not valid for 'h'."), "not valid for 'h'.: name the server in"),
    (not_trusted(64, "IP address mismatch, certificate is not valid for '::1'."), ": name the server in"),
    (not_trusted(10, "certificate has expired"), r"\(certificate has expired\): the server needs a new one"),
    (attempts(LOGIN), "user, or the password"), (attempts(VHOST), "vhost nowhere not found.*virtual host"),
    (attempts(DIED, LOGIN), "user, or the password"),
    (not_trusted(19, "self-signed certificate in certificate chain"), "ca_file"),
    (exceptions.ConnectionClosedByBroker(530, "NOT_ALLOWED - user was deleted"), "user was deleted")])
def test_only_another_configuration_helps(error: BaseException, says: str) -> None:
    failure = failure_of(error, "h:1")
    assert isinstance(failure, ConfigError)
    assert re.search(rf"^rabbitmq h:1: .*{says}", str(failure))


@pytest.mark.parametrize(("error", "says"), [
    (attempts(DIED), "the connection was lost$"), (attempts(BOOTING), "541 INTERNAL_ERROR - .* '/' is down$"),
    (attempts(LIMIT), r"connection: 530 .*connection limit \(1\) is reached$"),
    (attempts(exceptions.IncompatibleProtocolError(repr(EOF))), r"amqps://\)\?$"),
    (EOF, "it has closed the connection$"),
    (exceptions.StreamLostError("Stream connection lost: ConnectionResetError(104, 'Connection reset by peer')"),
     r"the connection was lost \(connection reset by peer\)$"),
    (AMQPConnectionWorkflowFailed([AMQPConnectorSocketConnectError(ConnectionRefusedError(111, "Connection refused"))]),
     "connection refused"),
    (AMQPConnectionWorkflowFailed([AMQPConnectorSocketConnectError(TimeoutError("timed out"))]), "in time"),
    (AMQPConnectionWorkflowFailed([socket.gaierror(-2, "Name or service not known")]), "name or service not known"),
    (AMQPConnectionWorkflowFailed([AMQPConnectorTransportSetupError(ssl.SSLEOFError(8, "EOF occurred"))]), "TLS"),
    (exceptions.ConnectionClosedByBroker(320, "CONNECTION_FORCED - broker forced connection closure"), "320"),
    (exceptions.StreamLostError("Stream connection lost"), "lost"),
    (exceptions.AMQPHeartbeatTimeout("No activity"), "heartbeat")])
def test_what_may_pass_is_waited_for_and_said_in_one_line(error: BaseException, says: str) -> None:
    failure = failure_of(error, "h:1")
    assert isinstance(failure, Retryable)
    assert len(str(failure).splitlines()) == 1
    assert not re.search(r"Error\b|\('|ClosedBy", str(failure).replace("INTERNAL_ERROR", ""))
    assert re.search(rf"^rabbitmq h:1: .*{says}", str(failure))
