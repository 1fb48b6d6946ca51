"""Learning goes on: what comes is appended to the stream, learned from in its order, and cut at an interval.

Where steps end hangs on the appended parts alone, so a process that was killed does what it would have done: a cut holds
the place in the stream, the stream's manifest the place in the inbox.
"""

import json
import signal
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from marm.config import RunConfig
from marm.data.following import Source, open_source
from marm.data.grow import Grower
from marm.data.inbox import end_of, trim
from marm.data.place import START, Offsets, mark_of
from marm.data.stream import EventLog
from marm.files import replacing, write_text
from marm.metrics.progressive import summarise
from marm.train.cut import Cut, cut_numbers
from marm.train.erase import carry_out, pending
from marm.train.folder import held
from marm.train.results import memory_figures, peak_rss
from marm.train.run import provenance, quiet, resume
from marm.train.setup import build, set_threads, threads_of
from marm.train.trainer import Progress, Trainer

PULSE = "following.json"
"""File of a run folder in which a process that follows says, while it does, how far it is."""
_PULSE_EVERY = 5.0
_NAP = 0.1
_SLICE = 0.5
"""Seconds of learning between two looks at what came."""


class Signals:
    """SIGTERM and SIGINT ask for an end between two steps."""

    def __init__(self) -> None:
        self.asked = False

    def watch(self) -> None:
        """Take them from now on; only the main thread may."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.asked = True


class Since(NamedTuple):
    """Where a process began to follow: what it tells at its end counts from there."""

    began: float
    position: int
    scored: int


def follow(
    out: Path,
    run: RunConfig,
    log: str | None = None,
    until_idle: float | None = None,
    progress: Progress = quiet,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Go on training a run folder with what comes to its inbox, to a topic, or with new files that match ``log``.

    Ends when ``stop`` says so between two steps, or when nothing came and nothing waits for ``until_idle`` seconds. A run
    that was interrupted in training is finished first. Errors: ``FolderError`` where another process follows it already.
    """
    resume(out, progress)
    since: Since | None = None
    while True:
        with held(out):
            carry_out(out)
            since, result = _follow(out, run, log, since, until_idle, progress, stop)
        if result is not None:
            write_text(out / "follow.json", json.dumps(result, indent=1))
            return result


def _follow(
    out: Path,
    run: RunConfig,
    log: str | None,
    since: Since | None,
    until_idle: float | None,
    progress: Progress,
    stop: Callable[[], bool],
) -> tuple[Since, dict[str, Any] | None]:
    """From the newest cut on; without a result if a user is to be erased first, which begins as after a restart."""
    with closing(Grower(out / "events")) as grower:
        stream, cut = EventLog(out / "events"), Cut(out)
        threads = set_threads(run, threads_of(cut.state))
        with (
            closing(open_source(run, out, stream, grower, log or run.followed)) as source,
            closing(Trainer(run, out, stream, build(run, stream, out, threads), threads)) as trainer,
        ):
            trainer.load(cut)
            following = Following(trainer, source, grower, since)
            following.run(lambda: stop() or pending(out), until_idle, progress)
            return following.since, None if pending(out) and not stop() else following.result()


class Following:
    """The loop: look, learn, cut."""

    def __init__(self, trainer: Trainer, source: Source, grower: Grower, since: Since | None = None) -> None:
        self.trainer, self.source, self._grower = trainer, source, grower
        self._cut_every = trainer.run.follow.cut_every
        began = self._busy = self._last_cut = time.monotonic()
        self._pulsed = -_PULSE_EVERY
        self.since = since or Since(began, trainer.position, len(trainer.spool))
        trainer.about = self._about
        elapsed = trainer.clock()
        trainer.clock = lambda: elapsed + time.monotonic() - began

    def _about(self) -> dict[str, Any]:
        """What a window's figures tell of the source."""
        lag = self.source.lag()
        return {} if lag is None else {"lag": lag}

    def run(self, stop: Callable[[], bool], until_idle: float | None, progress: Progress) -> None:
        """Until asked to stop, or idle; then a cut."""
        while not stop():
            came = self.source.poll(time.time())
            learned = self._learn(stop, progress)
            now = time.monotonic()
            if came or learned or len(self.source):
                self._busy = now
            elif until_idle is not None and now - self._busy >= until_idle:
                break
            if self.trainer.learned_since_cut and now - self._last_cut >= self._cut_every:
                self._cut()
            self._pulse(now)
            if not (came or learned):
                time.sleep(_NAP)
        self.source.note()
        if self.trainer.learned_since_cut:
            self._cut()
        self._tell()

    def _pulse(self, now: float) -> None:
        if now - self._pulsed >= _PULSE_EVERY:
            self._pulsed = now
            self._tell()

    def _tell(self) -> None:
        told: dict[str, Any] = {"at": time.time(), "cut": self.trainer.cut_number, "position": self.trainer.position}
        told |= {"waiting": len(self.source), "counts": self.source.counts, **self._about()}
        with replacing(self.trainer.folder / PULSE) as beside:
            beside.write_text(json.dumps(told), encoding="utf-8")

    def _learn(self, stop: Callable[[], bool], progress: Progress) -> bool:
        """Steps over what is in the stream, for a while; whether there was one."""
        until, learned = time.monotonic() + _SLICE, False
        while time.monotonic() < until and not stop() and self.trainer.go_on(progress):
            learned = True
        return learned

    def _cut(self) -> None:
        self.source.note()
        self.trainer.cut()
        self._last_cut = time.monotonic()
        folder = self.trainer.folder
        kept = [Cut(folder, number).state for number in cut_numbers(folder)]
        self._grower.merge(min(state["position"] for state in kept))
        self.trainer.log.refresh()
        marks = [mark_of(state.get("inbox", START)) for state in kept]
        inboxes = [mark for mark in marks if not isinstance(mark, Offsets)]
        # What a server told a topic stays in its inbox only to be shown: age alone decides.
        held = min(inboxes) if inboxes else end_of(folder / "inbox")
        trim(folder / "inbox", held, self.trainer.run.follow.keep, time.time())

    def result(self) -> dict[str, Any]:
        """What came and what was learned, since this began."""
        trainer, seconds = self.trainer, time.monotonic() - self.since.began
        events = trainer.position - self.since.position
        return {
            "events": events,
            "events_per_s": round(events / seconds, 1),
            "peak_rss_bytes": peak_rss(),
            "tasks": summarise(trainer.spool, trainer.kinds, self.since.scored, len(trainer.spool)),
            "memory": memory_figures(trainer.parts, trainer.tally),
            "cut": trainer.cut_number,
            "position": trainer.position,
            "inbox": trainer.log.manifest.growth.read,
            "waiting": len(self.source),
            **self._about(),
            "counts": self.source.counts,
            **({"stages": trainer.stages.result()} if trainer.stages else {}),
            "seconds": round(seconds, 2),
            **provenance(trainer.run, trainer.log),
        }
