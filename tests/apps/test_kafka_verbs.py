"""What the verbs say of a pipeline into Kafka, without a broker: its promise, what is wrong, and no secret."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.loads import ROOT, WATCHDOG_S

TARGET = "tests.pipelines.published"
INTO = ("sinks.words.type=kafka", "sinks.words.topic=kafka://127.0.0.1:1/numbers", "sinks.words.timeout_s=1",
        'sinks.words.client={"security.protocol" = "SASL_PLAINTEXT", "sasl.mechanism" = "PLAIN", "sasl.username" = '
        '"me", "sasl.password" = "pa55word"}')


def said(tmp_path: Path, verb: str, *sets: str, code: int = 0) -> str:
    words = (word for item in (*INTO, *sets) for word in ("--set", item))
    done = subprocess.run(
        [sys.executable, "-m", "actors.cli", verb, TARGET, *words, "--state", str(tmp_path / "state")], cwd=ROOT,
        capture_output=True, text=True, timeout=WATCHDOG_S, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert "pa55word" not in done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize(("transactions", "promise"), [
    ("false", "at least once; a message that is there twice after a crash has the same thresher-id"),
    ("true", "messages and positions in one transaction: exactly once for those who read what is committed")])
def test_explain_says_what_the_options_promise(tmp_path: Path, transactions: str, promise: str) -> None:
    text = said(tmp_path, "explain", f"sinks.words.transactions={transactions}")
    assert promise in text
    assert "kafka://127.0.0.1:1/numbers" in text


def test_echo_shows_the_table_without_its_secrets(tmp_path: Path) -> None:
    assert '"sasl.username" = "me", "sasl.password" = "***"' in said(tmp_path, "echo")


def test_check_names_a_broker_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "1.txt").write_text("1\n")
    text = said(tmp_path, "check", f"source.pattern={tmp_path}/*.txt", code=1)
    assert "kafka://127.0.0.1:1/numbers: " in text
    assert "Connection refused" in text
    assert "set sinks.words.topic to where it is" in text


def test_a_property_that_a_promise_rests_on_is_refused_with_the_reason(tmp_path: Path) -> None:
    text = said(tmp_path, "explain", 'sinks.words.client={acks = "1"}', code=78)
    assert "client: acks is not set here: a batch is acknowledged when all replicas that are in step have it" in text


@pytest.mark.parametrize(("table", "why"), [
    ('{"message.max.bytes" = "lots"}', "message.max.bytes: expected a whole number of bytes"),
    ('{"batch.num.messages" = "lots"}', "batch.num.messages"),
    ('{"ssl.ca.location" = "/not/there.pem", "security.protocol" = "SSL"}',
     "ssl.ca.location: there is no file: /not/there.pem")])
def test_a_table_that_the_library_does_not_take_ends_a_run_before_anything_is_read(
    tmp_path: Path, table: str, why: str
) -> None:
    (tmp_path / "1.txt").write_text("1\n")
    text = said(tmp_path, "run", f"source.pattern={tmp_path}/*.txt", f"sinks.words.client={table}", code=78)
    assert why in text
    assert not any(word in text for word in ("Traceback", "KafkaError{", '"dead_lettered": 1'))
    assert (tmp_path / "1.txt").exists(), "it is not put away"
