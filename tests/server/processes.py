"""Commands as processes of their own, and clients that load a server and note what it answered."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Any

import httpx
import numpy as np

# A store whose file was moved away fails to read, as from a disk that is gone; mapped pages alone would live on.
_FAULTY = """
import sys
from contextlib import contextmanager
from marm.store.environment import Environment
read = Environment.read
@contextmanager
def failing(self):
    if not (self.path / "data.mdb").exists():
        raise OSError(5, "Input/output error")
    with read(self) as transaction:
        yield transaction
Environment.read = failing
from marm.cli.app import main
main()
"""


def begin(*words: object, faulty: bool = False, errors: Path) -> "subprocess.Popen[str]":
    """Start a command of marm; ``faulty``: its store fails while its file is away."""
    program = ["-c", _FAULTY] if faulty else ["-m", "marm"]
    with errors.open("ab") as file:
        command = [sys.executable, *program, *map(str, words)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, text=True)


def ended(process: "subprocess.Popen[str]", number: int = signal.SIGTERM) -> int:
    """Send a signal and wait for the end; the exit code."""
    if process.poll() is None:
        process.send_signal(number)
    process.communicate(timeout=60)
    return process.returncode


def resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    words = Path(f"/proc/{pid}/statm").read_text().split()
    return int(words[1]) * os.sysconf("SC_PAGE_SIZE")


def children(pid: int) -> dict[str, int]:
    """Pids of a process's children by the command of marm that they run."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        words = Path(f"/proc/{child}/cmdline").read_text().split("\0")
        if "marm" in words:  # else it has just begun, or just ended
            found[words[words.index("marm") + 1]] = int(child)
    return found


@dataclass
class Noted:
    """What clients were told."""

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    """Texts of answers of 500 and more, and calls without an answer."""
    accepted: dict[str, int] = field(default_factory=dict)
    """Events answered with 202, and their click."""
    cuts: set[int] = field(default_factory=set)
    degraded: list[float] = field(default_factory=list)
    """When answers were (``time.monotonic``)."""
    whole: list[float] = field(default_factory=list)
    """When answers were not."""
    looked: int = 0
    """Rows of histories that were looked at."""
    wrong: list[str] = field(default_factory=list)
    """Histories with a row of another user or position."""


class Client(Thread):
    """Asks, tells, and lets outcomes follow later, in turn, until stopped; a request without an answer is told again."""

    def __init__(self, name: str, address: str, users: Sequence[Any], items: Sequence[Any]) -> None:
        super().__init__(name=name, daemon=True)
        self.noted, self.end = Noted(), Event()
        self._address, self._users, self._items = address, users, items
        self._rng = np.random.default_rng(abs(hash(name)) % 2**32)
        self._open: list[tuple[str, int, float]] = []
        self._count = 0

    def run(self) -> None:
        """Until ``end`` is set; then the outcomes that are owed."""
        with httpx.Client(base_url=self._address, timeout=60) as self._http:
            while not self.end.is_set():
                for turn in self._turns():
                    turn()
                time.sleep(0.01)
            while self._open:
                self._follow_up()

    def _turns(self) -> list[Callable[[], None]]:
        return [self._ask, self._tell, self._recommend, self._ask, self._follow_up, self._items_told]

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
        return self._sent("POST", path, body)

    def _sent(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any] | None:
        try:
            answer = self._http.request(method, path, json=body)
        except httpx.HTTPError as error:
            self.noted.faults.append(f"{path}: {error!r}")
            time.sleep(0.1)
            return None
        self.noted.answers[path, answer.status_code] += 1
        if answer.status_code >= 500:
            self.noted.faults.append(f"{path} {answer.status_code}: {answer.text}")
        return answer.json() if answer.status_code < 300 else None

    def _user(self) -> Any:
        return self._users[int(self._rng.integers(len(self._users)))]

    def _noted(self, answer: dict[str, Any] | None) -> None:
        if answer:
            self.noted.cuts.add(answer["trace"]["cut"])
            (self.noted.degraded if answer["degraded"] else self.noted.whole).append(time.monotonic())

    def _ask(self) -> None:
        """For somebody known or, as often, a guest: of whom nothing can be at hand, so that the store is read."""
        user = self._user() if self._rng.random() < 0.5 else f"guest {self._rng.integers(2**40)}"
        self._noted(self._post("/v1/rank", {"user": user, "candidates": list(self._items)}))

    def _recommend(self) -> None:
        self._noted(self._post("/v1/recommend", {"user": self._user(), "k": 10}))

    def _tell(self) -> None:
        """Three events; of each, an outcome will follow. Told again, with the same ids, until taken."""
        events = []
        for _ in range(3):
            self._count += 1
            event_id = f"{self.name} {self._count}"
            user = self._user()
            events.append({"event_id": event_id, "user": user, "item": self._item_for(user)})
        while self._post("/v1/events", {"events": events}) is None:
            time.sleep(0.05)
        for event in events:
            click = int(self._rng.integers(2))
            self.noted.accepted[event["event_id"]] = click
            self._open.append((event["event_id"], click, time.monotonic()))

    def _item_for(self, user: Any) -> Any:
        del user
        return self._items[int(self._rng.integers(len(self._items)))]

    def _follow_up(self) -> None:
        due = [one for one in self._open if time.monotonic() - one[2] > 0.05]
        told = [{"event_id": name, "outcomes": {"click": click}} for name, click, _ in due]
        if told and self._post("/v1/events", {"events": told}) is None:
            return
        self._open = [one for one in self._open if one not in due]

    def _items_told(self) -> None:
        if self._count % 30 == 0:
            self._post("/v1/items", {"items": [{"item": f"new {self._count}", "features": {"shelf": "s1"}}]})


def together(clients: Sequence[Client]) -> Noted:
    """Stop clients, and join what they noted."""
    for client in clients:
        client.end.set()
    out = Noted()
    for client in clients:
        client.join(120)
        assert not client.is_alive(), f"{client.name} hangs"
        one = client.noted
        out.answers += one.answers
        out.faults += one.faults
        out.accepted |= one.accepted
        out.cuts |= one.cuts
        out.degraded += one.degraded
        out.whole += one.whole
        out.looked += one.looked
        out.wrong += one.wrong
    return out
