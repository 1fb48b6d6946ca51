"""What a store at a distance holds of users, read before their turn to be scored comes: nobody else's pass waits for it."""

from collections import OrderedDict
from threading import Lock

import numpy as np

from marm.store.base import Facts, offsets
from marm.types import I64, U8, U64, Bool

_COLUMNS = ("next", "states_from", "first", "counts")
_Held = tuple[Facts, U8, Bool]


class Ahead:
    """Whole users, each given out once: then memory has them. Any thread may ask."""

    def __init__(self, most: int, most_known: int, count: int) -> None:
        """``most``: users kept until their turn; ``most_known``: that memory has; ``count``: newest facts read of each."""
        self._most, self._most_known, self._count = most, most_known, count
        self._held: OrderedDict[int, _Held] = OrderedDict()
        self._known: OrderedDict[int, None] = OrderedDict()
        self._lock = Lock()

    def knows(self, user: int) -> bool:
        """Whether a user was read already, so that memory most likely has it."""
        with self._lock:
            if user not in self._known:
                return False
            self._known.move_to_end(user)
            return True

    def keep(self, users: U64, found: Facts, states: U8, there: Bool) -> None:
        """Keep what was read of users, one by one; of those that never had their turn the oldest go."""
        row = offsets(found.counts)
        with self._lock:
            for i, user in enumerate(users.tolist()):
                rows = slice(row[i], row[i + 1])
                columns = {name: getattr(found, name)[i : i + 1] for name in _COLUMNS}
                facts = Facts(**columns, facts=found.facts[rows])
                self._held[user], self._known[user] = (facts, states[rows], there[rows]), None
            while len(self._held) > self._most:
                self._held.popitem(last=False)
            while len(self._known) > self._most_known:
                self._known.popitem(last=False)

    def facts(self, users: U64, count: int) -> Facts | None:
        """Of users; None unless every one is here, and was read with as many."""
        held = self._of(users)
        if not held or count != self._count:
            return None
        names = (*_COLUMNS, "facts")
        return Facts(**{name: np.concatenate([getattr(facts, name) for facts, _, _ in held]) for name in names})

    def states(self, users: U64, first: I64, counts: I64) -> tuple[U8, Bool] | None:
        """At the positions of their facts, and whether each is there; they are not here after. None as for facts."""
        held = self._of(users)
        asked = zip(first.tolist(), counts.tolist(), strict=True)
        if not held or [(int(facts.first[0]), len(states)) for facts, states, _ in held] != list(asked):
            return None
        with self._lock:
            for user in users.tolist():
                self._held.pop(user, None)
        return np.concatenate([states for _, states, _ in held]), np.concatenate([there for _, _, there in held])

    def _of(self, users: U64) -> list[_Held]:
        """What is held of users; nothing unless of all."""
        with self._lock:
            held = [self._held.get(user) for user in users.tolist()]
        return [one for one in held if one is not None] if None not in held else []
