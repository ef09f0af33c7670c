"""Addresses of topics in Kafka, the table ``client``, and that nothing secret of it is shown."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from actors.kafka.addresses import address_of, addresses_of
from actors.kafka.clients import Heard, configured, is_hopeless, refuse, sentence, wrong_table
from actors.runtime.errors import ConfigError
from actors.runtime.extras import how_to_install
from actors.runtime.options import masked
from actors.settings import load
from actors.sinks.kafka import Kafka
from actors.sources.kafka import Kafka as Source
from actors.testing.clock import FakeClock
from tests.loads import ROOT

SECRETS = {"sasl.password": "pa55word", "ssl.key.password": "k3y", "ssl.key.pem": "-----BEGIN", "sasl.username": "me",
           "ssl.ca.location": "/ca.pem", "sasl.oauthbearer.client.secret": "s3cret", "ssl.keystore.password": "st0re"}


class Said:
    """An error, as the library has it."""

    def __init__(self, name: str, text: str) -> None:
        self._name, self._text = name, text

    def name(self) -> str:
        return self._name

    def str(self) -> str:
        return self._text


def test_an_address_has_servers_and_a_topic_and_9092_is_the_port_that_nobody_says() -> None:
    address = address_of("kafka://10.0.0.5,[::1]:9094,broker-2.example:1/live_ratings")
    assert address.servers == "10.0.0.5:9092,[::1]:9094,broker-2.example:1"
    assert address.topic == "live_ratings"
    assert str(address) == "kafka://10.0.0.5:9092,[::1]:9094,broker-2.example:1/live_ratings"


@pytest.mark.parametrize("text", [
    "topic:///x", "kafka://", "kafka://host", "kafka://host/", "kafka:///name", "kafka://host:0/name",
    "kafka://host:65536/name", "kafka://host:x/name", "kafka://host/a/b", "kafka://host/ü", "kafka://host/..",
    "kafka://host/" + "x" * 250, "kafka://a,,b/name", "kafka://host/name?acks=1"])
def test_what_is_no_address_is_refused_with_what_one_looks_like(text: str) -> None:
    with pytest.raises(ConfigError, match=r"expected kafka://host:port,host:port/name"):
        address_of(text)


def test_an_address_with_a_password_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigError, match=r"sasl\.password") as error:
        address_of("kafka://me:pa55word@host/name")
    assert "pa55word" not in str(error.value)
    with pytest.raises(ValueError, match=r"^topic: ") as value_error:
        Kafka(topic="kafka://me:pa55word@host/name")
    assert "pa55word" not in str(value_error.value)


@pytest.mark.parametrize("text", [
    "kafka://h:1/t?sasl.password=pa55word", "kafka:/u:pa55word@h", "kafka:u:pa55word@h/t", "u:pa55word@h:1/t",
    "kafka://h:1/t#pa55word", "KAFKA://u:pa55word@h:1/t", "kafka://h:1/t?x=pa55word", "kafka://u:a/pa55word@h/t",
    "kafka:/u:@pa55word@h/t", "//u:@pa55word@h/t", "u:@pa55word@h/t", "kafka:/u@v:pa55word@h/t", "u@v:@pa55word@h/t",
    "kafka://u/v:pa55word@h/t", "u:the pa55word@h:1/t", "kafka:u:pa55word of\tmine@h/t"])
def test_what_is_to_be_an_address_shows_no_secret_however_it_is_written(text: str) -> None:
    with pytest.raises(ConfigError) as error:
        address_of(text)
    assert "pa55word" not in str(error.value)
    assert "pa55word" not in Source(topics=[text]).describe()
    assert text.endswith("?x=pa55word") or "pa55word" not in str(masked({"topics": [text]}))


def test_a_secret_in_the_address_of_something_else_is_not_shown() -> None:
    urls = {"sasl.oauthbearer.token.endpoint.url": "https://u:s3cret@h/x?scope=all&client_secret=s3cret&a=b#s3cret",
            "https.proxy": "http://u:s3cret@p:1", "a": "x://h/?TOKEN=s3cret;key=s3cret&api-key=s3cret"}
    shown = masked({"client": urls})["client"]
    assert "s3cret" not in str(shown)
    assert shown["sasl.oauthbearer.token.endpoint.url"] == "https://u:***@h/x?scope=all&client_secret=***&a=b#***"
    for harmless in ("amqp://h/v?queue=q&routing_key=k", "x://h?token=${env:TOKEN}", "amqp://u:${env:PW}@h", "12:30",
                     "/a/b:c", "topic:///var/x", "a text: mail me@there", "#1"):
        assert masked(harmless) == harmless


def test_topics_that_are_read_together_are_of_one_cluster_and_each_is_named_once() -> None:
    assert [one.topic for one in addresses_of(["kafka://b,a/x", "kafka://a,b/y"])] == ["x", "y"]
    with pytest.raises(ConfigError, match="one cluster"):
        addresses_of(["kafka://a/x", "kafka://b/y"])
    with pytest.raises(ConfigError, match="each topic once"):
        addresses_of(["kafka://a/x", "kafka://a:9092/x"])


def test_secrets_of_a_table_are_masked_and_references_and_all_else_are_shown() -> None:
    shown = masked({"client": {**SECRETS, "sasl.oauthbearer.config": "${env:TOKEN}"}})["client"]
    assert shown == {"sasl.password": "***", "ssl.key.password": "***", "ssl.key.pem": "***", "sasl.username": "me",
                     "ssl.ca.location": "/ca.pem", "sasl.oauthbearer.client.secret": "***",
                     "ssl.keystore.password": "***", "sasl.oauthbearer.config": "${env:TOKEN}"}


def test_what_is_shown_of_a_sink_has_no_secret_of_its_table_however_it_was_given(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text("""app = "tests.pipelines.published"
[sinks.words]
type = "kafka"
topic = "kafka://host/name"
[sinks.words.client]
"sasl.password" = "pa55word"
"ssl.key.password" = "${env:KEY}"
"sasl.username" = "me"
""")
    settings = load(str(path), environ={"KEY": "k3y"})
    assert settings.manifest.sinks["words"].values["client"]["ssl.key.password"] == "k3y"
    shown = settings.shown["sinks.words"]["client"]
    assert shown == {"sasl.password": "***", "ssl.key.password": "${env:KEY}", "sasl.username": "me"}
    with pytest.raises(ConfigError) as error:
        load(str(path), environ={}, sets=['sinks.words.client={"sasl.password" = ["pa55word"]}'])
    assert "pa55word" not in str(error.value)


def test_the_words_of_the_library_are_shown_without_the_secrets_of_the_table() -> None:
    said = sentence(Said("_FAIL", "cannot use pa55word\n  with k3y"), SECRETS)
    assert said == "cannot use *** with ***"


@pytest.mark.parametrize("aside", ["", " (after 0ms in state CONNECT)",
                                   " (after 13ms in state CONNECT, 30 identical error(s) suppressed)"])
def test_an_error_that_comes_again_has_the_same_words(aside: str) -> None:
    said = sentence(Said("_TRANSPORT", f"127.0.0.1:9092/bootstrap: Connection refused{aside}"), {})
    assert said == "127.0.0.1:9092/bootstrap: Connection refused"


def test_without_the_library_the_run_is_told_how_to_install_it(tmp_path: Path) -> None:
    program = ("import sys; sys.modules['confluent_kafka'] = None\n"
               "from pathlib import Path\n"
               "from thresher import ConfigError\n"
               "from thresher.sinks import Kafka\n"
               "options, state = Kafka(topic='kafka://host/name', transactions=True), Path(sys.argv[1])\n"
               "print(options.positions('out', state), options.pack([b'x']) != b'')\n"
               "for call in (options.check, options.open, lambda name, state: options.follow(name, state, 3)):\n"
               "    try: call('out', state)\n"
               "    except ConfigError as error: print(error)\n")
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, capture_output=True, text=True,
                          check=True)
    needs = f"sinks.out: type kafka needs confluent-kafka: {how_to_install('kafka')}"
    assert done.stdout.splitlines() == ["{} True", needs, needs, needs]


@pytest.mark.parametrize("name", ["enable.idempotence", "acks", "transactional.id", "bootstrap.servers", "error_cb",
                                  "message.timeout.ms", "compression.type"])
def test_a_property_that_a_promise_rests_on_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^client: {name} is not set here: \w+"):
        Kafka(topic="kafka://host/name", client={name: "pa55word"})


def test_properties_that_pass_through_come_before_the_defaults_and_behind_ours() -> None:
    refuse({"linger.ms": 9}, {})
    found = configured("a:1", {"linger.ms": 5, "x": 1}, {"linger.ms": 9, "acks": "0", "y": True, "z": 0.5},
                       {"acks": "all"})
    assert (found["linger.ms"], found["acks"], found["x"], found["y"], found["z"]) == (9, "all", 1, True, "0.5")
    assert found["bootstrap.servers"] == "a:1"


def test_a_call_that_took_too_long_is_told_as_what_was_heard_of_the_connection_as_long_as_that_is_fresh() -> None:
    clock = FakeClock()
    heard = Heard({}, clock.monotonic)
    assert sentence(Said("_TIMED_OUT", "no answer"), {}, heard.last()) == "no answer"
    heard.error_cb(Said("_TRANSPORT", "127.0.0.1:9092: Connection refused"))
    heard.error_cb(Said("_ALL_BROKERS_DOWN", "1/1 brokers are down"))
    assert sentence(Said("_TIMED_OUT", "no answer"), {}, heard.last()) == "127.0.0.1:9092: Connection refused"
    clock.advance(61)
    assert sentence(Said("_TIMED_OUT", "no answer"), {}, heard.last()) == "no answer"


def test_no_answer_is_waited_for_from_a_broker_that_is_not_there_for_two_seconds_or_does_not_let_one_in() -> None:
    clock = FakeClock()
    heard = Heard({}, clock.monotonic)
    heard.begin()
    heard.error_cb(Said("_TRANSPORT", "127.0.0.1:9092: Connection refused"))
    clock.advance(9)
    assert not heard.is_in_vain(), "another address may answer"
    for _ in range(2):
        heard.error_cb(Said("_ALL_BROKERS_DOWN", "2/2 brokers are down"))
        clock.advance(1)
    assert heard.is_in_vain()
    heard.begin()
    assert not heard.is_in_vain()
    heard.error_cb(Said("_AUTHENTICATION", "SASL authentication error"))
    assert heard.is_in_vain()


def test_what_is_wrong_with_a_table_is_one_line_that_names_the_file_or_the_property_and_no_secret(
    tmp_path: Path
) -> None:
    pytest.importorskip("confluent_kafka")
    from confluent_kafka import KafkaError, KafkaException

    missing = {"ssl.ca.location": f"{tmp_path}/ca.pem", "sasl.password": "pa55word"}
    assert wrong_table(ValueError("any"), missing) == f"ssl.ca.location: there is no file: {tmp_path}/ca.pem"
    (tmp_path / "ca.pem").write_text("")
    failed = KafkaException(KafkaError(KafkaError._INVALID_ARG, "ssl.ca.location\nfailed: pa55word"))
    assert wrong_table(failed, missing) == "ssl.ca.location failed: ***"
    assert wrong_table(ValueError("KafkaError\npa55word"), missing) == "KafkaError ***"


def test_a_wrong_password_is_hopeless_and_a_connection_that_was_cut_while_it_was_asked_for_is_not() -> None:
    assert is_hopeless(Said("_AUTHENTICATION", "SASL authentication error: Authentication failed"))
    assert is_hopeless(Said("_SSL", "certificate verify failed"))
    assert not is_hopeless(Said("_SSL", "SSL handshake failed: Disconnected"))
    assert not is_hopeless(Said("_TRANSPORT", "Connection refused"))
