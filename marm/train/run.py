"""The commands: train a run folder, take it up again, evaluate it on a log it has not seen."""

import json
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from marm.config import RunConfig, to_toml
from marm.data.formats import written_as
from marm.data.prepare import prepare
from marm.data.snapshot import PIN
from marm.data.stream import EventLog
from marm.data.times import iso
from marm.errors import DataError, DiskError, FolderError
from marm.files import write_text
from marm.metrics.spool import Spool
from marm.ranks import ALONE, Group
from marm.report import write_report
from marm.stages import MeasuredStages
from marm.train.cut import Cut, cut_numbers, load_stages
from marm.train.erase import finish
from marm.train.finished import open_run
from marm.train.folder import LOCK, held
from marm.train.folder import run_of as run_of
from marm.train.ranked import check, check_alike
from marm.train.results import (
    age_figures,
    commit,
    config_hash,
    figures,
    machine,
    memory_figures,
    peak_rss,
    write_predictions,
)
from marm.train.setup import Parts, build, set_threads, threads_of
from marm.train.stepper import Stepper
from marm.train.tally import SearchTally, Tally
from marm.train.trainer import Progress, Trainer, flops_per_event, parameter_counts

_NOTHING = {".run.toml.tmp", LOCK}
"""What a training leaves that was stopped before it had begun."""
Preparing = Callable[[str, float], None]


def quiet(_: dict[str, Any]) -> None:
    """No progress."""


def train(
    run: RunConfig,
    out: Path,
    progress: Progress = quiet,
    preparing: Preparing | None = None,
    *,
    page: bool = True,
    group: Group = ALONE,
) -> dict[str, Any]:
    """Train on a log from its beginning into a new folder; returns what ``result.json`` holds.

    ``page``: whether its report is drawn, which a training among hundreds can do without; ``group``: who trains it together:
    all call this, and rank 0 returns the result.
    """
    _check(run, group)
    if group.rank:
        return _beside(out, group)
    if out.exists() and (not out.is_dir() or any(path.name not in _NOTHING for path in out.iterdir())):
        raise FolderError(f"{out}: not empty; name a new folder, or `marm resume {out}`")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskError(out, error) from None
    with held(out):
        write_text(out / "run.toml", to_toml(run))
        try:
            result = _from_start(run, out, progress, preparing, group)
        except DataError:
            _take_back(out)
            raise
    return _finished(out, result, page)


def _take_back(out: Path) -> None:
    """Let a folder in which nothing was begun be named again, once the data or the settings are mended."""
    if all(path.name in {"run.toml", *_NOTHING} for path in out.iterdir()):
        (out / "run.toml").unlink()


def _finished(out: Path, result: dict[str, Any], page: bool) -> dict[str, Any]:
    if page and not (out / "report.html").exists():
        write_report(out)
    return result


def _from_start(
    run: RunConfig, out: Path, progress: Progress, preparing: Preparing | None, group: Group
) -> dict[str, Any]:
    began = time.perf_counter()
    prepare(run, out / "events", preparing)
    _call(group, _START)
    return _go(run, out, group, None, began, progress)


def _check(run: RunConfig, group: Group) -> None:
    check(run, group.size)
    check_alike(run, group)


_DONE, _START, _CUT = range(3)
"""What rank 0 found in a folder: nothing to be done, or where to begin."""


def _call(group: Group, found: int) -> None:
    """Let the other ranks come in."""
    group.wait()
    group.agree(found)


def _beside(out: Path, group: Group) -> dict[str, Any]:
    """What every rank but 0 does: train along, once rank 0 has found where."""
    group.wait()
    found = group.agree(_DONE)
    if found != _DONE:
        _go(run_of(out), out, group, Cut(out) if found == _CUT else None, time.perf_counter(), quiet)
    return {}


def resume(
    out: Path,
    progress: Progress = quiet,
    preparing: Preparing | None = None,
    *,
    page: bool = True,
    group: Group = ALONE,
) -> dict[str, Any]:
    """Take up an interrupted training; before the first cut it starts over, after the end it gives the result again.

    ``group``: as for ``train``; of as many ranks as before, or more, or fewer.
    """
    _check(run_of(out), group)
    if group.rank:
        return _beside(out, group)
    finish(out)
    return _finished(out, _taken_up(out, progress, preparing, group), page)


