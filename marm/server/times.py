"""Times as requests give them and as the log writes them."""

import time
from datetime import UTC, datetime
from typing import Any

from marm.data.live import LiveLog
from marm.data.stream import EventLog
from marm.data.times import MICROS, in_form
from marm.errors import DataError
from marm.train.asked import logged_clock

_LATEST = 1 << 62


class Times:
    """Reads and writes times in the log's own way."""

    def __init__(self, log: EventLog, live: LiveLog) -> None:
        self._live, self._clock = live, logged_clock(log)
        self._ratio = MICROS.get(self._clock.unit)
        self.newest = log.manifest.last_time
        """Microseconds of the newest event that anybody told of."""

    def read(self, at: Any, name: str = "at") -> int:
        """Microseconds. Errors: ``DataError``, which says what it is called."""
        if self._ratio is not None and isinstance(at, (int, float)):
            by, over = self._ratio
            if 0 <= at < _LATEST / by:  # first, for a product may be infinite
                return at * by // over if isinstance(at, int) else round(at * by / over)
        elif self._ratio is None or not isinstance(at, (int, float)):
            found, good = self._live.times([at])
            if good[0]:
                return int(found[0])
        raise DataError(f"{name} = {str(at)[:60]!r} is no time as the log writes times: give {self._clock.says()}")

    def now(self) -> int:
        """Microseconds of the wall clock; never before or at the newest event."""
        return max(time.time_ns() // 1000, self.newest + 1)

    def written(self, micros: int) -> int | float | str:
        """A time as the log writes it."""
        if self._clock.form:
            return in_form(micros, self._clock.form)
        if self._ratio is None:
            return datetime.fromtimestamp(micros / 1e6, UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
        by, over = self._ratio
        return micros * over if by == 1 else micros / by
