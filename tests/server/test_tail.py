"""Live tails are changed by the thread that is told events and by the one that swaps cuts, at the same time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Thread

import numpy as np
import pytest

from marm.data.live import Row
from marm.data.place import Position
from marm.server.tail import Tails, Told
from tests.engine.worlds import exposures, run_config

LEARNED = "learned by the cut"


@pytest.fixture
def tails() -> Tails:
    return Tails(run_config())


def told(user: int, event_id: str) -> Told:
    seen = exposures(0)
    at = int(np.flatnonzero(seen.user == user)[0])
    return Told(Position(1, 0), Row(event_id, user, 0, 0, {}), seen, at)


@dataclass
class Learned:
    """Ids that a cut holds; at the first look into them an event is told on another thread."""

    tell: Callable[[], None]
    telling: Thread | None = None

    def __contains__(self, event_id: object) -> bool:
        if self.telling is None:
            self.telling = Thread(target=self.tell)
            self.telling.start()
            # It may have to wait for the one who looks.
            self.telling.join(0.2)
        return event_id == LEARNED

    def __iter__(self) -> Iterator[str]:
        return iter([LEARNED])

    def __len__(self) -> int:
        return 1


@pytest.mark.parametrize("of", ["the user looked at", "another user"])
def test_what_is_told_while_tails_are_pruned_stays_in_them(tails: Tails, of: str) -> None:
    first, second = np.unique(exposures(0).user)[:2].tolist()
    for user in (first, second):
        tails.add(told(user, LEARNED))
    user = first if of == "the user looked at" else second
    learned = Learned(lambda: tails.add(told(user, "new")))
    tails.prune(Position(), learned)
    assert learned.telling is not None
    learned.telling.join()
    tails.prune(Position(), [LEARNED])
    assert {told.row.event_id for told in tails.of_user(user)} == {"new"} and len(tails) == 1


def test_what_outcomes_follow_while_tails_are_pruned_has_them(tails: Tails) -> None:
    user = int(exposures(0).user[0])
    old, new = told(user, "shown"), told(user, "shown")
    for one in (told(user, LEARNED), old):
        tails.add(one)
    learned = Learned(lambda: tails.amend(old, new))
    tails.prune(Position(), learned)
    assert learned.telling is not None
    learned.telling.join()
    assert tails.of_user(user) == (new,)
