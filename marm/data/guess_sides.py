"""Guesses at files beside a log: which of them describes its items or users, and what of it is a feature."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from marm.data.columns import parted
from marm.data.formats import scan
from marm.data.ids import as_text, hash_text
from marm.data.look import Look, is_text, words
from marm.data.lookup import Lookup
from marm.errors import DataError

OF_ITEMS = frozenset((
    "category", "categories", "cat", "cate", "campaign", "brand", "genre", "genres", "author", "publisher", "topic", "section",
    "class", "subcategory", "department", "artist", "album", "seller", "shop", "maker", "tag", "tags", "type", "music",
    "creator", "language", "series", "studio", "keywords",
))  # fmt: skip
OF_USERS = frozenset((
    "gender", "sex", "age", "occupation", "postcode", "zip", "zipcode", "city", "country", "region", "state", "level",
    "subscriber", "language", "degree", "segment", "tier", "plan",
))  # fmt: skip
_WHOLE_PERIOD = frozenset((
    "n", "count", "counts", "cnt", "total", "sum", "mean", "avg", "average", "median", "popularity", "popular", "views",
    "clicks", "plays", "likes", "sales", "sold", "orders", "ctr", "cvr", "rate", "rating", "ratings", "score", "votes",
    "first", "last", "reviews", "comments", "shares", "invoices", "followers", "fans", "num",
))  # fmt: skip
_SAMPLE_IDS = 20_000
_MOST_VALUES = 10_000
_LISTS = {"|": r"\|", **{mark: rf"^\[.*\]$|^[^{mark}.]{{1,40}}(?:{mark}[^{mark}.]{{1,40}})+$" for mark in ",;"}}
"""How texts look that are lists, by what parts them."""
_LISTED = 0.2
_SHARED = 0.5
"""Share of the log's ids that a side file has."""
_ONCE = 0.9
"""Share of a side file's ids that must be there once for a repeated one to be an oversight."""
_FEW = 20


@dataclass(frozen=True)
class SideGuess:
    """A file beside the log that describes its items or users."""

    file: Path
    id: str
    overlap: float
    """Share of the log's ids (sampled) that it has."""
    features: dict[str, str]
    """Kinds by column."""
    doubtful: dict[str, str]
    """Columns left out, and why."""
    separators: dict[str, str]
    """What parts tags that are text, by column."""


@dataclass(frozen=True)
class Repeats:
    """A file that would describe items or users, if it had each id once."""

    file: Path
    id: str
    again: str
    """The first id that is there twice."""
    ids: int
    """How many are."""

    @property
    def doubt(self) -> str:
        """What it has twice, and what to do."""
        others = f" and {self.ids - 1:,} more" if self.ids > 1 else ""
        twice = f"{self.file.name} has {self.id} {self.again}{others} more than once"
        return f"{twice}: left out; keep one row for each, then run this again"


def guess_side(look: Look, column: str, files: list[Path], telling: frozenset[str]) -> SideGuess | None:
    """The file that has one row for each of most of the log's ids; the one that shares most of them."""
    ids = look.sample[column].drop_nulls().unique(maintain_order=True).head(_SAMPLE_IDS)
    found = [_join(file, look.beside[file], column, ids, telling) for file in files]
    there = [side for side in found if side is not None and side.overlap >= _SHARED]
    return max(there, key=lambda side: side.overlap, default=None)


def repeats_of(look: Look, column: str, files: list[Path]) -> Repeats | None:
    """The first file that has most of the log's ids, nearly each of them once."""
    ids = as_text(look.sample[column].drop_nulls().unique(maintain_order=True).head(_SAMPLE_IDS))
    for file in files:
        key = next((name for name in look.beside[file] if _same_key(name, column)), None)
        if key is None:
            continue
        with suppress(DataError, PolarsError, OSError):
            held = as_text(scan(file).select(key).collect()[key].drop_nulls())
            again = held.filter(held.is_duplicated())
            rare = len(again) > 0 and held.n_unique() >= _ONCE * len(held)
            if rare and ids.is_in(held.implode()).sum() >= _SHARED * len(ids):
                return Repeats(file, key, again[0], again.n_unique())
    return None


def _join(file: Path, names: list[str], column: str, ids: pl.Series, telling: frozenset[str]) -> SideGuess | None:
    keys = [name for name in names if _same_key(name, column)]
    if not keys:
        return None
    try:
        frame = scan(file).select(keys[0]).collect()
        if frame[keys[0]].n_unique() < frame.height:
            return None
        hashes = hash_text(frame[keys[0]])
        frame = scan(file).collect()
    except (DataError, PolarsError, OSError):
        return None  # A file beside the log that cannot be read, or has lists for ids, is none of its side files.
    if not len(hashes) or not hashes.all():
        return None
    overlap = float((Lookup(hashes).find(hash_text(ids)) >= 0).mean()) if len(ids) else 0.0
    separators = {name: mark for name in frame.columns if name != keys[0] and (mark := _mark(frame[name]))}
    features, doubtful = _side_columns(frame, keys[0], telling, separators)
    tags = {name: mark for name, mark in separators.items() if name in features}
    return SideGuess(file, keys[0], overlap, features, doubtful, tags)


