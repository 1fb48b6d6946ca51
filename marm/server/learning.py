"""How learning goes, as the run folder tells it, among the server's figures: the trainer has no port of its own."""

import json
from pathlib import Path
from typing import Any

from marm.server.metrics import Metrics
from marm.train.files import Lines
from marm.train.follow import PULSE


class Learning:
    """Reads what `marm follow` wrote last, where it is another than before; on the thread that looks for cuts."""

    def __init__(self, folder: Path, metrics: Metrics) -> None:
        self._pulse, self._windows, self._metrics = folder / PULSE, Lines(folder / "metrics.jsonl"), metrics
        self._seen: dict[Path, int] = {}

    def look(self) -> None:
        """Set the gauges. Errors: ``OSError`` where the folder cannot be read."""
        if self._changed(self._pulse):
            self._show_pulse(json.loads(self._pulse.read_text(encoding="utf-8")))
        if self._changed(self._windows.path) and (line := self._windows.last()) is not None:
            self._show_window(line)

    def _changed(self, path: Path) -> bool:
        try:
            now = path.stat().st_mtime_ns
        except FileNotFoundError:
            return False
        before, self._seen[path] = self._seen.get(path), now
        return now != before

    def _show_pulse(self, told: dict[str, Any]) -> None:
        self._metrics.follow_seen.set(told["at"])
        self._metrics.follow_waiting.set(told["waiting"])
        self._metrics.follow_lag.set(told.get("lag", float("nan")))
        for what, count in told["counts"].items():
            self._metrics.followed.labels(what).set(count)

    def _show_window(self, line: dict[str, Any]) -> None:
        # One figure stands for every depth; a model that remembers nothing has none.
        for gauge, values in ((self._metrics.hit_rate, line["hit_rate"]), (self._metrics.age, line["age_steps"])):
            gauge.set(float("nan") if not values or values[0] is None else values[0])
