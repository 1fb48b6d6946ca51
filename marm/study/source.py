"""Where a study that replays a stream finds it: a finished run's own events, or a run file's log, prepared once."""

from collections.abc import Sequence
from pathlib import Path

from marm.config import RunConfig, load_run, to_toml
from marm.data.prepare import prepare
from marm.data.stream import EventLog
from marm.errors import FolderError
from marm.files import write_text
from marm.study.runs import own_memory
from marm.study.tables import origin
from marm.train.results import config_hash
from marm.train.run import provenance

Protocol = list[tuple[str, str]]


def protocol(run: RunConfig, log: EventLog, seeds: int) -> Protocol:
    """How a replay was measured, for its page."""
    seen = [
        ("Seeds", f"{run.train.seed} to {run.train.seed + seeds - 1}"),
        ("Measured on", "the last fifth of the stream"),
    ]
    return [*seen, *origin({**provenance(run, log), "events": len(log)})]


def stream_of(path: Path, sets: Sequence[str], out: Path) -> tuple[RunConfig, EventLog]:
    """The settings and events of a run folder, or of a run file whose log is prepared in the study's folder.

    Errors: ``FolderError`` where the study's folder holds a study of another run.
    """
    folder = path if path.is_dir() else None
    run = own_memory(load_run(path / "run.toml" if folder else path, sets))
    note = out / "run.toml"
    if note.exists() and config_hash(load_run(note)) != config_hash(run):
        raise FolderError(f"{out}: holds a study of other settings: name a new folder for this one")
    out.mkdir(parents=True, exist_ok=True)
    write_text(note, to_toml(run))
    events = (folder or out) / "events"
    if not events.exists():
        prepare(run, events)
    return run, EventLog(events)
