"""A simulation as tables: items, users, the log and, row for row beside it, the truth."""

import numpy as np
import polars as pl

from marm.types import F32, F64, I32, I64, U8
from marm.world.feed import PAGES
from marm.world.figures import DURATION_P50
from marm.world.log import Simulation
from marm.world.make import World
from marm.world.outcomes import ACTIONS

TRUTHS = (*ACTIONS, "watch_ratio")
"""Columns of the truth."""

_HOUR_MS = 3_600_000
_DEGREES = ("low", "middle", "high", "full")
_AGES = ("under 18", "18 to 29", "30 to 44", "45 and over")
_REGIONS = 12


def items_table(world: World) -> pl.DataFrame:
    """One row for each item, by id: what is known of it before anybody saw it."""
    catalogue, config = world.catalogue, world.config
    columns = {
        "item": np.arange(config.items, dtype=np.int32),
        "author": catalogue.author,
        "category": pl.Series([f"c{c:02d}" for c in range(config.categories)]).gather(catalogue.category),
        "tags": _tags(catalogue.vector),
        "duration": _durations(world),
        "uploaded": catalogue.uploaded,
    }
    if config.content:
        columns["content"] = pl.Series(world.content, dtype=pl.Array(pl.Float32, config.content)).cast(
            pl.List(pl.Float32)
        )
    return pl.DataFrame(columns)


def _durations(world: World) -> F32:
    """Seconds."""
    return (DURATION_P50 * np.exp(world.catalogue.log_duration)).astype(np.float32)


def _tags(vector: F32) -> pl.Series:
    """The strongest direction of an item's vector, and for about a quarter of the items the second one too."""
    strength = np.sort(np.abs(vector), axis=1)
    order = np.argsort(-np.abs(vector), axis=1, kind="stable")
    names = pl.Series([f"{side}{f}" for f in range(vector.shape[1]) for side in ("a", "b")])
    code = 2 * order + (np.take_along_axis(vector, order, axis=1) > 0)
    first = names.gather(code[:, 0])
    if vector.shape[1] == 1:
        return pl.DataFrame({"first": first}).select(pl.concat_list("first").alias("tags"))["tags"]
    near = strength[:, -2] > 0.88 * strength[:, -1]
    table = pl.DataFrame({"first": first, "second": names.gather(code[:, 1]), "near": near})
    both = pl.when("near").then(pl.concat_list("first", "second")).otherwise(pl.concat_list("first"))
    return table.select(both.alias("tags"))["tags"]


def users_table(world: World) -> pl.DataFrame:
    """One row for each user, by id; age tells a little of taste, the region nothing."""
    config = world.config
    rng = np.random.default_rng([config.seed, 0x75736572])
    seems = world.people.taste[:, 0] + rng.standard_normal(config.users)
    return pl.DataFrame(
        {
            "user": np.arange(config.users, dtype=np.int32),
            "activity": pl.Series(_DEGREES).gather(
                _quarters(np.log(world.activity) + rng.standard_normal(config.users))
            ),
            "age": pl.Series(_AGES).gather(_quarters(seems)),
            "region": pl.Series([f"r{r:02d}" for r in range(_REGIONS)]).gather(
                rng.integers(_REGIONS, size=config.users)
            ),
        }
    )


def _quarters(values: F64) -> I64:
    return np.searchsorted(np.quantile(values, [0.25, 0.5, 0.75]), values)


def log_table(simulation: Simulation, rows: I64) -> pl.DataFrame:
    """Events at ``rows`` of the simulation; times in milliseconds, durations and watch times in seconds."""
    log = simulation.log
    what = (log.user[rows], log.item[rows], log.time[rows], log.done[rows], log.ratio[rows])
    return _log_table(simulation.world, *what, {"page": pl.Series(PAGES).gather(log.page[rows])})


def slates_table(world: World, users: I64, at: I64, items: I32, done: U8, ratio: F32) -> pl.DataFrame:
    """Slates (Q, k) shown to users (Q,) at milliseconds (Q,) as events of the log, but for the page."""
    k = items.shape[1]
    when = users.astype(np.int32).repeat(k), items.reshape(-1), at.repeat(k)
    return _log_table(world, *when, done.reshape(-1, done.shape[-1]), ratio.reshape(-1), {})


def _log_table(
    world: World, user: I32, item: I32, time: I64, done: U8, ratio: F32, page: dict[str, pl.Series]
) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "user": user,
            "item": item,
            "time": time,
            **page,
            "hour": (time // _HOUR_MS % 24).astype(np.uint8),
            **{name: done[:, action] for action, name in enumerate(ACTIONS)},
            "watch_time": ratio * _durations(world)[item],
            "watch_ratio": ratio,
        }
    )


def truth_table(simulation: Simulation, rows: I64) -> pl.DataFrame:
    """The true chance of each action, and the expected watch ratio."""
    truth = simulation.log.truth[rows]
    return pl.DataFrame({name: truth[:, column] for column, name in enumerate(TRUTHS)})
