"""Guesses at features: side files nearby, what describes items and users, what is known before an outcome.

A column that may hold the outcome, or a count over the whole period, is never guessed: it stays a comment.
"""

from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from marm.data.columns import parted
from marm.data.formats import scan
from marm.data.guess import Guess
from marm.data.guess_tasks import positives
from marm.data.guess_words import OUTCOME
from marm.data.ids import hash_text
from marm.data.look import Look, is_text, words
from marm.data.lookup import Lookup
from marm.errors import DataError

_CONTEXT = frozenset((
    "device", "os", "platform", "country", "region", "city", "page", "position", "pos", "rank", "slot", "hour",
    "weekday", "dow", "tab", "channel", "source", "referrer", "environment", "browser", "app", "language", "lang",
    "locale", "network", "scenario", "domain", "surface", "medium", "placement",
))  # fmt: skip
_ITEM = frozenset((
    "category", "categories", "cat", "cate", "campaign", "brand", "genre", "genres", "author", "publisher", "topic", "section",
    "class", "subcategory", "department", "artist", "album", "seller", "shop", "maker", "tag", "tags", "type", "music",
    "creator", "language", "series", "studio", "keywords",
))  # fmt: skip
_USER = frozenset((
    "gender", "sex", "age", "occupation", "postcode", "zip", "zipcode", "city", "country", "region", "state", "level",
    "subscriber", "language", "degree", "segment", "tier", "plan",
))  # fmt: skip
_WHOLE_PERIOD = frozenset((
    "n", "count", "counts", "cnt", "total", "sum", "mean", "avg", "average", "median", "popularity", "popular", "views",
    "clicks", "plays", "likes", "sales", "sold", "orders", "ctr", "cvr", "rate", "rating", "ratings", "score", "votes",
    "first", "last", "reviews", "comments", "shares", "invoices", "followers", "fans", "num",
))  # fmt: skip
_BOOKKEEPING = frozenset(("file", "row", "src", "rand", "index", "idx"))
_AFTER = OUTCOME | frozenset((
    "time", "ms", "sec", "seconds", "duration", "dwell", "stay", "scroll", "spent", "next", "exit", "end", "final", "result",
    "status", "watch", "play", "playback",
))  # fmt: skip
"""Words of what is known only once an exposure is over."""
_TELLS = 0.3
"""Share of an outcome's variance that nothing known before it explains."""
_SAMPLE_IDS = 20_000
_MOST_VALUES = 10_000
_MOST_CONTEXT = 1_000
_LISTS = {"|": r"\|", **{mark: rf"^\[.*\]$|^[^{mark}.]{{1,40}}(?:{mark}[^{mark}.]{{1,40}})+$" for mark in ",;"}}
"""How texts look that are lists, by what parts them."""
_LISTED = 0.2
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


@dataclass
class FeatureGuess:
    """Features by where they stand."""

    items: SideGuess | None = None
    users: SideGuess | None = None
    item: dict[str, str] = field(default_factory=dict)
    """Of the log."""
    user: dict[str, str] = field(default_factory=dict)
    context: dict[str, str] = field(default_factory=dict)
    doubtful: dict[str, str] = field(default_factory=dict)
    unsure: list[str] = field(default_factory=list)
    """What a person should look at, a line each."""


def guess_features(look: Look, guess: Guess) -> FeatureGuess:
    """What describes items, users and the context of an exposure."""
    out = FeatureGuess()
    out.items = _side(look, guess.item, list(look.beside), _ITEM)
    others = [file for file in look.beside if out.items is None or file != out.items.file]
    out.users = _side(look, guess.user, others, _USER)
    outcomes = {column for task in guess.tasks.values() for column in map(str, task.settings.values())}
    taken = {guess.user, guess.item, guess.time, guess.delay, *outcomes}
    beside = set(out.items.features if out.items else ()) | set(out.users.features if out.users else ())
    for column in look.log.schema:
        if not _BOOKKEEPING.isdisjoint(words(column)):
            out.doubtful[column] = "bookkeeping"
        elif column not in taken and column not in beside:
            _log_column(look, guess, column, out)
    for group, side in ((out.item, out.items), (out.user, out.users)):
        for column in sorted(group.keys() & (side.doubtful.keys() if side else set())):
            del group[column]
            out.doubtful[column] = "a file beside the log has a column of this name, which would be read instead"
    for group in (out.item, out.user, out.context):
        for column in list(group):
            if (task := _told(look, guess, column)) is not None:
                del group[column]
                out.doubtful[column] = f"nearly tells {task} by itself: it may be known only after the outcome"
    return out


def _told(look: Look, guess: Guess, column: str) -> str | None:
    """The binary task of which a column tells so much that it can hardly be known before."""
    for name, task in guess.tasks.items():
        if task.settings.get("kind") == "regression" or "column" not in task.settings:
            continue
        rows = pl.DataFrame({"by": look.sample[column], "label": positives(look, task.settings)}).drop_nulls("label")
        groups = rows.group_by("by").agg(rows=pl.len(), rate=pl.col("label").mean())
        rate = float(rows["label"].mean() or 0)  # type: ignore[arg-type]
        if 0 < rate < 1:
            explained = float((groups["rows"] * (groups["rate"] - rate) ** 2).sum()) / (rows.height * rate * (1 - rate))
            # So much is explained by as many groups of nothing but chance.
            if explained - groups.height / rows.height > _TELLS:
                return name
    return None


def _log_column(look: Look, guess: Guess, column: str, out: FeatureGuess) -> None:
    """Put a column of the log where it belongs; when unsure, among the doubtful."""
    parts = set(words(column))
    values = look.distinct(column)
    dtype = look.log.schema[column]
    if _no_value(dtype) or dtype.is_float() or values < 2:
        out.doubtful[column] = "may hold the outcome, or is no category"
    elif (_AFTER - look.common()) & parts:
        out.doubtful[column] = "may be known only after the outcome"
    elif _ITEM & parts and not _CONTEXT & parts and _constant(look, guess.item, column):
        out.item[column] = "category"
    elif _CONTEXT & parts and values <= _MOST_CONTEXT:
        out.context[column] = "category"
    elif _USER & parts and values <= _MOST_CONTEXT and _constant(look, guess.user, column):
        out.user[column] = "category"
    else:
        out.doubtful[column] = "may be known only after the outcome"


def _constant(look: Look, key: str, column: str) -> bool:
    """Whether a column hardly ever changes for one id, of ids that come more than once."""
    rows = look.sample.select(key, column).drop_nulls()
    rows = rows.filter(pl.len().over(key) > 1)
    ids = rows[key].n_unique()
    return ids > 0 and rows.unique().height <= 1.05 * ids


def _side(look: Look, column: str, files: list[Path], telling: frozenset[str]) -> SideGuess | None:
    """The file that has one row for each of most of the log's ids; the one that shares most of them."""
    ids = look.sample[column].drop_nulls().unique(maintain_order=True).head(_SAMPLE_IDS)
    found = [_join(file, look.beside[file], column, ids, telling) for file in files]
    there = [side for side in found if side is not None and side.overlap >= 0.5]
    return max(there, key=lambda side: side.overlap, default=None)


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
        if telling is _USER and not parts & telling:
            return "", "may hold what a user did after the log began"
        return ("", "ids of something else") if parts & {"id", "ids"} and not parts & telling else _list_kind(series)
    if _no_value(dtype):
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


def _no_value(dtype: pl.DataType) -> bool:
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
