"""Events told to a topic: acknowledged once all replicas in step have them, each written once by this producer."""

import time
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import orjson

from marm.config import RunConfig, Topic
from marm.data import broker
from marm.data.place import Spot
from marm.data.values import text_of
from marm.errors import BrokerError


class Message(NamedTuple):
    """One event, or outcomes that follow one."""

    key: bytes
    """Of the same user always the same, so that all of a user is in one partition and in order."""
    value: bytes


def message_of(run: RunConfig, record: dict[str, Any], user: Any) -> Message:
    """A record of the inbox as a row of the log."""
    data, kafka = run.data, run.kafka
    row = {kafka.kind: record["kind"], kafka.event_id: record["event_id"], **record["outcomes"]}
    if record["kind"] == "event":
        row |= {data.user: user, data.item: record["item"], data.time: record["at"], **record["context"]}
    return Message(text_of(user).encode(), orjson.dumps(row))


class TopicWriter:
    """Writes messages to a topic; of several threads, one at a time may call it. Errors: ``SettingError``."""

    def __init__(self, topic: Topic, seconds: float) -> None:
        """``seconds``: how long a message may take."""
        self.topic, self._seconds = topic, seconds
        self._client = self._begun()

    def _begun(self) -> Any:
        said = {"enable.idempotence": True, "acks": "all", "linger.ms": 0, "partitioner": "murmur2_random"}
        return broker.client("Producer", self.topic, **said, **{"message.timeout.ms": int(self._seconds * 1000)})

    def tell(self, messages: Sequence[Message]) -> list[Spot]:
        """Where each of them is now.

        Errors: ``BrokerError`` if any is not acknowledged; others may be there all the same, so whoever tells them again
        must give them the same ids.
        """
        from confluent_kafka import KafkaException

        spots: dict[int, Spot] = {}
        failed: list[str] = []
        self._client.fault = ""
        try:
            for number, (key, value) in enumerate(messages):
                done = partial(_delivered, number, spots, failed)
                self._client.produce(self.topic.name, key=key, value=value, on_delivery=done)
            self._wait(time.monotonic() + self._seconds + 1, len(messages), spots, failed)
        except (KafkaException, BufferError) as error:
            failed.append(str(error))
        if len(spots) < len(messages):
            self._client.purge()
            # A producer that lost count of what it wrote may be refused for good: the next telling begins a new one.
            lost, self._client = self._client, self._begun()
            why = "; ".join(filter(None, [*failed[:1], lost.fault])) or "no answer in time"
            raise BrokerError(
                f"{self.topic.url}: events are not acknowledged ({why}): tell them again, with the same ids"
            )
        return [spots[number] for number in range(len(messages))]

    def _wait(self, until: float, count: int, spots: dict[int, Spot], failed: list[str]) -> None:
        while len(spots) + len(failed) < count and time.monotonic() < until:
            self._client.poll(0.05)

    def close(self) -> None:
        """Nothing is on its way any more: ``tell`` waits for its messages."""
        self._client.flush(0)


def _delivered(number: int, spots: dict[int, Spot], failed: list[str], error: Any, message: Any) -> None:
    if error is not None:
        failed.append(str(error.str()))
    else:
        spots[number] = Spot(f"{message.topic()}/{message.partition()}", message.offset())
