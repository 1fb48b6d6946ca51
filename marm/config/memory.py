"""The section about memory."""

from math import ceil
from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt, field_validator, model_validator

from marm.config.base import Settings
from marm.config.search import SearchConfig

REMOTE = ("redis", "rediss", "valkey")
DAY = 86_400.0
"""Seconds."""
NO_SECRETS = "a run file is no place for a password: leave it out, and set MARM_REDIS_USERNAME and MARM_REDIS_PASSWORD"


class MemoryConfig(Settings):
    """What is remembered of each exposure, and where."""

    url: str = "lmdb://memory"
    """Where rings live: ``arena://`` (this process), ``lmdb:///path`` (``lmdb://memory``: inside the run folder), or
    ``redis://host:port/name`` (one server or a cluster; ``rediss://`` by TLS)."""

    window: PositiveInt = 100
    """Most recent events a target attends to (N)."""

    codec: Literal["float32", "float16", "int8"] = "float16"
    """How the numbers of a state are stored; ``int8``: with a scale for each row and depth."""

    facts: PositiveInt = 10_000
    """Events of a user whose facts (item, time, outcome) are kept in the store."""

    slack: NonNegativeInt = 16
    """Rows beyond the window and the live tail, for ties; what does not fit is counted as overflow."""

    hot: PositiveInt = 2 * 1024**3
    """Bytes of the hot arena in this process, in front of the store."""

    budget: PositiveInt = 64 * 1024**3
    """Bytes of states over all users; beyond it the states of the least recently active users are dropped."""

    max_age: NonNegativeInt = 0
    """Steps of the weights after which a state reads as if it were not there; 0: never."""

    max_age_seconds: NonNegativeFloat = 0.0
    """The same in seconds of the stream's time since the row's event; 0: never."""

    ttl: NonNegativeFloat = 0.0
    """Seconds of the stream's time after a user's last event, after which all its states are dropped; 0: never."""

    redis_ttl_days: NonNegativeFloat = 0.0
    """Days of the clock after which Redis itself lets go of a user to whom nothing was appended, so that what abandoned runs
    left goes away; a net beneath ``ttl``, never shorter; 0: never."""

    refresh: NonNegativeInt = 0
    """Rows that each step makes anew with the weights of the day, of its users with the oldest states; 0: none."""

    store_top: bool = False
    """Remember the last layer's states too, for other stages."""

    keys: Literal["event", "item"] = "event"
    """What a state is found by: its event, or its item, as in the paper: of repeats the newest state that a target sees is
    read for all. For comparison."""

    search: SearchConfig | None = None
    """Search the events before the window; absent: the window is all that a target sees."""

    @field_validator("url")
    @classmethod
    def _no_password(cls, url: str) -> str:
        kind, mark, place = url.partition("://")
        if mark and kind in REMOTE and "@" in place:
            # The message does not repeat it, and no run file was written yet.
            raise ValueError(f"{kind}://...@...: {NO_SECRETS}")
        return url

    @model_validator(mode="after")
    def _net_lies_below(self) -> "MemoryConfig":
        days = self.redis_ttl_days
        if days and self.url.partition("://")[0] not in REMOTE:
            raise ValueError(f'redis_ttl_days = {days:g} is for redis:// alone, url = "{self.url}": set it to 0')
        if days and days * DAY < self.ttl:
            least = ceil(100 * self.ttl / DAY) / 100
            raise ValueError(
                f"redis_ttl_days = {days:g} is shorter than ttl = {self.ttl:g} seconds: give {least} or more, or 0"
            )
        return self
