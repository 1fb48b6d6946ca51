"""What stages are shown of a pass: each rank what it attended to of its own users, and all ranks the events it is about."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marm.engine.batches import Asked
from marm.engine.engine import Attended
from marm.engine.exposures import Exposures
from marm.ranks import Group, on_all
from marm.types import I64, U64, Bool


@dataclass(frozen=True)
class Shown:
    """A pass of ranking."""

    seen: Exposures
    """Of this rank's users."""
    asked: Asked
    attended: Attended
    whole: Exposures
    """What it is about, of all ranks and in order of the stream: new exposures where it scores, all where it learns."""

    def received(self, task: int) -> "Received":
        """Those with a positive outcome of a task."""
        whole = self.whole
        at = np.flatnonzero(whole.labels[:, task] > 0.5)
        number = whole.number[at]
        _, mine, exposure = np.intersect1d(number, self.seen.number, True, return_indices=True)
        return Received(number, whole.user[at], whole.item[at], mine, exposure, self.asked.query_of_exposure[exposure])


@dataclass(frozen=True)
class Received:
    """Positive events (P) of all ranks: what retrieval is about. M of them are of this rank's users."""

    number: I64
    """Places in the stream, rising."""
    user: U64
    item: U64
    mine: I64
    """(M,) places among these events."""
    exposure: I64
    """(M,) places among the pass's exposures."""
    query: I64
    """(M,) the pass's queries that they are."""

    def __len__(self) -> int:
        return len(self.number)

    def pick(self, which: Bool) -> "Received":
        """Those that are chosen (P,)."""
        here, place = which[self.mine], np.cumsum(which) - 1
        own = place[self.mine[here]], self.exposure[here], self.query[here]
        return Received(self.number[which], self.user[which], self.item[which], *own)

    def on_all(self, group: Group, *columns: NDArray[Any]) -> list[NDArray[Any]]:
        """What each rank found of its own events (M, ...), on all ranks: (P, ...)."""
        place, *found = on_all(group, [self.mine, *columns])
        order = np.argsort(place)
        return [column[order] for column in found]

    def ragged(self, group: Group, values: I64, at: I64) -> tuple[I64, I64]:
        """The same for values ``at[m]`` to ``at[m + 1]`` of its own events (M + 1,)."""
        whose, values = on_all(group, [np.repeat(self.mine, np.diff(at)), values])
        counts = np.bincount(whose, minlength=len(self))
        return values[np.argsort(whose, kind="stable")], np.concatenate([[0], np.cumsum(counts)])
