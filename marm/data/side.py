"""Side files: one row for each item or user, ids hashed and sorted, beside the stream."""

from pathlib import Path

import numpy as np
import polars as pl
from polars.exceptions import PolarsError

from marm.data.arrow import map_batch
from marm.data.columns import How, convert, vector_width
from marm.data.events import Side, Tags
from marm.data.formats import scan
from marm.data.ids import hash_text
from marm.data.parts import write_durable
from marm.data.plan import SidePlan
from marm.data.source import unreadable
from marm.data.trouble import Chunk, Places, TroubleError
from marm.errors import DataError

ID, ORIGINAL = "id", "original"


def read_side(plan: SidePlan) -> tuple[Chunk, dict[str, int]]:
    """The columns of a side file that a run needs, and the widths of its vectors."""
    try:
        frame = scan(plan.path).select(list(dict.fromkeys([plan.id, *plan.features]))).collect()
    except (PolarsError, OSError) as error:
        raise unreadable(plan.path, error) from None
    if not frame.height:
        found = f"data.{plan.name}.file: {plan.path.name} has no rows"
        raise TroubleError("empty file", plan.name, found, f"fill it, or drop [data.{plan.name}]")
    widths = {name: vector_width(frame[name].drop_nulls().head(1))
              for name, feature in plan.features.items() if feature.kind == "vector"}  # fmt: skip
    return Chunk(frame, np.arange(frame.height), Places([plan.path.name], [0])), widths


def convert_side(plan: SidePlan, chunk: Chunk, widths: dict[str, int]) -> pl.DataFrame:
    """The file as a frame of hashed ids, in order, its features and the ids as they were. Errors: a repeated id."""
    ids = hash_text(chunk.frame[plan.id])
    if not ids.all():
        raise chunk.trouble("null", plan.id, ids == 0, "", "give each row an id, or drop the row")
    order = np.argsort(ids, kind="stable")
    again = order[1:][ids[order][1:] == ids[order][:-1]]
    if len(again):
        bad = np.zeros(len(ids), bool)
        bad[again] = True
        raise chunk.trouble("repeated id", plan.id, bad, "was there before", "keep one row for each id")
    columns = [convert(chunk, name, How(feature.kind, widths.get(name, 1), feature.separator))
               for name, feature in plan.features.items()]  # fmt: skip
    frame = pl.DataFrame([pl.Series(ID, ids), *(column.alias(f"{plan.name}.{column.name}") for column in columns),
                          chunk.frame[plan.id].alias(ORIGINAL)])  # fmt: skip
    return frame[order]


def side_file(folder: Path, name: str) -> Path:
    """Where a side file lies beside the stream."""
    return folder / f"{name}.arrow"


def write_side(plan: SidePlan, folder: Path) -> dict[str, int]:
    """Convert a side file into a folder; returns the widths of its vectors."""
    chunk, widths = read_side(plan)
    write_durable(convert_side(plan, chunk, widths), side_file(folder, plan.name))
    return widths


def open_side(folder: Path, name: str) -> Side | None:
    """A side file as arrays over the mapped file; nothing if the run has none."""
    path = side_file(folder, name)
    if not path.is_file():
        return None
    columns = map_batch(path)
    ids = columns.pop(ID)
    if isinstance(ids, Tags):
        raise DataError(f"{path}: ids are lists: prepare the events anew")
    prefix = f"{name}."
    return Side(ids, {key.removeprefix(prefix): column for key, column in columns.items() if key.startswith(prefix)})
