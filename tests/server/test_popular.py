"""What is popular is counted by one thread while another is told what was shown."""

import time
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from marm.server.popular import Popular
from marm.types import I64, U64

LOGGED = {10: "a", 20: "b", 40: "d"}


class Log:
    """Three events; whoever asks for the names of items that were told is looked at in the middle of it."""

    def __init__(self) -> None:
        self.meanwhile = list[Popular]()
        self.seen = list[dict[int, Any]]()

    def __len__(self) -> int:
        return len(LOGGED)

    def item_hashes(self, numbers: I64) -> U64:
        return np.array(list(LOGGED), np.uint64)[numbers]

    def item_originals(self, numbers: I64) -> list[str]:
        return [list(LOGGED.values())[number] for number in numbers.tolist()]

    def as_prepared(self, _: str, told: Iterable[Any]) -> list[Any]:
        for popular in self.meanwhile[:1]:
            self.meanwhile.clear()
            self.seen.append(named(popular))
        return list(told)


def named(popular: Popular) -> dict[int, Any]:
    top = popular.top()
    return dict(zip(top.tolist(), popular.names(top), strict=True))


def popular_of(log: Log) -> Popular:
    run: Any = SimpleNamespace(serve=SimpleNamespace(popular=10, popular_events=100))
    return Popular(run, cast(Any, log), cast(Any, SimpleNamespace(told=SimpleNamespace(names={}))))


def test_what_is_popular_is_known_on_a_machine_that_just_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 0.5)
    assert named(popular_of(Log())) == LOGGED


@pytest.mark.parametrize("new", [5, 30, 50])
def test_an_item_that_is_being_told_is_named_rightly_or_not_at_all(new: int) -> None:
    log = Log()
    popular = popular_of(log)
    log.meanwhile.append(popular)
    popular.add([new], ["c"])
    assert log.seen == [LOGGED]
    popular._counted = -np.inf  # long ago
    assert named(popular) == LOGGED | {new: "c"}
