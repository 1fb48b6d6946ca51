"""Lists on a row: in a column of lists, or in text parted by brackets, bars, commas or spaces."""

from dataclasses import dataclass

import polars as pl

from marm.data.ids import as_text
from marm.data.look import is_text

ROW = "__row"
ID = "__id"
_BRACKET, _BAR, _COMMA, _SPACE = "[", "|", ",", " "
_EACH = {_BRACKET: r"""[^\s,\[\]'"]+""", _SPACE: r"\S+"}
_LEAST = 0.5


@dataclass(frozen=True)
class Listed:
    """A column, and how its values are read as lists; one that holds neither lists nor marks is a list of one."""

    name: str
    dtype: pl.DataType
    mark: str | None = None
    """What parts a text."""

    @property
    def alone(self) -> bool:
        """Whether each row has one value at most."""
        return self.mark is None and not is_list(self.dtype)

    def lists(self) -> pl.Expr:
        """The column as lists; null where there is none, and null for each place of a text that holds nothing."""
        column = pl.col(self.name)
        if isinstance(self.dtype, pl.Array):
            return column.arr.to_list()
        if self.dtype.is_nested():
            return column
        if self.mark is None:
            return pl.concat_list(column).alias(self.name)
        text = column.cast(pl.String).str.strip_chars()
        text = pl.when(text != "").then(text)
        if self.mark in _EACH:
            return text.str.extract_all(_EACH[self.mark]).alias(self.name)
        part = pl.element().str.strip_chars()
        return text.str.split(self.mark).list.eval(pl.when(part != "").then(part)).alias(self.name)

    def fits(self, frame: pl.DataFrame, other: "Listed") -> bool:
        """Whether it has a value for each of another column's, on all rows that have both."""
        sizes = frame.select(one=self.lists().list.len(), other=other.lists().list.len()).drop_nulls()
        sizes = sizes.filter((pl.col("one") > 0) & (pl.col("other") > 0))
        return sizes.height > 0 and bool((sizes["one"] == sizes["other"]).all())


def is_list(dtype: pl.DataType) -> bool:
    """Whether a column holds a list on each row."""
    return isinstance(dtype, (pl.List, pl.Array))


def inner_of(dtype: pl.DataType) -> pl.DataType:
    """The type of what a column's lists hold, or of its values where they are no lists."""
    inner = dtype.inner if isinstance(dtype, (pl.List, pl.Array)) else dtype
    return inner if isinstance(inner, pl.DataType) else inner()


def listed(series: pl.Series, least: float = _LEAST) -> Listed:
    """How a column is read; ``least``: the share of its texts that a mark must part."""
    return Listed(series.name, series.dtype, _mark(series, least) if is_text(series.dtype) else None)


def _mark(series: pl.Series, least: float) -> str | None:
    texts = as_text(series.drop_nulls()).str.strip_chars()
    texts = texts.filter(texts != "")
    shares = {mark: texts.str.contains(mark, literal=True).sum() for mark in (_BAR, _COMMA, _SPACE)}
    shares = {_BRACKET: texts.str.contains(r"^\[.*\]$").sum(), **shares}
    best = max(shares, key=lambda mark: shares[mark])
    return best if shares[best] > least * len(texts) else None


def is_ids(series: pl.Series) -> bool:
    """Whether texts that are lists hold ids: parts with figures, where spaces or commas could part a sentence."""
    found = listed(series)
    if found.mark in (_BRACKET, _BAR):
        return True
    parts = series.to_frame().select(found.lists()).to_series().explode().drop_nulls()
    return found.mark is not None and len(parts) > 0 and bool(parts.str.contains(r"\d").all())


def ids_of(frame: pl.DataFrame, column: Listed) -> pl.DataFrame:
    """Ids as text, and the number of the row (``ROW``) on which each stands."""
    rows = frame.select(ROW, column.lists().alias(ID)).explode(ID)
    return rows.with_columns(as_text(rows[ID])).drop_nulls()
