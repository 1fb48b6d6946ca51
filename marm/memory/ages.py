"""Which states are too old to be read: by the steps of the weights since they were made, or by the time of the stream.

Such a row reads as one without a state, in training as in serving. Ages are reckoned where a pass begins for its user, so
they hang on nothing that comes after.
"""

from dataclasses import dataclass

import numpy as np

from marm.config import MemoryConfig
from marm.types import I64, Bool


@dataclass(frozen=True)
class Ages:
    """Limits, each 0 where there is none."""

    steps: int
    time: int
    """Microseconds between a row and its reading."""
    ttl: int
    """Microseconds after its newest row in which a user's states last."""

    @classmethod
    def of(cls, config: MemoryConfig) -> "Ages":
        """Those of a run."""
        return cls(config.max_age, int(config.max_age_seconds * 1e6), int(config.ttl * 1e6))

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return bool(self.steps or self.time or self.ttl)

    def young(self, facts: np.ndarray, now: I64, last: I64, version: int) -> Bool:
        """Rows (R,) that are young enough when read at ``now`` by these weights; ``last``: their user's newest row's time."""
        young = np.ones(len(facts), bool)
        if self.steps:
            young &= version - facts["version"].astype(np.int64) <= self.steps
        if self.time:
            young &= now - facts["time"] <= self.time
        if self.ttl:
            young &= now - last <= self.ttl
        return young


def newest(facts: np.ndarray, counts: I64) -> I64:
    """Time of the last of each user's rows (B,); 0 where there is none."""
    last = np.zeros(len(counts), np.int64)
    last[counts > 0] = facts["time"][(np.cumsum(counts) - 1)[counts > 0]]
    return last
