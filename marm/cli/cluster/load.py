"""A load behind a balancer: people are ranked for and react, and each row of their histories is looked at for whose it is."""

import json
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from itertools import count
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import polars as pl

Row = tuple[int, int]
"""A time, as the log writes it, and an item."""
_CANDIDATES, _LOOKED = 20, 100
_PAUSE, _AGAIN = 0.03, 0.1
_PATIENCE = 60.0
"""Seconds after which a request counts as unanswered."""
_BUSY = 503


@dataclass
class Noted:
    """What a client asked and was answered."""

    asked: int = 0
    answered: int = 0
    again: int = 0
    """Requests sent once more, as nobody was there, or whoever was had died or was too busy."""
    degraded: int = 0
    slowest: float = 0.0
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=1000))
    told: list[str] = field(default_factory=list)
    """Ids of acknowledged events."""
    histories: int = 0
    rows: int = 0
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class People:
    """A log's users, each with a history in the log's order, and its items."""

    histories: dict[int, list[Row]]
    items: list[int]

    @classmethod
    def of(cls, log: Path) -> "People":
        """Of a simulated log's folder."""
        frame = pl.read_parquet(log).sort("time", maintain_order=True)
        rows: dict[int, list[Row]] = {}
        for user, at, item in frame.select("user", "time", "item").iter_rows():
            rows.setdefault(user, []).append((at, item))
        return cls(rows, frame["item"].unique().sort().to_list())


def misplaced(shown: Sequence[Row], logged: Sequence[Row], told: Sequence[int]) -> bool:
    """Whether rows, oldest first, are something else than a run of a user's log and then one of items told since.

    What is told is stamped by the server, so of its times only that they come after the log's is known.
    """
    last = logged[-1][0]
    split = next((at for at, row in enumerate(shown) if row[0] > last), len(shown))
    return not (_is_run(shown[:split], logged) and _is_run([item for _, item in shown[split:]], told))


def _is_run(rows: Sequence[Any], whole: Sequence[Any]) -> bool:
    begins = [at for at, row in enumerate(whole) if row == rows[0]] if rows else [0]
    return any(list(rows) == list(whole[at : at + len(rows)]) for at in begins)


class Client(Thread):
    """Asks servers in turn, past one that is not there, until told to stop; what is not answered is asked again."""

    def __init__(self, number: int, of: int, people: People, ports: Sequence[int], stop: Event) -> None:
        """Client ``number`` of so many has every so-manieth user to itself."""
        super().__init__(name=f"client {number}", daemon=True)
        self.noted, self._people, self._ports, self._stop_asked = Noted(), people, ports, stop
        self._users = sorted(people.histories)[number::of]
        self._rng, self._turn, self._told = np.random.default_rng(number), count(number), count(1)
        self._open: dict[int, HTTPConnection] = {}
        self._of_user: dict[int, list[int]] = {}

    def run(self) -> None:
        """Until told to stop."""
        while not self._stop_asked.is_set():
            for turn in (self._rank, self._tell, self._rank, self._look):
                turn(int(self._rng.choice(self._users)))
                self._stop_asked.wait(_PAUSE)
        for connection in self._open.values():
            connection.close()

    def _rank(self, user: int) -> None:
        wanted = self._rng.choice(self._people.items, _CANDIDATES, replace=False).tolist()
        answer = self._ask("POST", "/v1/rank", {"user": user, "candidates": wanted})
        if answer and sorted(one["item"] for one in answer["items"]) != sorted(wanted):
            self.noted.faults.append(f"/v1/rank of user {user}: answered other items than were asked for")

    def _tell(self, user: int) -> None:
        """An exposure and what came of it; the same id however often it is sent."""
        item, done = int(self._rng.choice(self._people.items)), int(self._rng.integers(2))
        name = f"{self.name} event {next(self._told)}"
        event = {"event_id": name, "user": user, "item": item, "outcomes": {"click": done, "long_view": done}}
        answer = self._ask("POST", "/v1/events", {"events": [event]})
        if answer and answer["accepted"] + answer["duplicates"] == 1:
            self.noted.told.append(name)
            self._of_user.setdefault(user, []).append(item)
        elif answer:
            self.noted.faults.append(f"{name}: answered {answer}")

    def _look(self, user: int) -> None:
        answer = self._ask("GET", f"/v1/inspect/users/{user}?limit={_LOOKED}")
        if answer is None:
            return
        rows = [(round(row["time"]), row["item"]) for row in answer["rows"]][::-1]
        self.noted.histories += 1
        self.noted.rows += len(rows)
        if misplaced(rows, self._people.histories[user], self._of_user.get(user, [])):
            self.noted.faults.append(f"user {user} was shown rows of another user or position: {rows}")

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any] | None:
        """The answer, from whoever gives one; None if that is a fault, or if none came."""
        noted, began = self.noted, time.monotonic()
        noted.asked += 1
        while time.monotonic() < began + _PATIENCE:
            try:
                status, answer = self._once(method, path, body)
            except (OSError, HTTPException):
                status, answer = _BUSY, {}
            if status == _BUSY:
                noted.again += 1
                time.sleep(_AGAIN)
                continue
            took = time.monotonic() - began
            noted.answered += 1
            noted.seconds.append(took)
            noted.slowest = max(noted.slowest, took)
            if status < 300:
                noted.degraded += bool(answer.get("degraded"))
                return answer
            noted.faults.append(f"{path}: {status} {answer}")
            return None
        noted.faults.append(f"{path}: no answer within {_PATIENCE:.0f} s")
        return None

    def _once(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, dict[str, Any]]:
        port = self._ports[next(self._turn) % len(self._ports)]
        connection = self._open.setdefault(port, HTTPConnection("127.0.0.1", port, timeout=30))
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, {"content-type": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, HTTPException):
            connection.close()
            raise


class Load:
    """Clients, and what all of them noted."""

    def __init__(self, clients: int, people: People, ports: Sequence[int]) -> None:
        self._stop_asked = Event()
        self.clients = [Client(number, clients, people, ports, self._stop_asked) for number in range(clients)]

    def start(self) -> None:
        """Let all begin."""
        for client in self.clients:
            client.start()

    def leave(self) -> None:
        """Let no more be asked."""
        self._stop_asked.set()

    def stop(self) -> None:
        """Let all have their last answer, and end."""
        self.leave()
        for client in self.clients:
            if client.is_alive():
                client.join(2 * _PATIENCE)

    def total(self, name: str) -> int:
        """A count over all clients."""
        return sum(getattr(client.noted, name) for client in self.clients)

    def told(self) -> list[str]:
        """Ids of acknowledged events."""
        return [name for client in self.clients for name in client.noted.told]

    def faults(self) -> list[str]:
        """What went wrong."""
        return [fault for client in self.clients for fault in client.noted.faults]

    def slowest(self) -> float:
        """Seconds of the longest request."""
        return max(client.noted.slowest for client in self.clients)

    def p99(self) -> float:
        """Seconds within which 99 of the last 100 were answered; NaN before the first."""
        seconds = [took for client in self.clients for took in list(client.noted.seconds)]
        return float(np.percentile(seconds, 99)) if seconds else float("nan")
