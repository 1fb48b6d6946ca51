"""What a run counts on its way, apart from predictions: rows read and found, their age, the lengths of segments."""

from typing import Any

import numpy as np

from marm.engine.batches import Asked
from marm.engine.engine import Attended

LONGEST = 64
"""Segments of this length and more share the last count."""

_AGES = 2**16


class Tally:
    """Sums since the start and since the last window; a function of the stream, so it goes into the cut."""

    def __init__(self) -> None:
        self.read, self.found, self.lost, self.segments_read = 0, 0, 0, 0
        self.segments = np.zeros(LONGEST, np.int64)
        self.ages = np.zeros(_AGES, np.int64)
        self._window = (0, 0)
        self._window_ages = np.zeros(_AGES, np.int64)
        self._told = False

    def trouble(self, slack: int) -> str | None:
        """Once rows were lost that a target should have seen: one line that says so, the first time that it is asked for."""
        if self._told or not self.lost:
            return None
        self._told = True
        return (
            f"memory.slack = {slack}: rings have let go of rows that targets should have seen (memory.rows_lost counts them):"
            " raise memory.slack"
        )

    def add(self, asked: Asked, attended: Attended, version: int, learned: bool) -> None:
        """Count a pass; segments are those that are learned from."""
        for share in attended.shares:
            recalled = share.recalled
            self.read += len(recalled.there)
            self.found += int(recalled.there.sum())
            self.lost += recalled.lost
            self.segments_read += len(recalled.counts)
            # Every hundredth row is enough for a median, and costs nothing.
            age = np.bincount(np.minimum(version - recalled.facts["version"][::97].astype(np.int64), _AGES - 1))
            self.ages[: len(age)] += age
            self._window_ages[: len(age)] += age
        if learned:
            lengths = np.bincount(asked.batch.segment[asked.query_of_exposure])
            counts = np.bincount(np.minimum(lengths[lengths > 0], LONGEST) - 1)
            self.segments[: len(counts)] += counts

    def rows_per_query(self) -> float:
        """Remembered rows that a segment read, on average."""
        return self.read / max(self.segments_read, 1)

    def window(self) -> dict[str, Any]:
        """Hit rate and median age since the last call."""
        read, found = self.read - self._window[0], self.found - self._window[1]
        out = {"hit_rate": found / read if read else None, "age": quantile(self._window_ages, 0.5)}
        self._window, self._window_ages = (self.read, self.found), np.zeros(_AGES, np.int64)
        return out

    def state(self) -> dict[str, Any]:
        """For the cut."""
        ages, window = np.flatnonzero(self.ages), np.flatnonzero(self._window_ages)
        return {
            "read": self.read,
            "found": self.found,
            "lost": self.lost,
            "segments_read": self.segments_read,
            "segments": self.segments.tolist(),
            "ages": [ages.tolist(), self.ages[ages].tolist()],
            "window": list(self._window),
            "window_ages": [window.tolist(), self._window_ages[window].tolist()],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take up where ``state`` was taken."""
        self.read, self.found, self.lost = state["read"], state["found"], state["lost"]
        self.segments_read = state["segments_read"]
        self.segments = np.array(state["segments"])
        self._window = (state["window"][0], state["window"][1])
        for name, into in (("ages", self.ages), ("window_ages", self._window_ages)):
            into[:] = 0
            into[np.array(state[name][0], np.int64)] = state[name][1]


def quantile(counts: np.ndarray, share: float) -> int | None:
    """The value at this share of a histogram; None where it is empty."""
    total = int(counts.sum())
    return int(np.searchsorted(np.cumsum(counts), share * total)) if total else None
