"""What `/metrics` shows, and of the last requests what percentiles are of."""

from collections import deque
from math import nan
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from marm.store import Near, Space

_SECONDS = (0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.1, 0.2, 0.5, 1, 2.5)
_RECENT = 1000
"""Requests of each endpoint that percentiles are of."""


class Recent:
    """Requests of one endpoint: how many, and how long the last ones took."""

    def __init__(self) -> None:
        self.requests = self.failed = 0
        self._seconds: deque[float] = deque(maxlen=_RECENT)

    def note(self, status: int, seconds: float) -> None:
        """A request was answered."""
        self.requests += 1
        self.failed += status >= 400
        self._seconds.append(seconds)

    def figures(self) -> dict[str, Any]:
        """Counts, and percentiles in milliseconds."""
        p50, p90, p99 = np.percentile(list(self._seconds), [50, 90, 99]) * 1000
        counts = {"requests": self.requests, "failed": self.failed, "recent": len(self._seconds)}
        return counts | {"p50_ms": round(p50, 3), "p90_ms": round(p90, 3), "p99_ms": round(p99, 3)}


class Metrics:
    """One server's; a registry of its own, so that two of them may live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.recent: dict[str, Recent] = {}
        self.requests = Counter("marm_requests", "Requests", ["path", "status"], registry=self.registry)
        self.seconds = Histogram(
            "marm_request_seconds", "Time of a request", ["path"], buckets=_SECONDS, registry=self.registry
        )
        self.together = Histogram(
            "marm_requests_together",
            "Requests scored in one pass",
            buckets=(1, 2, 4, 8, 16, 32),
            registry=self.registry,
        )
        self.degraded = Counter("marm_degraded", "Answers without memory", ["level"], registry=self.registry)
        self.failures = Counter("marm_store_failures", "Readings of the store that failed", registry=self.registry)
        self.busy = Counter("marm_busy", "Requests refused because too many waited", registry=self.registry)
        self.events = Counter("marm_events", "Feedback, by what became of it", ["what"], registry=self.registry)
        self.cut = Gauge("marm_cut", "Number of the cut that answers", registry=self.registry)
        self.swaps = Counter("marm_swaps", "New cuts swapped in", registry=self.registry)
        self.failed_swaps = Counter("marm_failed_swaps", "New cuts that could not be opened", registry=self.registry)
        self.tail = Gauge("marm_tail_events", "Events since the cut", registry=self.registry)
        self.damaged = Gauge(
            "marm_memory_damaged_users",
            "Users whose remembered rows are damaged and not read, of this cut",
            registry=self.registry,
        )
        self.store_rows = Gauge("marm_store_rows_bytes", "Remembered rows of this cut", registry=self.registry)
        self.store_used = Gauge(
            "marm_store_used_bytes",
            "Bytes used where the store lies, of servers by all that is there",
            registry=self.registry,
        )
        self.store_taken = Gauge(
            "marm_store_taken_bytes", "Bytes that the machines gave for them", registry=self.registry
        )
        self.store_fragmentation = Gauge(
            "marm_store_fragmentation_ratio", "Bytes taken for one used, at the worst server", registry=self.registry
        )
        self.near = {
            "bytes": Gauge("marm_near_bytes", "Of rows kept over cuts (serve.near)", registry=self.registry),
            "asked": Gauge("marm_near_asked", "Users read past hot memory", registry=self.registry),
            "found": Gauge("marm_near_found", "Of these, users that had not changed", registry=self.registry),
        }
        for level in ("raw", "none"):
            self.degraded.labels(level)
        self._add_learning()

    def _add_learning(self) -> None:
        """Of the run folder, not of this server: all servers of a folder show the same."""
        registry = self.registry
        self.cut_written = Gauge("marm_cut_written_seconds", "Unix time of the cut that answers", registry=registry)
        self.follow_seen = Gauge(
            "marm_follow_seen_seconds", "Unix time at which marm follow last said how far it is", registry=registry
        )
        self.follow_lag = Gauge(
            "marm_follow_lag_messages", "Messages that the broker has and marm follow has not read", registry=registry
        )
        self.follow_waiting = Gauge(
            "marm_follow_waiting_events", "Events that wait for their outcomes", registry=registry
        )
        self.followed = Gauge(
            "marm_followed_records", "What came to marm follow, by what became of it", ["what"], registry=registry
        )
        self.hit_rate = Gauge(
            "marm_window_hit_rate", "Share of rows found in memory, of the last window", registry=registry
        )
        self.age = Gauge(
            "marm_window_age_steps", "Median age of rows read, in updates, of the last window", registry=registry
        )
        for gauge in (self.follow_lag, self.hit_rate, self.age):
            gauge.set(float("nan"))

    def note(self, path: str, status: int, seconds: float) -> None:
        """A request was answered; on the event loop's thread."""
        self.requests.labels(path, status).inc()
        self.seconds.labels(path).observe(seconds)
        self.recent.setdefault(path, Recent()).note(status, seconds)

    def show_store(self, rows_bytes: int, space: Space | None) -> None:
        """What the store takes; not a number where that is not known."""
        self.store_rows.set(rows_bytes)
        self.store_used.set(space.used if space else nan)
        self.store_taken.set(space.taken if space else nan)
        self.store_fragmentation.set(space.fragmentation if space else nan)

    def show_near(self, near: Near) -> None:
        """What is kept over cuts, and how often it was good."""
        for name, gauge in self.near.items():
            gauge.set(getattr(near, name))

    def text(self) -> bytes:
        """In Prometheus' format."""
        return generate_latest(self.registry)
