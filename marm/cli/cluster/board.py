"""The demo's figures as they are: one small table on a terminal, a line now and then in a file."""

import time
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from marm.cli.cluster.load import Load
from marm.data.parts import Manifest
from marm.metrics.spool import Spool
from marm.train.cut import Cut, cut_numbers
from marm.train.files import Lines
from marm.train.folder import run_of

_EVERY, _LINE_EVERY = 0.5, 5.0
_OVER = 5.0
"""Seconds that rates are of."""


class Rate:
    """Growth a second of a number that may also fall."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, int]] = []

    def note(self, value: int) -> float:
        """What it is now; by how much it grew a second of late."""
        now = time.monotonic()
        self._seen = [(at, was) for at, was in self._seen if at > now - _OVER and was <= value] + [(now, value)]
        seconds = now - self._seen[0][0]
        return (value - self._seen[0][1]) / seconds if seconds else 0.0


class Board:
    """Shown on stderr from entering to leaving."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self.load: Load | None = None
        self._began, self._shown, self._said = time.monotonic(), 0.0, time.monotonic()
        self._scored, self._asked = Rate(), Rate()
        self.console = Console(stderr=True)
        self._live = Live(console=self.console, auto_refresh=False) if self.console.is_terminal else None

    def __enter__(self) -> "Board":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def say(self, what: str) -> None:
        """A line that stays, with the seconds since the beginning."""
        self.console.print(f"{time.monotonic() - self._began:6.1f} s  {what}", highlight=False, soft_wrap=True)

    def show(self) -> None:
        """The figures, if it is time for them."""
        now = time.monotonic()
        if now - self._shown < _EVERY:
            return
        self._shown, figures = now, self.figures()
        if self._live:
            table = Table(*figures)
            table.add_row(*figures.values())
            self._live.update(table, refresh=True)
        elif now - self._said > _LINE_EVERY:
            self._said = now
            self.say("  ".join(f"{name} {value}" for name, value in figures.items()))

    def scored(self) -> int:
        """Events scored so far."""
        spool = self._run / "predictions.spool"
        return len(Spool(spool, list(run_of(self._run).tasks))) if spool.exists() else 0

    def figures(self) -> dict[str, str]:
        """What is shown, by its heading."""
        load = self.load
        return {
            "events/s": f"{self._scored.note(self.scored()):,.0f}",
            "requests/s": f"{self._asked.note(load.total('answered')):,.1f}" if load else "-",
            "p99 ms": f"{1000 * load.p99():,.0f}" if load else "-",
            "degraded": f"{load.total('degraded'):,}" if load else "-",
            "hit rate": self._hit_rate(),
            "lag": f"{self.lag():,}",
            "cut": f"{max(cut_numbers(self._run), default=-1)}",
        }

    def _hit_rate(self) -> str:
        """Of the last window that was measured."""
        window = Lines(self._run / "metrics.jsonl").last() or {"hit_rate": []}
        rates = [rate for rate in window["hit_rate"] if rate is not None]
        return f"{sum(rates) / len(rates):.1%}" if rates else "-"

    def lag(self) -> int:
        """Events of the log, and told of, that are in no cut yet."""
        if not cut_numbers(self._run):
            return 0
        prepared = Manifest.read(self._run / "events").prepared
        return prepared + (len(self.load.told()) if self.load else 0) - int(Cut(self._run).state["position"])
