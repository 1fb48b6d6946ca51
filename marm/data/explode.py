"""Logs of slates as rows of exposures: a row for each item of a list, larger than memory, in the log's order."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from polars.exceptions import PolarsError
from polars.io.plugins import register_io_source

from marm.data.formats import format_of
from marm.data.ids import as_text
from marm.data.listed import ID, ROW, ids_of
from marm.data.look import open_named
from marm.data.slates import FIRST_ROWS, MARKED, Asked, Slates, find_slates
from marm.data.source import CHUNK_ROWS, HISTORY, Log, LogReader, parted, takes_in
from marm.data.trouble import Chunk, show
from marm.errors import DataError, DiskError, FolderError
from marm.files import replacing, sync

_PLACE = "__place"


@dataclass
class Exploded:
    """What became of a log."""

    log: str
    slates: Slates
    lists: int = 0
    rows: int = 0
    empty: int = 0
    """Rows of the log that hold no items."""
    lost: int = 0
    """Of those, rows that name a clicked item."""
    blank: int = 0
    """Places of lists that hold no item."""
    unshown: Counter[str] = field(default_factory=Counter)
    """Clicked ids that were not among those shown, by their column."""
    first_unshown: dict[str, str] = field(default_factory=dict)
    """Where the first of them stands."""
    unfit: Counter[str] = field(default_factory=Counter)
    """Lists that are not as long as the items', by their column."""
    missing: list[str] = field(default_factory=list)
    """Columns that not all files have."""


def explode_log(log: Path, out: Path, asked: Asked | None = None, force: bool = False) -> Exploded:
    """Write a row for each item of a log's lists to ``out``, a Parquet file; ``asked``: what needs no guess.

    Errors: ``DataError`` where no column looks like the list, or a list cannot be read, ``FolderError`` if ``out`` is there
    and not ``force``, or would be a part of the log.
    """
    if format_of(out) != "parquet":
        raise DataError(f"{out}: rows are written as Parquet: name a file that ends in .parquet")
    if takes_in(log, out):
        raise FolderError(f"{out} would be a part of the log {log}: choose a file elsewhere")
    if out.exists() and not force:
        raise FolderError(f"{out} exists: give --force to write it anew, or choose another file")
    found = open_named(*parted(log))
    slates = find_slates(found, _first(found), asked or Asked())
    done = Exploded(found.name, slates)
    done.missing = sorted({name for schema in found.schemas for name in schema} - found.schema.keys())
    _write(_Rows(found, done), out)
    return done


def _first(log: Log) -> pl.DataFrame:
    """The first rows of a log, by which it is judged."""
    sample = pl.DataFrame(schema=log.schema)
    for _, frame in log.frames({name: pl.col(name) for name in log.schema}, FIRST_ROWS):
        sample = pl.concat([sample, frame.head(FIRST_ROWS - sample.height)])
        if sample.height >= FIRST_ROWS:
            break
    return sample


def _write(rows: "_Rows", out: Path) -> None:
    def source(columns: Any, predicate: Any, count: int | None, size: int | None) -> Iterator[pl.DataFrame]:
        yield from rows.frames()

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskError(out, error) from None
    with replacing(out) as beside:
        try:
            register_io_source(source, schema=rows.schema()).sink_parquet(beside)
            sync(beside)
        except BaseException as error:
            beside.unlink(missing_ok=True)
            if isinstance(error, PolarsError):
                raise DataError(f"{rows.done.log}: rows cannot be made ({error}): write it anew as Parquet") from None
            raise


