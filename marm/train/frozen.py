"""What users did since a cut that neither learns nor remembers: their live tails, as a server at that cut shows them."""

from dataclasses import replace

import numpy as np

from marm.config import RunConfig
from marm.engine.batch import Batch
from marm.engine.batches import Asked, Drawn, ask
from marm.engine.exposures import Exposures, join
from marm.engine.live import moments, newest, with_tails
from marm.train.waiting import beyond
from marm.types import I64


class SinceCut:
    """Exposures since the cut. A target sees the newest ``train.live`` of its user's that are strictly before it.

    Where ``data.history`` filters, those count that pass it and whose outcome is known by then.
    """

    def __init__(self, run: RunConfig) -> None:
        self.most, self.hidden = run.train.live, run.data.history is not None
        self.held: Exposures | None = None

    def ask(self, seen: Exposures, drawn: Drawn) -> tuple[Asked, Batch, I64]:
        """Each user at each time as a segment of its own, with its tail; and the places of what is asked in the batch."""
        asked = ask(seen, drawn, moments(seen.user, seen.time))
        batch = replace(asked.batch, live=np.zeros(len(asked.batch), bool))
        before = join(self.held, seen) if self.held else seen
        order = np.lexsort((before.number, before.user))
        user, time, known = before.user[order], before.time[order], before.known[order]
        may = before.history[order]
        segment, place = newest(user, time, known, may, batch.users, batch.since, self.hidden, self.most)
        return asked, *with_tails(batch, before.pick(order[place]), segment)

    def add(self, seen: Exposures) -> None:
        """Exposures that were scored; those that no later target can see are let go."""
        held = join(self.held, seen) if self.held else seen
        now = held.time[-1]
        waits = (held.known > now) & self.hidden
        shown = np.flatnonzero(held.history & ~waits)
        keep = waits.copy()
        keep[shown[~beyond(held.user[shown], self.most)]] = True
        self.held = held.pick(np.flatnonzero(keep))
