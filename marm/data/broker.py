"""Clients of a Kafka broker: who they are comes from the environment alone, what goes wrong is told in one line.

MARM_KAFKA_USERNAME  MARM_KAFKA_PASSWORD  MARM_KAFKA_MECHANISM                  SASL; SCRAM-SHA-512, if not said
MARM_KAFKA_CA  MARM_KAFKA_CERTIFICATE  MARM_KAFKA_KEY  MARM_KAFKA_KEY_PASSWORD  files of TLS, and of a client of its own
"""

import os
from functools import partial
from typing import Any

from marm.config import Topic
from marm.errors import BrokerError, SettingError

ANSWER_S = 10.0
"""Seconds to wait for a broker where nothing goes on without it."""
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_TLS = {
    "MARM_KAFKA_CA": "ssl.ca.location",
    "MARM_KAFKA_CERTIFICATE": "ssl.certificate.location",
    "MARM_KAFKA_KEY": "ssl.key.location",
    "MARM_KAFKA_KEY_PASSWORD": "ssl.key.password",
}


def client(kind: str, topic: Topic, **options: Any) -> Any:
    """A ``Consumer`` or ``Producer``, whose ``fault`` is what it was last told went wrong.

    Errors: ``SettingError`` where the library, a file or half of an access is missing.
    """
    try:
        import confluent_kafka
    except ModuleNotFoundError as error:
        if error.name != "confluent_kafka":
            raise
        raise SettingError(f'{topic.url}: needs confluent-kafka: `pip install "marm-recsys[kafka]"`') from None
    made: Any
    said = {
        "bootstrap.servers": topic.servers,
        "log_level": 0,
        "error_cb": lambda error: _note(made, error),
        **_access(topic),
        **options,
    }
    try:
        made = type(kind, (getattr(confluent_kafka, kind),), {"fault": ""})(said)
    except confluent_kafka.KafkaException as error:
        raise SettingError(f"{topic.url}: {_reason(error)}: mend what MARM_KAFKA_... names") from None
    return made


def consumer(topic: Topic) -> Any:
    """Reads partitions that it is told to; nothing is ever committed to the broker, which keeps no place of ours."""
    said = {
        "group.id": "marm",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
        "fetch.wait.max.ms": 100,
        "queued.max.messages.kbytes": 32 * 1024,
    }
    return client("Consumer", topic, **said)


def lanes(client: Any, topic: Topic, names: list[str], wait: float = ANSWER_S) -> list[str]:
    """``topic/partition`` of all partitions. Errors: ``BrokerError`` where no broker answers or a topic is not there."""
    found = []
    for name in names:
        about = asked(client, topic, partial(client.list_topics, name, timeout=wait)).topics[name]
        if about.error is not None or not about.partitions:
            raise BrokerError(f"{topic.url}: no topic {name} ({_reason(about.error)}): create it, or mend its name")
        found += [f"{name}/{partition}" for partition in sorted(about.partitions)]
    return found


def asked(client: Any, topic: Topic, ask: Any) -> Any:
    """The answer of a consumer's call. Errors: ``BrokerError`` where there is none."""
    from confluent_kafka import KafkaException

    client.fault = ""
    try:
        return ask()
    except KafkaException as error:
        if not client.assignment():  # else a message could come of it, and be lost
            client.poll(0)
        why = client.fault or _reason(error)
        raise BrokerError(f"{topic.url}: {why}: see that the broker runs and lets this user in") from None


def partition(lane: str, offset: int = -1001) -> Any:
    """A lane as the client names it."""
    from confluent_kafka import TopicPartition

    name, _, number = lane.rpartition("/")
    return TopicPartition(name, int(number), offset)


def bounds(client: Any, topic: Topic, lane: str) -> tuple[int, int]:
    """The oldest message that the broker still has of a lane, and one past the newest. Errors: ``BrokerError``."""
    low, high = asked(client, topic, lambda: client.get_watermark_offsets(partition(lane), timeout=ANSWER_S))
    return low, high


def _note(client: Any, error: Any) -> None:
    """What a client hears while it tries on; that all brokers are down says less than why the last one is."""
    if error.name() != "_ALL_BROKERS_DOWN":
        client.fault = error.str()


def _reason(error: Any) -> str:
    inner = error.args[0] if isinstance(error, Exception) and error.args else error
    return str(inner.str() if hasattr(inner, "str") else inner)


def _access(topic: Topic) -> dict[str, str]:
    user, password = os.environ.get("MARM_KAFKA_USERNAME"), os.environ.get("MARM_KAFKA_PASSWORD")
    if (user is None) != (password is None):
        raise SettingError(f"{topic.url}: MARM_KAFKA_USERNAME and MARM_KAFKA_PASSWORD: set both, or none")
    protocol = ("SASL_" if user else "") + ("SSL" if topic.tls else "PLAINTEXT")
    out = {"security.protocol": protocol}
    if topic.tls:
        out |= {key: os.environ[name] for name, key in _TLS.items() if os.environ.get(name)}
    if user and password:
        mechanism = os.environ.get("MARM_KAFKA_MECHANISM", "SCRAM-SHA-512")
        if mechanism not in _MECHANISMS:
            raise SettingError(f"MARM_KAFKA_MECHANISM = {mechanism}: give one of {', '.join(_MECHANISMS)}")
        if mechanism == "PLAIN" and not topic.tls:
            raise SettingError(
                f"{topic.url}: PLAIN would send the password in the clear: write kafkas://, or use SCRAM"
            )
        out |= {"sasl.mechanism": mechanism, "sasl.username": user, "sasl.password": password}
    return out
