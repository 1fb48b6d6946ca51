"""The loop over the stream, from cut to cut."""

from bisect import bisect_left
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from marm.config import RunConfig
from marm.data.journal import ItemJournal
from marm.data.stream import EventLog
from marm.errors import FolderError
from marm.metrics.progressive import summarise
from marm.metrics.spool import Spool
from marm.model.ranker import Ranker
from marm.model.reader import Size
from marm.stages import Saved, Stages
from marm.store import ArenaStore, Rows
from marm.train.applied import apply, catch_up
from marm.train.cut import Cut, drop_old_cuts, load_stages, load_weights, rows_tensors, write_cut
from marm.train.files import Lines
from marm.train.learner import Learner
from marm.train.ranked import gathered, share_losses
from marm.train.setup import Parts
from marm.train.stepper import Stepper
from marm.train.tally import Tally

Progress = Callable[[dict[str, Any]], None]
"""Called after each step with events, total, and the last window's figures; with ``trouble``, a line for people.

What has no events to count says how far it is by ``share`` and ``text``.
"""

WINDOW_EVENTS = 10_000
"""Events of a window of metrics, where nothing else is asked for and the log is long enough."""


class Trainer:
    """Streaming training of one run folder; between any two steps it can be killed and taken up again.

    On many ranks each runs one, in step; rank 0 alone writes to the folder and to a store that outlives the process.
    """

    def __init__(self, run: RunConfig, folder: Path, log: EventLog, parts: Parts, threads: int) -> None:
        self.run, self.folder, self.log, self.parts, self.threads = run, folder, log, parts, threads
        self.engine, self.memory, self.group = parts.engine, parts.engine.memory, parts.engine.group
        self.tally = Tally()
        self.learner = Learner(self.engine, run.train)
        self.stages = Stages(run, log, self.engine) if run.stages.any else None
        self.stepper = Stepper(run, log, self.engine, self.learner, self.tally, stages=self.stages)
        self.spool = Spool(folder / "predictions.spool", list(run.tasks))
        self.windows = Lines(folder / "metrics.jsonl")
        self._items, self._told = ItemJournal(log.folder.parent, log), 0
        self.position, self.passes, self.cut_number = 0, 0, -1
        self._window = (0, 0)
        self._since_cut = 0
        self.clock: Callable[[], float] = lambda: 0.0
        self.about: Callable[[], dict[str, Any]] = dict
        """What else the figures of a window tell."""

    @property
    def kinds(self) -> dict[str, str]:
        """Kind of each task."""
        return {name: task.kind for name, task in self.run.tasks.items()}

    def start(self) -> None:
        """Cut 0, before the first event, into a store that nobody has written to."""
        if self.parts.store.last_cut() >= 0:
            raise FolderError(
                f"{self.run.memory.url}: already holds the rows of a run: name a new store in memory.url and a new folder"
            )
        self.cut()

    def close(self) -> None:
        """Give back the store and the files."""
        self.spool.close()
        self.parts.store.close()

    def load(self, cut: Cut) -> None:
        """Take up where a cut was made; its delta goes into the store if that was missed."""
        load_weights(self.engine.model, self.engine.table, cut)
        state = cut.state
        self.learner.load(cut.tensors("optimizer"), state["learned"])
        if self.stages:
            load_stages(self.stages, cut)
        self._show_items(state.get("items", 0))
        self.stepper.steps, self.position, self.passes = state["steps"], state["position"], state["passes"]
        self.stepper.refresher.saved, self.stepper.refresher.made = state["refresh"]
        self.cut_number, self._window = cut.number, (state["window"][0], state["window"][1])
        self.clock = lambda: state["elapsed"]
        store = self.parts.store
        if self.group.rank == 0:
            self.tally.load(state["tally"])
            self.spool.truncate(state["scored"])
            self.windows.truncate(state["windows"])
            self.memory.budget.dropped_users = state["dropped_users"]
            self.memory.damaged_users = state["damaged_users"]
        if self.group.rank == 0 or not store.durable:
            catch_up(store, cut, self.run.memory.url)
        self.group.wait()
        self.memory.adopt()
        waiting = (np.array(state[name]) for name in ("waiting", "waiting_remembered"))
        self.stepper.load_waiting(*(w.astype(kind) for w, kind in zip(waiting, (np.int64, bool), strict=True)))

    def cut(self, cleared: bool = False) -> None:
        """Make everything up to here durable: files, then the rename that makes it visible, then the store."""
        rows, number, store = self.memory.delta(), self.cut_number + 1, self.parts.store
        whole, table, state = gathered(self.group, rows), self.engine.table.state(), self._state()
        stages = self.stages.save() if self.stages else None
        if self.group.rank == 0:
            self._write(number, whole, table, state | {"cleared": cleared}, stages)
            drop_old_cuts(self.folder)
        elif not store.durable:
            apply(store, number, rows, cleared)
        self.group.wait()
        share_losses(self.group, store, rows)
        self.cut_number, self._since_cut = number, 0
        self.memory.saved()

    def _write(
        self, number: int, rows: Rows, table: dict[str, Tensor], state: dict[str, Any], stages: Saved | None
    ) -> None:
        store, cleared = self.parts.store, state["cleared"]
        with self.learner.scoring():
            model = {k: v.detach().cpu().clone() for k, v in self.engine.model.state_dict().items()}
        parts = {
            "model": model,
            "table": table,
            "optimizer": self.learner.state(),
            "memory": rows_tensors(rows),
        }
        files: dict[str, bytes] = {}
        if stages:
            parts |= stages.tensors
            state["stages"], files = stages.numbers, stages.files
        if isinstance(store, ArenaStore):
            # It dies with the process, so the cut carries all of it, this delta included.
            apply(store, number, rows, cleared)
            write_cut(self.folder, number, parts, state, files, store.dump)
        else:
            write_cut(self.folder, number, parts, state, files)
            apply(store, number, rows, cleared)

    def _state(self) -> dict[str, Any]:
        waiting, budget = self.stepper.waiting, self.memory.budget
        dropped, damaged = self.group.total(budget.dropped_users, self.memory.damaged_users)
        tally = self.tally.over(self.group)
        if self.group.rank:
            return {}
        self.spool.flush()
        return {
            "position": self.position,
            "passes": self.passes,
            "steps": self.stepper.steps,
            "refresh": [self.stepper.refresher.saved, self.stepper.refresher.made],
            "learned": self.learner.adam.steps,
            "scored": len(self.spool),
            "windows": self.windows.flush(),
            "window": list(self._window),
            "elapsed": self.clock(),
            "waiting": waiting.held.number.tolist() if waiting.held else [],
            "waiting_remembered": waiting.remembered.tolist(),
            "dropped_users": dropped,
            "damaged_users": damaged,
            "tally": tally.state(),
            "threads": self.threads,
            "ranks": self.group.size,
            "inbox": self.log.settled(self.position),
            "items": self._told,
            "data_hash": self.log.manifest.data_hash,
        }

    def run_to_end(self, progress: Progress) -> None:
        """Learn from the rest of the stream."""
        while self.passes < self.run.train.passes:
            while self.position < len(self.log):
                self._step(progress)
            self.stepper.finish(self.cut)
            if not self.passes:
                self._close_window(progress)
            self.passes += 1
            if self.passes < self.run.train.passes:
                self.position = 0
                self.memory.forget()
                self.cut(cleared=True)
        self.cut()

    def run_until(self, event: int, progress: Progress) -> None:
        """Learn from the stream up to an event, or a little beyond, where a step ends."""
        while self.position < event:
            self._step(progress)
        if event == len(self.log):
            self.stepper.finish(self.cut)

    def go_on(self, progress: Progress) -> bool:
        """After the last pass: one step over what was appended since, if there is anything; whether there was."""
        assert self.passes == self.run.train.passes, "the log as it was prepared comes first"
        if self.position == len(self.log):
            return False
        self._step(progress)
        return True

    @property
    def learned_since_cut(self) -> int:
        """Events that a cut now would add."""
        return self._since_cut

    def _step(self, progress: Progress) -> None:
        # Each event is measured once: in the first pass, or when it comes after the last.
        measured = self.passes in (0, self.run.train.passes)
        before = self.position
        self._show_items(self.log.items_told(before + 1))
        end = self.log.step_end(before)
        self.position = self.stepper.step(before, end, self.spool if measured else None, self.cut)
        self._since_cut += self.position - before
        every = self.run.train.window_events or WINDOW_EVENTS
        if self.run.memory.ttl and before // every < self.position // every:
            # By the stream's position, never by cuts, which memory may force at another place in a resumed run.
            self.memory.drop_unseen(self._unseen_since())
        if measured and self.position - self._window[0] >= self._window_events:
            self._close_window(progress)
        if self._since_cut >= self.run.train.cut_every:
            self.cut()
        if trouble := self.tally.trouble(self.run.memory.slack):
            progress({"trouble": trouble})
        progress(self._done())

    @property
    def _window_events(self) -> int:
        """A short log has windows too, ten or so; what follows it has no length to take a tenth of."""
        prepared = self.log.manifest.prepared
        tenth = prepared // 10 if self.position <= prepared else WINDOW_EVENTS
        return self.run.train.window_events or min(WINDOW_EVENTS, max(tenth, 1))

    def _done(self) -> dict[str, int]:
        """How far it is: through all passes, or, after the last, through a stream that grows."""
        whole, passes = len(self.log), self.run.train.passes
        if self.passes == passes:
            return {"events": self.position, "total": whole}
        return {"events": self.position + self.passes * whole, "total": whole * passes}

    def _show_items(self, size: int) -> None:
        """Items as they are known after so many bytes of their journal."""
        if size != self._told:
            told = self._items.at(size)
            self.engine.show_items(told)
            if self.stages:
                self.stages.show_items(told)
            self._told = size

    def _unseen_since(self) -> int:
        """The first event of those that are not older than ``memory.ttl``."""
        read = self.log.read
        oldest = int(read(self.position - 1, self.position).time[0]) - int(self.run.memory.ttl * 1e6)
        return bisect_left(range(self.position), oldest, key=lambda at: int(read(at, at + 1).time[0]))

    def _close_window(self, progress: Progress) -> None:
        """Measure what was scored since the last window."""
        if self.position == self._window[0]:
            return
        seen, depths = self.tally.window(self.group), self.memory.shape.depths
        (rows,) = self.group.total(self.memory.budget.rows)
        scored, self._window = self._window[1], (self.position, len(self.spool))
        if self.group.rank:
            return
        last = self.spool.read(len(self.spool) - 1, len(self.spool))["number"][0]
        line = {
            "events": int(last) + 1,
            "time": int(self.log.read(int(last), int(last) + 1).time[0]),
            "seconds": round(self.clock(), 3),
            "events_per_s": round((int(last) + 1) / max(self.clock(), 1e-9), 1),
            "tasks": summarise(self.spool, self.kinds, scored, len(self.spool)),
            "hit_rate": [seen["hit_rate"]] * depths,
            "age_steps": [seen["age"]] * depths,
            "memory_rows": rows,
            "memory_bytes": rows * self.memory.shape.state_bytes,
        }
        if self.stages:
            line["stages"] = self.stages.window()
        line |= self.about()
        self.windows.append(line)
        progress({"window": line})


def flops_per_event(model: Ranker, window: float, together: int = 256) -> int:
    """Multiply-adds x 2 of scoring one target of as many users as are asked ``together``; learning costs three times that.

    Counted from the shapes: each target has ``window`` rows of its own, those that a search picks included; its looking is not.
    """
    rows = round(together * window)
    return model.flops(Size(together, rows, rows + together, round(window))) // together


def parameter_counts(parts: Parts) -> dict[str, int]:
    """Dense and sparse parameters, and how many rows of the table were ever learned."""
    table = parts.engine.table
    return {
        "dense": sum(p.numel() for p in parts.engine.model.parameters()),
        "sparse": len(table) * table.weight.shape[1],
        "sparse_touched": table.learned() * table.weight.shape[1],
    }
