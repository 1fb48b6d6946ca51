"""Topics as logs: how a URL names one, and the section about reading it."""

import re
from dataclasses import dataclass
from typing import Literal

from pydantic import NonNegativeFloat

from marm.config.base import Settings

_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")
_SERVER = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):\d{1,5}")
NO_SECRETS = "a run file is no place for a password: leave it out, and set MARM_KAFKA_USERNAME and MARM_KAFKA_PASSWORD"


@dataclass(frozen=True)
class Topic:
    """A topic and the brokers to ask first: ``kafka://host:port[,host:port ...]/topic``; ``kafkas://`` goes by TLS."""

    url: str
    servers: str
    name: str
    tls: bool


def is_topic(log: object) -> bool:
    """Whether a log is a topic rather than files."""
    return isinstance(log, str) and log.startswith(("kafka://", "kafkas://"))


def topic_of(setting: str, url: str) -> Topic:
    """The parts of a URL. Errors: ``ValueError`` in one line, which never repeats a password."""
    kind, _, place = url.partition("://")
    servers, _, name = place.rpartition("/")
    if "@" in place:
        raise ValueError(f"{setting} = {kind}://...@...: {NO_SECRETS}")
    if kind not in ("kafka", "kafkas") or not all(map(_SERVER.fullmatch, servers.split(","))):
        raise ValueError(f'{setting} = "{url}": give kafka://host:port/topic, with commas between several host:port')
    if not _NAME.fullmatch(name):
        raise ValueError(f'{setting} = "{url}": {name!r} is no topic: give letters, digits, ".", "_" and "-"')
    return Topic(url, servers, name, kind == "kafkas")


class KafkaConfig(Settings):
    """How a topic that ``data.log`` or ``follow.log`` names is read."""

    outcomes: str | None = None
    """A second topic of the same brokers that holds outcomes which follow; they may stand in the log's own topic too."""

    event_id: str = "event_id"
    """Column of the id that joins outcomes to their event; an event without one has its place in the topic as id."""

    kind: str = "kind"
    """Column that says ``outcomes`` of a message that only follows; what says nothing is an event, of ``outcomes`` not."""

    lateness: NonNegativeFloat = 10.0
    """Seconds by which messages may come out of order; events leave in order of time once all before them had so long."""

    lost: Literal["refuse", "skip"] = "refuse"
    """What to do where the broker no longer has what comes next: stop, or go on behind the gap and count it."""
