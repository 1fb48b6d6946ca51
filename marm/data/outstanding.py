"""How many events of a user wait for their outcomes at once: what rings must hold beyond a window."""

import numba as nb
import numpy as np

from marm.types import I64, U64


class Outstanding:
    """Counts over blocks in the stream's order; an event waits until its outcome and all before it are known."""

    def __init__(self) -> None:
        self.most = 0
        """Of any user at any of its events, those before it whose outcomes are not known yet."""
        self._user, self._known = np.zeros(0, np.uint64), np.zeros(0, np.int64)

    def add(self, user: U64, time: I64, known: I64) -> None:
        """The next block (n,); times in microseconds."""
        # What still waits from earlier blocks is asked about nothing: it counts as before all time.
        users, knowns = np.concatenate([self._user, user]), np.concatenate([self._known, known])
        times = np.concatenate([np.full(len(self._user), np.iinfo(np.int64).min), time])
        order = np.argsort(users, kind="stable")
        most, known_by = _most_waiting(users[order], times[order], knowns[order])
        waits = order[known_by > time[-1]]
        waits.sort()
        self.most = max(self.most, most)
        self._user, self._known = users[waits], knowns[waits]


@nb.njit(cache=True, nogil=True)
def _most_waiting(user: U64, time: I64, known: I64) -> tuple[int, I64]:
    """Most that wait at one event, and when each is known with all before it; in order of user and stream."""
    known_by, most, first = known.copy(), 0, 0
    for k in range(len(user)):
        if k > 0 and user[k] == user[k - 1]:
            known_by[k] = max(known[k], known_by[k - 1])
        else:
            first = k
        while first < k and known_by[first] <= time[k]:
            first += 1
        if time[k] > -(1 << 62):
            most = max(most, k - first)
    return most, known_by
