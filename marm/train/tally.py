"""What a run counts on its way, apart from predictions: rows read and found, their age, the lengths of segments."""

from typing import Any

import numpy as np
import torch

from marm.engine.batches import Asked
from marm.engine.engine import Attended
from marm.ranks import Group

LONGEST = 64
"""Segments of this length and more share the last count."""

_AGES = 2**16

_SAMPLED = 20
"""A search is held against the exact one in one pass of this many."""


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

    def figures(self) -> dict[str, Any]:
        """What only some tallies find, for the result."""
        return {}

    def rows_per_query(self) -> float:
        """Remembered rows that a segment read, on average."""
        return self.read / max(self.segments_read, 1)

    def over(self, group: Group) -> "Tally":
        """What all ranks have counted."""
        if group.size == 1:
            return self
        arrays = [self.segments, self.ages, self._window_ages]
        counts = [self.read, self.found, self.lost, self.segments_read, *self._window]
        flat = torch.from_numpy(np.concatenate([counts, *arrays]))
        group.add_up(flat)
        summed, rest = flat[: len(counts)].tolist(), flat.numpy()[len(counts) :]
        whole = Tally()
        whole.read, whole.found, whole.lost, whole.segments_read = summed[:4]
        whole._window = (summed[4], summed[5])
        whole.segments, whole.ages, whole._window_ages = np.split(rest, np.cumsum([len(a) for a in arrays])[:-1])
        return whole

    def window(self, group: Group) -> dict[str, Any]:
        """Hit rate and median age since the last call, of all ranks."""
        whole = self.over(group)
        read, found = whole.read - whole._window[0], whole.found - whole._window[1]
        out = {"hit_rate": found / read if read else None, "age": quantile(whole._window_ages, 0.5)}
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


class SearchTally(Tally):
    """Counts too, on a sample of passes, what an exact search would have picked: for evaluations, since it takes long."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self._passes, self._recall = 0, np.zeros((layers, 2), np.int64)

    def add(self, asked: Asked, attended: Attended, version: int, learned: bool) -> None:
        """Count a pass, before anything of it is remembered."""
        super().add(asked, attended, version, learned)
        if self._passes % _SAMPLED == 0:
            self._recall += sum(share.search.recall() for share in attended.shares if share.search)
        self._passes += 1

    def figures(self) -> dict[str, Any]:
        """By layer, the share of the exact search's picks that were picked; None where nothing was to be found."""
        return {"search": {"recall": [int(f) / int(w) if w else None for f, w in self._recall]}}


def quantile(counts: np.ndarray, share: float) -> int | None:
    """The value at this share of a histogram; None where it is empty."""
    total = int(counts.sum())
    return int(np.searchsorted(np.cumsum(counts), share * total)) if total else None