class _Rows:
    """Makes rows of a log's lists, and counts what it met."""

    def __init__(self, log: Log, done: Exploded) -> None:
        self.done = done
        self._slates = done.slates
        self._carried = self._slates.carried(log.schema)
        self._lists = [self._slates.shown, *self._slates.beside]
        clicked = [column.name for column in self._slates.clicks.values()]
        self._log = log
        self._reader = LogReader(log, [*self._carried, *(one.name for one in self._lists), *clicked], None, None)

    def schema(self) -> pl.Schema:
        """Columns of the rows."""
        log = pl.DataFrame(schema=self._log.schema)
        return self._rows(Chunk(log.with_columns(self._as_lists()), np.zeros(0, np.int64), self._reader.places)).schema

    def frames(self) -> Iterator[pl.DataFrame]:
        """Rows of the whole log, about ``CHUNK_ROWS`` at a time. Errors: ``DataError`` where there are none."""
        read = max(1, min(CHUNK_ROWS, int(CHUNK_ROWS / max(self._slates.size, 1))))
        for chunk in self._reader.chunks(read):
            frame = chunk.frame.drop(HISTORY).with_columns(self._as_lists())
            sizes = frame[self._slates.shown.name].list.len().fill_null(0).to_numpy().astype(np.int64)
            for lo, hi in pairwise(_cuts(sizes)):
                yield self._rows(Chunk(frame.slice(lo, hi - lo), chunk.row[lo:hi], chunk.places))
        if not self.done.rows:
            shown = self._slates.shown.name
            raise DataError(f"{self.done.log}: {shown} holds no item on any row: name another with --list")

    def _as_lists(self) -> list[pl.Expr]:
        return [column.lists() for column in self._lists]

    def _rows(self, chunk: Chunk) -> pl.DataFrame:
        slates, frame = self._slates, chunk.frame.with_row_index(ROW)
        shown, places = slates.shown.name, pl.col(slates.shown.name).list.len().fill_null(0)
        full = frame.filter(places > 0)
        self._count(frame, full)
        beside = [column.name for column in slates.beside]
        names = [shown, *beside, _PLACE]
        rows = full.with_columns(
            *self._fitting(full, beside, places), pl.int_ranges(1, places + 1, dtype=pl.Int32).alias(_PLACE)
        ).explode(names)
        self.done.blank += rows[shown].null_count()
        rows = rows.filter(pl.col(shown).is_not_null())
        self.done.rows += rows.height
        made = [self._clicks(chunk, full, rows, name) for name in slates.clicks]
        return rows.select(*self._columns(chunk, rows), *made, *self._position())

    def _count(self, frame: pl.DataFrame, full: pl.DataFrame) -> None:
        self.done.lists += full.height
        self.done.empty += frame.height - full.height
        if full.height < frame.height and self._slates.clicks:
            named = [ids_of(frame, column).select(ROW) for column in self._slates.clicks.values()]
            self.done.lost += pl.concat(named).unique().join(full, on=ROW, how="anti").height

    def _fitting(self, full: pl.DataFrame, beside: list[str], places: pl.Expr) -> list[pl.Expr]:
        """Lists beside the items, null at each place where they are not as long."""
        made = []
        for name in beside:
            fits = (pl.col(name).list.len() == places).fill_null(False)
            self.done.unfit[name] += full.select((~fits).sum()).item()
            nothing = pl.lit(None).repeat_by(places).cast(full.schema[name])
            made.append(pl.when(fits).then(pl.col(name)).otherwise(nothing).alias(name))
        return made

    def _clicks(self, chunk: Chunk, full: pl.DataFrame, rows: pl.DataFrame, name: str) -> pl.Series:
        """Which rows are among the ids that a column holds."""
        column = self._slates.clicks[name]
        picked = ids_of(full, column).unique()
        shown = rows.select(ROW, as_text(rows[self._slates.shown.name]).alias(ID))
        lost = picked.join(shown, on=[ROW, ID], how="anti")
        if lost.height and not self.done.unshown[column.name]:
            first = lost.sort(ROW, ID).row(0, named=True)
            place = chunk.places.at(int(chunk.row[first[ROW]]))
            self.done.first_unshown[column.name] = f"{place}: {column.name} = {show(first[ID])}"
        self.done.unshown[column.name] += lost.height
        hits = picked.with_columns(hit=True)
        hit = shown.join(hits, on=[ROW, ID], how="left", maintain_order="left")["hit"]
        return hit.is_not_null().cast(pl.Int8).alias(name)

    def _columns(self, chunk: Chunk, rows: pl.DataFrame) -> list[pl.Expr | pl.Series]:
        """The log's own columns in their order, and what becomes of the list in its place."""
        made: list[pl.Expr | pl.Series] = []
        kept = {*self._carried, *(column.name for column in self._slates.beside)}
        for name in self._log.schema:
            if name == self._slates.shown.name:
                made += self._items(chunk, rows)
            elif name in kept:
                made.append(pl.col(name))
        return made

    def _items(self, chunk: Chunk, rows: pl.DataFrame) -> list[pl.Expr | pl.Series]:
        slates, shown = self._slates, pl.col(self._slates.shown.name)
        if slates.fields:
            return [shown.struct.field(one).alias(name) for one, name in slates.fields.items()]
        if slates.marked is None:
            return [shown.alias(slates.item or slates.shown.name)]
        bad = rows.filter(~shown.str.contains(MARKED))
        if bad.height:
            row, part = bad[ROW][0], bad[slates.shown.name][0]
            which = np.arange(chunk.frame.height) == row
            says = f"has {show(part)}, which ends in neither -0 nor -1"
            text = chunk.frame.with_columns(shown.list.join(" "))
            raise Chunk(text, chunk.row, chunk.places).trouble(
                "type", slates.shown.name, which, says, "mend it, or write the log without such rows"
            )
        item = shown.str.extract(MARKED, 1).alias(slates.item or "")
        return [item, shown.str.extract(MARKED, 2).cast(pl.Int8).alias(slates.marked)]

    def _position(self) -> list[pl.Expr]:
        return [pl.col(_PLACE).alias("position")] if self._slates.position else []


def _cuts(sizes: np.ndarray) -> list[int]:
    """Where to cut rows with lists of these lengths (n,), so that few pieces hold more than ``CHUNK_ROWS`` values."""
    ends = np.cumsum(sizes)
    piece = ends // CHUNK_ROWS
    return [0, *(np.flatnonzero(np.diff(piece)) + 1).tolist(), len(sizes)] if len(sizes) else []
