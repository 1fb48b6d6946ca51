"""The demo: everything is started, one of each is killed under load, and what came of it is counted."""

import os
import secrets
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

from marm.cli.cluster.accounts import Account, accounts
from marm.cli.cluster.board import Board
from marm.cli.cluster.jobs import RANKS, Job, Server, end_all
from marm.cli.cluster.load import Load, People
from marm.cli.cluster.nodes import Nodes, binary
from marm.cli.demo import fresh
from marm.errors import FolderError
from marm.train.cut import cut_numbers
from marm.world import WorldConfig, simulate, write

SERVERS, CLIENTS = 2, 2
_EFFECTS = ("drift", "satiation")
_SETTINGS = ["memory.window=30", "train.live=30", "train.micro_batch=64", "train.window_events=500",
             "data.feedback_delay=0", "follow.wait=1", "follow.gather=0.5", "follow.cut_every=1"]  # fmt: skip
_CUTS = 20
"""Cuts of the training, about."""
_PATIENCE = 120.0
_STILL = 30.0
"""Seconds without a new cut after which no more is awaited."""
_NAP = 0.05
_FAULTS = 5
"""Wrong answers that are told one by one."""


class Demo:
    """All parts of it in one folder; whoever leaves it ends what still runs."""

    def __init__(self, folder: Path, users: int, items: int, events: int) -> None:
        self.folder, self.run, self._ending = folder, folder / "run", ExitStack()
        self._size = users, items, events
        self.board = Board(self.run)
        self.nodes = Nodes(folder / "redis", os.environ["MARM_REDIS_PASSWORD"])
        self.training, self.follower = Job("training", folder), Job("follow", folder)
        self.servers = [Server(f"server-{number}", folder, self.run) for number in range(SERVERS)]
        self.load: Load | None = None
        self._lag, self._since = -1, 0.0

    def __enter__(self) -> "Demo":
        self._ending.callback(self.nodes.end)
        self._ending.callback(end_all, [self.training, self.follower, *self.servers])
        self._ending.enter_context(self.board)
        return self

    def __exit__(self, *_: object) -> None:
        if self.load:
            self.load.leave()
        self._ending.close()

    def until(self, holds: Callable[[], bool], what: str) -> float:
        """Wait, showing figures; seconds it took. Errors: ``FolderError`` where it does not come, or a job fails."""
        began = time.monotonic()
        while not holds():
            if time.monotonic() > began + _PATIENCE:
                raise FolderError(f"{self.folder}: waited {_PATIENCE:.0f} s for {what}: the logs in it say more")
            self._tend()
            self.board.show()
            time.sleep(_NAP)
        return time.monotonic() - began

    def _tend(self) -> None:
        """The load begins when servers answer; what they are told is learned when the log is."""
        ready = [server.answers() for server in self.servers if server.running and not self.load]
        if ready and all(ready):
            self.load = self.board.load = Load(CLIENTS, People.of(self.folder / "log" / "log"), self._ports)
            self.load.start()
            self.board.say(
                f"{SERVERS} servers answer from the folder that is trained in; {CLIENTS} clients ask and tell"
            )
        if self.training.done() and not self.follower.running:
            self.follower.start(["follow", str(self.run), "--quiet"])
            self.board.say("the log is learned; `marm follow` goes on with what servers were told")
        self.follower.done()

    @property
    def _ports(self) -> list[int]:
        return [server.port for server in self.servers]

    def cut(self) -> int:
        """The newest; -1 before the first."""
        return max(cut_numbers(self.run), default=-1)

    def start(self) -> None:
        """Redis, an app's log, ranks that train on it, and servers."""
        say, (users, items, events) = self.board.say, self._size
        say(f"all of it lies in {self.folder}")
        self.nodes.start(self.until)
        say("Redis: 3 primaries, 3 replicas")
        log = self.folder / "log"
        write(simulate(WorldConfig(users=users, items=items, events=events, seed=0, effects=_EFFECTS)), log)
        say(f"a simulated app's log: {events:,} events of {users:,} users and {items:,} items")
        sets = [*_SETTINGS, f"memory.url={self.nodes.url}", f"train.cut_every={max(events // _CUTS, 1)}"]
        laid_over = [word for one in sets for word in ("--set", one)]
        words = ["train", str(log / "run.toml"), "--out", str(self.run), "--quiet", *laid_over]
        self.training.start(words, RANKS)
        self.until(lambda: self.cut() >= 0, "the first cut")
        say(f"{RANKS} ranks train")
        for server in self.servers:
            server.serve()

    def kill_a_rank(self) -> None:
        """The job ends, and is resumed from its last cut."""
        # A machine that compiles its loops first has servers late: the log must not be at its end by then.
        self.until(lambda: self.load is not None or self.cut() > _CUTS // 3, "servers to answer")
        if self.training.done():
            raise FolderError(f"{self.run}: learned before a rank could be killed: give more --events")
        before, began = self.cut(), time.monotonic()
        self.training.kill(RANKS - 1)
        end_all([self.training])
        self.training.start(["resume", str(self.run), "--quiet"], RANKS)
        self.until(lambda: self.cut() > before, "the resumed training")
        self.board.say(f"a rank killed, `marm resume`: the next cut {time.monotonic() - began:.1f} s later")

    def kill_a_primary(self) -> None:
        """A replica takes over; the one that was killed comes back as its replica."""
        self.until(lambda: self.load is not None, "servers to answer")
        struck, before = self.nodes.kill_primary(), self.cut()
        took = self.until(self.nodes.taken_over, "a replica to take over")
        cut = took + self.until(lambda: self.cut() > before, "the next cut")
        struck.start()
        self.until(self.nodes.is_whole, "the cluster to be whole")
        self.board.say(
            f"a Redis primary killed: a replica took over {took:.1f} s later, the next cut came after {cut:.1f} s"
        )

    def kill_a_server(self) -> None:
        """The other one answers meanwhile."""
        server, began = self.servers[0], time.monotonic()
        server.kill()
        server.serve()
        self.until(server.answers, f"{server.name} to answer again")
        self.board.say(f"a server killed: it answered again {time.monotonic() - began:.1f} s later")

    def _at_rest(self) -> bool:
        """Nothing is left to be learned, or nothing comes of it any more: the accounts will tell."""
        lag, now = self.board.lag(), time.monotonic()
        if lag != self._lag:
            self._lag, self._since = lag, now
        return lag == 0 or now - self._since > _STILL

    def finish(self) -> list[Account]:
        """The log is learned to its end, then what was told; then all is counted."""
        assert self.load is not None
        self.until(lambda: bool(self.follower.running), "the end of the log")
        before = self.cut()
        self.until(lambda: self.cut() > before + 1, "`marm follow`")
        self.load.stop()
        self.board.say(f"the load ends; its longest request took {self.load.slowest():.2f} s")
        self.until(self._at_rest, "`marm follow` to learn the rest")
        end_all([self.follower, *self.servers])
        self.follower.done()
        for fault in self.load.faults()[:_FAULTS]:
            self.board.say(fault[:300])
        return accounts(self.run, self.load)


def play(out: Path | None, users: int, items: int, events: int) -> list[Account]:
    """The whole of it; accounts. Errors: ``FolderError``, before anything is touched where there is no Redis."""
    binary()
    folder = fresh(out)
    # All that is started inherits it, and nothing is written with it.
    os.environ["MARM_REDIS_PASSWORD"] = secrets.token_urlsafe(24)
    for name in ("MARM_REDIS_USERNAME", "MARM_TOKEN"):
        os.environ.pop(name, None)
    signal.signal(signal.SIGTERM, _leave)
    with Demo(folder, users, items, events) as demo:
        demo.start()
        demo.kill_a_rank()
        demo.kill_a_primary()
        demo.kill_a_server()
        return demo.finish()


def _leave(number: int, frame: FrameType | None) -> None:
    del frame
    sys.exit(128 + number)
