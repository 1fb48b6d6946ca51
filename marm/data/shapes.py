"""Logs that are no rows of exposures yet: what they look like, and what to do about it."""

import json
import shlex
from pathlib import Path

import polars as pl

from marm.data.look import Look, is_text, words
from marm.data.slates import FIRST_ROWS, shown_columns
from marm.data.source import takes_in
from marm.errors import DataError

_PARTED = ', separator="_"'
_ID = frozenset(("id", "code", "key", "uuid", "guid", "sku", "asin"))


class SlatesError(DataError):
    """A log with a list on each row, which is none of rows yet."""


def slates(look: Look) -> str | None:
    """What to say of a log with a list of items or events on each row; nothing where rows are single exposures."""
    found = shown_columns(look.log.schema, look.sample.head(FIRST_ROWS))
    if not found:
        return None
    folder = "../" if takes_in(look.path, Path("rows.parquet")) else ""
    command = shlex.join(["marm", "explode", str(look.path), f"{folder}rows.parquet"])
    where = "in text on" if is_text(look.log.schema[found[0]]) else "on"
    if len(found) == 1:
        held = f"{found[0]} holds a list {where} each row"
        return f"{look.log.name}: {held}, where a row is one exposure: run `{command}`"
    held = f"{' and '.join(found)} hold lists on each row"
    choices = " or ".join(f"--list {shlex.quote(name)}" for name in found[1:])
    return f"{look.log.name}: {held}, where a row is one exposure: run `{command} --list {shlex.quote(found[0])}`, or {choices}"


def records(look: Look) -> str:
    """What to do with columns that hold records, those with something like an id first; nothing where there are none."""
    found = {name: dtype for name, dtype in look.log.schema.items() if isinstance(dtype, pl.Struct)}
    if not found:
        return ""
    named = [name for name, dtype in found.items() if any(_names_id(field.name) for field in dtype.fields)] or list(
        found
    )[:1]
    # Two records may both have an id: each field takes the name of its record.
    steps = "".join(
        f".unnest({json.dumps(name, ensure_ascii=False)}{_PARTED if len(named) > 1 else ''})" for name in named
    )
    return f"make columns of what {' and '.join(named)} {'hold' if len(named) > 1 else 'holds'}: frame{steps}"


def _names_id(name: str) -> bool:
    """Whether a name is that of an id."""
    return not _ID.isdisjoint(words(name))


def no_time() -> str:
    """What to do where no column looks like a time."""
    return (
        "name it with --time COLUMN; if rows lie in the order in which they happened, number them, as docs/own_data.md "
        'does under "No time"'
    )
