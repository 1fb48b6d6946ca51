"""Where events come from that follow a prepared log: an inbox, a topic, or a growing folder of files."""

from pathlib import Path
from typing import Protocol

from marm.config import RunConfig, is_topic, topic_of
from marm.data.feedback import Feedback
from marm.data.grow import Grower
from marm.data.growing import GrowingFolder
from marm.data.live import LiveLog
from marm.data.place import START, Offsets
from marm.data.stream import EventLog
from marm.data.topic import TopicReader
from marm.errors import FolderError, SettingError


class Source(Protocol):
    """Where events come from; it appends them to the stream. One that waits for events or files has a length."""

    counts: dict[str, int]

    def __len__(self) -> int: ...

    def poll(self, now: float) -> bool:
        """Append what is final; whether anything came. Errors: ``DiskError``."""
        ...

    def note(self) -> None:
        """Make durable how far it read."""
        ...

    def lag(self) -> int | None:
        """Messages that wait to be read; None where nobody counts them."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


def open_source(run: RunConfig, out: Path, stream: EventLog, grower: Grower, log: str | None) -> Source:
    """The source that ``log`` names for a run folder; None: its inbox. Errors: ``MarmError`` where it cannot be read on."""
    if log is None:
        return Feedback(run, out, stream, grower)
    return _topic(run, out, stream, grower, log) if is_topic(log) else GrowingFolder(run, out, stream, grower, log)


def _topic(run: RunConfig, out: Path, stream: EventLog, grower: Grower, log: str) -> Feedback:
    try:
        topic = topic_of("log", log)
    except ValueError as error:
        raise SettingError(str(error)) from None
    settled, lateness = stream.manifest.growth.settled, run.kafka.lateness
    if not isinstance(settled, Offsets) and settled != START:
        raise FolderError(f"{out}: has learned from its inbox: go on with that, or train into a new folder")
    since = settled if isinstance(settled, Offsets) else None
    reader = TopicReader(run, topic, LiveLog(run, out / "events"), since, stream.manifest.last_time / 1e6 - lateness)
    return Feedback(run, out, stream, grower, reader, lateness)
