"""`marm` as a process that is killed at a moment of a cut: ``python -m tests.kafka.dying MOMENT CUT follow FOLDER ...``."""

import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from marm.cli.app import main
from marm.data import feedback, topic
from marm.store import redis
from marm.store.redis import RedisStore
from marm.store.redis_scripts import APPEND_SHA, MARK_SHA
from marm.store.redis_talk import Talk
from marm.train import trainer
from marm.train.trainer import Trainer

MOMENTS = {
    "its files lie beside": ("rename", 1),
    "it is visible": ("_write", 1),
    "some rows are written": ("rows", 2),
    "all rows are written": ("_mark", 1),
    "some markers are set": ("markers", 2),
    "all markers are set": ("drop_old_cuts", 1),
    "it is done": ("share_losses", 1),
}
"""What a process was about to do, and for which time in a cut."""
_PLACES: tuple[tuple[Any, str], ...] = (
    (Path, "rename"),
    (RedisStore, "_write"),
    (RedisStore, "_mark"),
    (trainer, "drop_old_cuts"),
    (trainer, "share_losses"),
)
_SENT = {APPEND_SHA: "rows", MARK_SHA: "markers"}
"""What goes to one node in one go."""


def in_small_batches(put: Callable[[Any, str, Any], None]) -> None:
    """Some messages at a time, so that there are many batches, and the same ones whoever is killed."""
    put(topic, "AT_ONCE", 20)
    put(feedback, "MOST_HELD", 5)


class Death:
    """SIGKILL at a moment of the first cut that has it, from a cut of this process on."""

    def __init__(self, moment: str, cut: int) -> None:
        self._at, self._cut = MOMENTS[moment], cut
        self._cuts, self._calls = 0, Counter[str]()
        for owner, name in _PLACES:
            setattr(owner, name, self._watched(getattr(owner, name), name))
        send, cut_once = Talk.send, Trainer.cut

        def sends(talk: Talk) -> None:
            command = talk.commands[0]
            self._meet(_SENT.get(command[1], "") if command[0] == "EVALSHA" else "")
            send(talk)

        def cuts(one: Trainer, cleared: bool = False) -> None:
            self._cuts += 1
            self._calls.clear()
            cut_once(one, cleared)

        setattr(Talk, "send", sends)  # noqa: B010
        setattr(Trainer, "cut", cuts)  # noqa: B010

    def _watched(self, real: Callable[..., Any], name: str) -> Callable[..., Any]:
        def one(*args: Any, **named: Any) -> Any:
            self._meet(name)
            return real(*args, **named)

        return one

    def _meet(self, name: str) -> None:
        self._calls[name] += 1
        if self._cuts >= self._cut and (name, self._calls[name]) == self._at:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    in_small_batches(setattr)
    redis.AT_ONCE = 1  # users by themselves, so that there is a way between
    Death(sys.argv[1], int(sys.argv[2]))
    del sys.argv[1:3]
    main()