def _taken_up(out: Path, progress: Progress, preparing: Preparing | None, group: Group) -> dict[str, Any]:
    if (out / "result.json").exists():
        _call(group, _DONE)
        return json.loads((out / "result.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]
    run = run_of(out)
    with held(out):
        if not cut_numbers(out):
            for path in out.iterdir():
                if path.name not in ("run.toml", PIN, LOCK):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            return _from_start(run, out, progress, preparing, group)
        _call(group, _CUT)
        return _go(run, out, group, Cut(out), time.perf_counter(), progress)


def _go(run: RunConfig, out: Path, group: Group, cut: Cut | None, began: float, progress: Progress) -> dict[str, Any]:
    """Train from a cut, or from the start, to the end."""
    threads = set_threads(run, threads_of(cut.state) if cut else None, group)
    log = EventLog(out / "events")
    with closing(Trainer(run, out, log, build(run, log, out, threads, group=group), threads)) as trainer:
        if cut:
            trainer.load(cut)
        else:
            trainer.start()
        before = cut.state["elapsed"] if cut else 0.0
        trainer.clock = lambda: before + time.perf_counter() - began
        trainer.run_to_end(progress)
        return _result(trainer)


def _result(trainer: Trainer) -> dict[str, Any]:
    """What came of a training that has ended, written by rank 0."""
    seconds, group = trainer.clock(), trainer.group
    run, parts, log, out = trainer.run, trainer.parts, trainer.log, trainer.folder
    tally, counts, memory = trainer.tally.over(group), parameter_counts(parts), parts.engine.memory
    peak, dropped, damaged = group.total(peak_rss(), memory.budget.dropped_users, memory.damaged_users)
    if group.rank:
        return {}
    rows = min(run.memory.window, tally.rows_per_query()) + (run.memory.search.picked if run.memory.search else 0)
    write_predictions(out / "predictions.parquet", run, trainer.spool, log)
    result = {
        "of": "training",
        "events": len(log) * run.train.passes,
        "events_per_s": round(len(log) * run.train.passes / seconds, 1),
        "peak_rss_bytes": peak,
        **figures(run, trainer.spool),
        "memory": memory_figures(parts, tally)
        | {"rows_refreshed": trainer.stepper.refresher.made, "users_dropped": dropped, "users_damaged": damaged},
        "segments": {"counts": tally.segments.tolist()},
        "parameters": counts,
        "flops_per_event": flops_per_event(parts.engine.model, rows),
        "age": age_figures(tally, parts.engine.memory.shape.depths),
        **({"stages": trainer.stages.result()} if trainer.stages else {}),
        "seconds": round(seconds, 2),
        **provenance(run, log),
    }
    write_text(out / "result.json", json.dumps(result, indent=1))
    return result


def provenance(run: RunConfig, log: EventLog) -> dict[str, Any]:
    """Where the figures come from."""
    return {
        "machine": machine(),
        "commit": commit(),
        "config_hash": config_hash(run),
        "data_hash": log.manifest.data_hash,
        "seed": run.train.seed,
        "config": run.model_dump(),
    }


def evaluate(
    out: Path, run: RunConfig, frozen: bool = False, progress: Progress = quiet, predictions: Path | None = None
) -> dict[str, Any]:
    """Score another log with a run's newest cut: nothing is learned, and states are remembered in a scratch copy.

    ``frozen``: nothing is remembered either; what a user did since the cut is a live tail of at most ``train.live`` events.
    """
    if predictions:
        written_as(predictions)
    with tempfile.TemporaryDirectory(prefix="marm-") as temporary:
        scratch = Path(temporary)
        prepare(run, scratch / "events")
        log, tally = EventLog(scratch / "events"), _tally(run)
        if trouble := _learned_already(log, EventLog(out / "events")):
            progress({"trouble": trouble})
        parts = open_run(out, scratch, log, run, copy=not frozen)
        with closing(parts.store), Spool(scratch / "predictions.spool", list(run.tasks)) as spool:
            stages = _measured_stages(out, run, parts, len(log)) if run.stages.any else None
            stepper = Stepper(run, log, parts.engine, None, tally, remembers=not frozen, stages=stages)
            stepper.steps = parts.engine.version
            began, position = time.perf_counter(), 0
            with torch.no_grad():
                while position < len(log):
                    position = stepper.step(position, len(log), spool, lambda: _make_room(parts))
                    progress({"events": position, "total": len(log)})
                    if trouble := tally.trouble(run.memory.slack):
                        progress({"trouble": trouble})
            seconds = time.perf_counter() - began
            if predictions:
                write_predictions(predictions, run, spool, log)
            return {
                "events": len(log),
                "events_per_s": round(len(log) / seconds, 1),
                "peak_rss_bytes": peak_rss(),
                **figures(run, spool),
                "memory": memory_figures(parts, tally),
                **({"stages": stages.result()} if stages else {}),
                **tally.figures(),
                **provenance(run, log),
            }


def _learned_already(log: EventLog, learned: EventLog) -> str | None:
    """What to say of a log whose events are not all later than those that the run learned."""
    begins, until = log.manifest.first_time, learned.manifest.last_time
    if begins > until:
        return None
    return (
        f"the log begins at {iso(begins)}, and the run learned what came up to {iso(until)}: if these are the same events, "
        "their figures are too good; those of the training itself were measured before learning (result.json)"
    )


def _measured_stages(out: Path, run: RunConfig, parts: Parts, events: int) -> MeasuredStages:
    """The stages of the cut whose weights ``parts`` has, to be measured over so many events."""
    stages = MeasuredStages(run, EventLog(out / "events"), parts.engine)
    load_stages(stages, Cut(out, parts.cut))
    stages.begin(events)
    return stages


def _tally(run: RunConfig) -> Tally:
    return SearchTally(run.attending) if run.memory.search else Tally()


def _make_room(parts: Parts) -> None:
    """Put what the scratch copy gained into it."""
    memory = parts.engine.memory
    parts.store.append(memory.delta(), parts.store.last_cut() + 1)
    memory.saved()
