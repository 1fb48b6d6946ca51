"""Topics of a broker: librdkafka's mock cluster in this process, or one that is told."""

import gc
import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import polars as pl
import pytest

from marm.config import RunConfig, load_run
from tests.train.logs import log_frame, run_over, write_world

confluent_kafka = pytest.importorskip("confluent_kafka", reason="confluent-kafka is not installed")

TRAINED, MORE = 100, 80
"""Events of a log that a run begins with, and of those after them that are sent."""
_QUIET = {"log_level": 0, "error_cb": lambda error: None}


class Cluster:
    """A broker's topics."""

    def __init__(self, servers: str | None = None, options: dict[str, Any] | None = None) -> None:
        """``servers``: of whom, if not of a broker in this process; ``options``: of the client that sends."""
        self.holder: Any = None
        if servers is None:
            self.holder = confluent_kafka.Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, **_QUIET})
            brokers = self.holder.list_topics(timeout=10).brokers.values()
            servers = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
        self.servers = servers
        said = {"bootstrap.servers": servers, "linger.ms": 1, **_QUIET, **(options or {})}
        self._producer = confluent_kafka.Producer(said)

    def end(self) -> None:
        """The broker dies, if it is in this process."""
        self.holder = None
        gc.collect()

    def name(self) -> str:
        """A topic that nobody has used."""
        return f"t{uuid4().hex[:12]}"

    def url(self, topic: str) -> str:
        return f"kafka://{self.servers}/{topic}"

    def put(
        self,
        topic: str,
        values: Iterable[Any],
        keys: Sequence[str] | None = None,
        sent: Sequence[int] | None = None,
        **more: Any,
    ) -> None:
        """Send messages, one after another; values are JSON, or bytes as they are, ``sent`` their clock in milliseconds."""
        for number, value in enumerate(values):
            data = value if isinstance(value, bytes) else json.dumps(value).encode()
            told = more | ({"timestamp": sent[number]} if sent else {})
            self._producer.produce(topic, value=data, key=keys[number] if keys else None, **told)
            self._producer.poll(0)
        assert self._producer.flush(20) == 0

    def partitions(self, topic: str) -> int:
        """How many it has; a topic that is not there is made."""
        until = time.monotonic() + 10
        while not (found := self._producer.list_topics(topic, timeout=5).topics[topic].partitions):
            assert time.monotonic() < until
            time.sleep(0.1)
        return len(found)

    def all(self, topic: str) -> list[Any]:
        """Every message, by partition and offset."""
        said = {"bootstrap.servers": self.servers, "group.id": "test", "enable.partition.eof": True, **_QUIET}
        reader = confluent_kafka.Consumer(said)
        lanes = [confluent_kafka.TopicPartition(topic, n, 0) for n in range(self.partitions(topic))]
        reader.assign(lanes)
        found, ended = [], 0
        while ended < len(lanes):
            for message in reader.consume(1000, 0.05):
                ended += message.error() is not None
                found += [] if message.error() else [message]
        reader.close()
        return sorted(found, key=lambda message: (message.partition(), message.offset()))


def begun_in(folder: Path, url: str, cut_every: int = 30) -> Path:
    """A run over the first events of a log, its memory where ``url`` says, cut at so many events."""
    from marm.train import run as commands

    world = write_world(folder / "world", log_frame(events=400)[:TRAINED])
    train = {"cut_every": cut_every, "micro_batch": 8, "window_events": 25}
    run = run_over(world, memory={"url": url}, train=train, data={"feedback_delay": "delay"})
    commands.train(run, folder / "run", page=False)
    return folder / "run"


def after_training(begin: int = 0, end: int = MORE) -> pl.DataFrame:
    """Events after those that were trained on, each at a time of its own."""
    frame = log_frame(events=400)[: TRAINED + end]
    last = frame["time"][TRAINED - 1]
    return frame[TRAINED:].with_columns(time=last + 1 + pl.int_range(pl.len()))[begin:]


def as_messages(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Rows of a log with ids ``e0``, ``e1`` ..."""
    return [{**row, "event_id": f"e{n}"} for n, row in enumerate(frame.iter_rows(named=True))]


def by_user(cluster: Cluster, name: str, rows: list[dict[str, Any]]) -> None:
    """Send rows, those of a user to one partition."""
    cluster.put(name, rows, [row["user"] for row in rows])


def sets_of(settings: dict[str, Any]) -> list[str]:
    """Settings of [follow], and of [kafka] under ``kafka``, as a command takes them; without waits, unless they say so."""
    kafka = {"lateness": 0, **settings.pop("kafka", {})}
    told = {"wait": 0, "gather": 0, **settings}
    otherwise = told.pop("otherwise", {})
    named = [("follow", told), ("kafka", kafka), ("follow.otherwise", otherwise)]
    return [f"{section}.{name}={json.dumps(value)}" for section, values in named for name, value in values.items()]


def at_once(run: Path, **settings: Any) -> RunConfig:
    """The settings of a run folder, laid over by ``sets_of``."""
    return load_run(run / "run.toml", sets_of(settings))
