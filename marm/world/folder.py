"""A simulation as a folder, ready to train on; it appears whole or not at all."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

from marm.errors import DiskError, FolderError
from marm.world.config import WorldConfig
from marm.world.log import Progress, Simulation
from marm.world.make import World, make_world
from marm.world.outcomes import Intercepts
from marm.world.tables import items_table, log_table, truth_table, users_table

_PART = 2_000_000


def check_free(out: Path) -> None:
    """Refuse a folder that holds something. Errors: ``FolderError``, ``DiskError`` if it cannot be read."""
    try:
        taken = any(out.iterdir()) if out.is_dir() else out.exists()
    except OSError as error:
        raise DiskError(out, error) from None
    if taken:
        raise FolderError(f"{out}: there is something already; name a new folder, or remove this one")


def write(simulation: Simulation, out: Path, progress: Progress | None = None) -> None:
    """Write all files beside ``out``, then rename. Errors: ``FolderError``, ``DiskError``."""
    check_free(out)
    out = out.resolve()
    beside = out.with_name(f".{out.name}.partial")
    try:
        shutil.rmtree(beside, ignore_errors=True)
        (beside / "log").mkdir(parents=True)
        (beside / "truth").mkdir()
        _write_tables(simulation, beside, progress)
        _write_texts(simulation, beside, out.name)
        beside.replace(out)
    except OSError as error:
        raise DiskError(out, error) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _write_tables(simulation: Simulation, folder: Path, progress: Progress | None) -> None:
    items_table(simulation.world).write_parquet(folder / "items.parquet")
    users_table(simulation.world).write_parquet(folder / "users.parquet")
    order = simulation.log.order
    for number, first in enumerate(range(0, len(order), _PART)):
        rows = order[first : first + _PART]
        name = f"part-{number:05d}.parquet"
        log_table(simulation, rows).write_parquet(folder / "log" / name)
        truth_table(simulation, rows).write_parquet(folder / "truth" / name)
        if progress:
            progress(len(rows))


def _write_texts(simulation: Simulation, folder: Path, name: str) -> None:
    (folder / "run.toml").write_text(run_file(".", simulation.world.config.content), encoding="utf-8")
    settings = {
        "synthetic": True,
        "settings": asdict(simulation.world.config),
        "intercepts": simulation.base._asdict(),
        "returning_authors": simulation.world.catalogue.returning,
    }
    (folder / "world.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(_readme(simulation, name), encoding="utf-8")


def read_world(folder: Path) -> tuple[World, Intercepts]:
    """The world that a folder was simulated from, and its intercepts. Errors: ``FolderError``."""
    try:
        told = json.loads((folder / "world.json").read_text(encoding="utf-8"))
        config = WorldConfig(**{**told["settings"], "effects": tuple(told["settings"]["effects"])})
        return make_world(config), Intercepts(**told["intercepts"])
    except (OSError, ValueError, KeyError, TypeError):
        raise FolderError(f"{folder}: holds no world.json that can be read: name a folder of `marm simulate`") from None


def run_file(path: str, content: int = 0) -> str:
    """The run file of a simulated log that lies at ``path``."""
    return _RUN.format(path=path, content='content = "vector"\n' if content else "")


def _readme(simulation: Simulation, name: str) -> str:
    config = simulation.world.config
    return _README.format(
        name=name,
        users=config.users,
        items=config.items,
        events=config.events,
        seed=config.seed,
        effects=", ".join(config.effects) or "none",
    )


_RUN = """\
[data]
path = "{path}"
log = "log"
user = "user"
item = "item"
time = "time"
time_unit = "ms"
feedback_delay = "watch_time"

[data.items]
file = "items.parquet"
id = "item"

[data.users]
file = "users.parquet"
id = "user"

[features.item]
author = "category"
category = "category"
tags = "tags"
duration = "number"
{content}
[features.user]
activity = "category"
age = "category"
region = "category"

[features.context]
page = "category"
hour = "category"

[tasks.click]
column = "click"
equals = 1

[tasks.long_view]
column = "long_view"
equals = 1

[tasks.like]
column = "like"
equals = 1

[tasks.follow]
column = "follow"
equals = 1

[tasks.comment]
column = "comment"
equals = 1

[tasks.watch_ratio]
column = "watch_ratio"
kind = "regression"
"""

_README = """\
# {name}: a simulated short-video app

Synthetic data: {events:,} exposures of {items:,} items to {users:,} users; seed {seed}; effects: {effects}.
No person and no video in it is real. `world.json` holds every setting.

| file | holds |
|---|---|
| `log/` | exposures in the order of time (milliseconds); members of a slate share one time |
| `items.parquet`, `users.parquet` | what is known of items and users beforehand |
| `truth/` | row for row beside the log: the true chance of each action, and the expected watch ratio (a ceiling) |
| `run.toml` | `marm train run.toml --out RUN` trains on this folder |

Rates, pauses between exposures and the spread of activity and popularity follow aggregates published with KuaiRand
(Gao et al., CIKM 2022, doi:10.1145/3511808.3557624, CC BY-SA 4.0); none of its rows are here.
"""