def _same_key(name: str, column: str) -> bool:
    """Whether two columns are named alike: equal, or one ends in the other (``click_article_id``, ``article_id``)."""
    one, other = words(name), words(column)
    short, long = sorted((one, other), key=len)
    return one == other or (len(short) > 1 and long[-len(short) :] == short) or short == ["id"]


def _side_columns(
    frame: pl.DataFrame, key: str, telling: frozenset[str], separators: dict[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    features: dict[str, str] = {}
    doubtful: dict[str, str] = {}
    for name in frame.columns:
        if name == key:
            continue
        kind, reason = _side_kind(frame[name], set(words(name)), telling, name in separators)
        if kind:
            features[name] = kind
        else:
            doubtful[name] = reason
    for text, lists in _said_twice(frame, [name for name, kind in features.items() if kind == "tags"], separators):
        del features[text]
        doubtful[text] = f"says what {lists} says"
    return features, doubtful


def _said_twice(frame: pl.DataFrame, tags: list[str], separators: dict[str, str]) -> list[tuple[str, str]]:
    """Columns of text that another column holds as lists."""
    texts = [name for name in tags if name in separators]
    lists = [name for name in tags if frame.schema[name] == pl.List(pl.String)]
    pairs = [(text, other) for text in texts for other in lists]
    return [(text, other) for text, other in pairs if parted(frame[text], separators[text]).equals(frame[other])]


def _side_kind(series: pl.Series, parts: set[str], telling: frozenset[str], listed: bool) -> tuple[str, str]:
    """Kind of a side file's column, or none and the reason; ``listed``: its texts are lists."""
    dtype = series.dtype
    if parts & _WHOLE_PERIOD:
        return "", "a figure over the whole period would tell the future"
    if series.null_count() > 0.9 * len(series):
        return "", "nearly always empty"
    if isinstance(dtype, (pl.List, pl.Array)):
        if telling is OF_USERS and not parts & telling:
            return "", "may hold what a user did after the log began"
        return ("", "ids of something else") if parts & {"id", "ids"} and not parts & telling else _list_kind(series)
    if no_value(dtype):
        return "", f"a {dtype} is no feature"
    values = series.n_unique()
    if values < 2:
        return "", "always the same"
    if listed:
        return "tags", ""
    if is_text(dtype) or dtype == pl.Boolean or parts & telling:
        few = values <= min(_MOST_VALUES, max(_FEW, len(series) // 2))
        return ("category", "") if few else ("", "nearly a value of its own on each row")
    if dtype.is_integer() and "id" in parts:
        return "", "an id of something else"
    return "", "a number that may have been taken after the log began"


def no_value(dtype: pl.DataType) -> bool:
    """Whether what a column holds is neither text nor a number."""
    return dtype.is_nested() or dtype.is_temporal() or dtype in (pl.Binary, pl.Object)


def _mark(series: pl.Series) -> str | None:
    """What parts texts that are lists: a bar, or a comma or semicolon whose parts come again and again."""
    if series.dtype != pl.String:
        return None
    texts = series.drop_nulls().unique(maintain_order=True).head(1000)
    for mark, looks in _LISTS.items():
        found = texts.str.contains(looks)
        if found.sum() > _LISTED * len(texts) and (mark == "|" or _come_again(parted(texts, mark))):
            return mark
    return None


def _come_again(lists: pl.Series) -> bool:
    """Whether what lists hold is no value of its own in nearly each."""
    flat = lists.drop_nulls().explode().drop_nulls()
    return flat.n_unique() <= max(_FEW, len(flat) // 2)


def _list_kind(series: pl.Series) -> tuple[str, str]:
    lists = series.arr.to_list() if isinstance(series.dtype, pl.Array) else series
    assert isinstance(lists.dtype, pl.List)
    inner = lists.dtype.inner
    if inner == pl.String and not _come_again(lists):
        return "", "nearly a value of its own on each row"
    if inner == pl.String or inner.is_integer():
        return "tags", ""
    if not inner.is_float():
        return "", f"a {series.dtype} is no feature"
    lists = lists.drop_nulls()
    if lists.list.len().n_unique() != 1 or not lists.list.len()[0]:
        return "", "lists of differing length, or empty ones"
    finite = lists.cast(pl.List(pl.Float32)).explode().is_finite().fill_null(False)
    return ("vector", "") if finite.all() else ("", "lists that hold null, NaN or infinity")
