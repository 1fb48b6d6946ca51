"""Times as requests give them and as the log writes them."""

import time
from datetime import UTC, datetime
from typing import Any

from marm.data.live import LiveLog
from marm.data.stream import EventLog
from marm.errors import DataError
from marm.train.asked import logged_unit

_FACTORS = {"s": 1_000_000, "ms": 1_000, "us": 1}
_LATEST = 1 << 62


class Times:
    """Reads and writes times in the log's own way."""

    def __init__(self, log: EventLog, live: LiveLog) -> None:
        self._live, self._says = live, log.manifest.time_unit
        unit = logged_unit(log)
        self._factor = _FACTORS[unit] if unit else None
        self.newest = log.manifest.last_time
        """Microseconds of the newest event that anybody told of."""

    def read(self, at: Any) -> int:
        """Microseconds. Errors: ``DataError``."""
        if self._factor is not None and isinstance(at, (int, float)):
            if 0 <= at < _LATEST / self._factor:  # first, for a product may be infinite
                return round(at * self._factor)
        elif self._factor is None or not isinstance(at, (int, float)):
            found, good = self._live.times([at])
            if good[0]:
                return int(found[0])
        raise DataError(f"at = {str(at)[:60]!r} is no time as the log writes times: give {self._says}")

    def now(self) -> int:
        """Microseconds of the wall clock; never before or at the newest event."""
        return max(time.time_ns() // 1000, self.newest + 1)

    def written(self, micros: int) -> int | float | str:
        """A time as the log writes it."""
        if self._factor is None:
            return datetime.fromtimestamp(micros / 1e6, UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
        return micros if self._factor == 1 else micros / self._factor
