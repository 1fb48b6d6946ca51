"""Logs with a list on each row: which column holds what was shown, which what was clicked, and what rows are made of it."""

from dataclasses import dataclass, field

import polars as pl

from marm.data.guess_words import outcome_words
from marm.data.listed import ID, ROW, Listed, ids_of, inner_of, is_ids, is_list, listed
from marm.data.look import is_text, words
from marm.data.source import Log
from marm.data.times import iso_micros
from marm.data.trouble import no_column
from marm.errors import DataError

FIRST_ROWS = 10_000
"""By which a log is judged."""
MARKED = r"^(.+)-([01])$"
"""An item and whether it was clicked, as in N1-0."""
_SHOWN = frozenset((
    "inview", "impression", "impressions", "candidate", "candidates", "shown", "exposed", "displayed", "slate", "slates",
    "recommended", "recommendations", "events",
))  # fmt: skip
_IN_TEXT = frozenset(("inview", "impression", "impressions", "slate", "slates", "candidates", "shown"))
_THINGS = frozenset(("items", "products", "articles"))
_CLICKED = frozenset(("clicked", "clicks"))
_PICKED = frozenset(("chosen", "selected", "picked"))
_TIMES = frozenset(("timestamp", "time", "date", "datetime"))
_PAST = frozenset(("history", "hist"))
_FLAG = 3
"""Values of what may be a flag: yes, no and nothing."""
_MOSTLY, _NEARLY_ALL = 0.5, 0.9


@dataclass(frozen=True)
class Asked:
    """What a person says of a log, instead of a guess."""

    list: str | None = None
    clicked: tuple[str, ...] = ()
    item: str | None = None


@dataclass
class Slates:
    """How rows are made of lists."""

    shown: Listed
    marked: str | None = None
    """The new column of what the marks of a text say."""
    fields: dict[str, str] = field(default_factory=dict)
    """Of records: the new column of each field."""
    item: str | None = None
    """The new column of items, where lists hold no records."""
    clicks: dict[str, Listed] = field(default_factory=dict)
    """New columns of 0 and 1, and the columns that hold the ids which are 1."""
    beside: list[Listed] = field(default_factory=list)
    """Lists with a value for each item."""
    maybe: list[str] = field(default_factory=list)
    """Where nothing tells what was clicked: columns of one id that nearly always is among what their row showed."""
    left: list[str] = field(default_factory=list)
    """Columns of other lists, which are left out."""
    position: bool = True
    """Whether rows get their place in the list."""
    clash: list[str] = field(default_factory=list)
    """Columns of the log that are named as those which are made."""
    size: float = 1.0
    """Values of a list, on average."""

    @property
    def outcomes(self) -> list[str]:
        """New columns of 0 and 1."""
        return [*([self.marked] if self.marked else []), *self.clicks]

    def carried(self, schema: dict[str, pl.DataType]) -> list[str]:
        """Columns that each row of a list takes over as they are."""
        used = {self.shown.name, *self.left, *(column.name for column in [*self.clicks.values(), *self.beside])}
        return [name for name in schema if name not in used]


def shown_columns(schema: dict[str, pl.DataType], sample: pl.DataFrame) -> list[str]:
    """Columns that look most like the list of what was shown; none where rows are single exposures."""
    found = {name: _shown_score(name, dtype, sample[name]) for name, dtype in schema.items()}
    best = max(found.values(), default=0)
    return [name for name, score in found.items() if score == best > 0]


def find_slates(log: Log, sample: pl.DataFrame, asked: Asked) -> Slates:
    """How to make rows of a log's lists. Errors: ``DataError`` where no column, or more than one, looks like the list."""
    sample = sample.with_row_index(ROW)
    shown = _shown(log, sample, asked)
    records = isinstance(inner_of(shown.dtype), pl.Struct)
    marked = shown.mark is not None and _is_marked(sample, shown)
    clicked = _clicked(log, sample, shown, asked, guess=not marked and not records)
    named = {shown.name, *(column.name for column in clicked)}
    rest = [name for name in log.schema if name not in named]
    slates = Slates(shown, size=float(sample.select(shown.lists().list.len().mean()).item() or 1))
    slates.beside = [column for name in rest if (column := _beside(sample, name, shown)) is not None]
    beside = [column.name for column in slates.beside]
    if not (marked or records or clicked):
        slates.maybe = [name for name in rest if name not in beside and _may_be_clicked(sample, name, shown)]
    slates.left = [name for name in rest if name not in beside and _is_left(sample[name])]
    taken = {name for name in rest if name not in slates.left}
    slates.clash = [name for name in ("click", "position") if name in taken]
    if records:
        _name_fields(log, slates, taken, asked)
    else:
        slates.item = _item(log, shown.name, taken, asked.item)
        taken.add(slates.item)
    slates.position = slates.position and "position" not in taken
    _name_clicks(slates, clicked, marked, taken | {"position"})
    return slates


def _shown_score(name: str, dtype: pl.DataType, series: pl.Series) -> int:
    """How much a column looks like the list of what was shown."""
    parts = set(words(name))
    if is_text(dtype):
        texts = series.drop_nulls().head(1000)
        return 3 * bool(_IN_TEXT & parts and len(texts) and not _is_time(name, texts) and is_ids(texts))
    inner = inner_of(dtype)
    if not is_list(dtype) or not (isinstance(inner, pl.Struct) or inner.is_integer() or is_text(inner)):
        return 0
    if outcome_words(name) - _SHOWN:
        return int(bool((_SHOWN | _THINGS | _CLICKED) & parts))
    return 3 if _SHOWN & parts else 2 * bool(_THINGS & parts)


def _is_time(name: str, series: pl.Series) -> bool:
    """Whether a column holds times, which in text may look like a list."""
    if series.dtype.is_temporal() or _TIMES & set(words(name)):
        return True
    return is_text(series.dtype) and len(series) > 0 and iso_micros(series.cast(pl.String)).null_count() == 0


def _shown(log: Log, sample: pl.DataFrame, asked: Asked) -> Listed:
    if asked.list is None:
        found = shown_columns(log.schema, sample)
        if not found:
            among = ", ".join(log.schema)
            raise DataError(
                f"{log.name}: no column looks like a list of items among {among}: name it with --list COLUMN"
            )
        if len(found) > 1:
            raise DataError(
                f"{log.name}: {' and '.join(found)} look like the list of items: name one with --list COLUMN"
            )
        return listed(sample[found[0]])
    if asked.list not in log.schema:
        raise no_column("--list", asked.list, log.schema, log.name)
    column = listed(sample[asked.list], least=0.0)
    if isinstance(inner_of(column.dtype), (pl.List, pl.Array)):
        raise DataError(f"--list {asked.list}: {log.name} has lists of lists there: unnest them first")
    if column.alone:
        what = "texts that no bar, comma or space parts" if is_text(column.dtype) else f"a {column.dtype} on each row"
        raise DataError(f"--list {asked.list}: {log.name} has {what} there: name a column of lists")
    return column


def _is_marked(sample: pl.DataFrame, shown: Listed) -> bool:
    parts = sample.select(shown.lists()).to_series().explode().drop_nulls()
    return len(parts) > 0 and bool(parts.str.contains(MARKED).sum() > _NEARLY_ALL * len(parts))


def _clicked(log: Log, sample: pl.DataFrame, shown: Listed, asked: Asked, guess: bool) -> list[Listed]:
    """Columns of the ids that were clicked: those named, or those named like outcomes that hold ids that were shown."""
    for name in asked.clicked:
        if name not in log.schema:
            raise no_column("--clicked", name, log.schema, log.name)
        if name == shown.name or inner_of(log.schema[name]).is_nested():
            raise DataError(f"--clicked {name}: {log.name} has no ids of clicked items there: name another column")
    if asked.clicked:
        return [_parted(sample[name], shown) for name in dict.fromkeys(asked.clicked)]
    named = [
        name
        for name, dtype in log.schema.items()
        if guess and name != shown.name and (inner_of(dtype).is_integer() or is_text(inner_of(dtype)))
        and (outcome_words(name) - _SHOWN or _PICKED & set(words(name)))
    ]  # fmt: skip
    return [column for name in named if _holds_shown(sample, column := _parted(sample[name], shown), shown)]


def _may_be_clicked(sample: pl.DataFrame, name: str, shown: Listed) -> bool:
    column = Listed(name, sample.schema[name])
    ids = column.alone and (column.dtype.is_integer() or is_text(column.dtype))
    return ids and sample[name].n_unique() > _FLAG and _holds_shown(sample, column, shown)


def _parted(series: pl.Series, shown: Listed) -> Listed:
    """A column of ids, whose texts are parted as the texts of what was shown are."""
    if is_text(series.dtype) and shown.mark is not None:
        return Listed(series.name, series.dtype, shown.mark)
    return listed(series, least=0.0)


def _holds_shown(sample: pl.DataFrame, column: Listed, shown: Listed) -> bool:
    """Whether most ids of a column are among what its row showed; flags, one for each item, are not."""
    there = ids_of(sample, shown).unique()
    picked = ids_of(sample, column).unique().join(there.select(ROW).unique(), on=ROW, how="semi")
    if set(picked[ID].unique()) <= {"0", "1"} and (column.alone or column.fits(sample, shown)):
        return False
    hits = picked.join(there, on=[ROW, ID], how="semi").height
    return hits > (_NEARLY_ALL if column.alone else _MOSTLY) * picked.height


def _beside(sample: pl.DataFrame, name: str, shown: Listed) -> Listed | None:
    """A column with a value for each item: a list, or a text that is parted as that of the items is, by bars or commas."""
    series = sample[name]
    if is_list(series.dtype):
        column = Listed(name, series.dtype)
    elif is_text(series.dtype) and shown.mark in ("|", ",") and listed(series).mark == shown.mark:
        column = Listed(name, series.dtype, shown.mark)
    else:
        return None
    return column if column.fits(sample, shown) else None


def _is_left(series: pl.Series) -> bool:
    """Whether a column holds lists that are not of the items shown; text only where its name says that it is the past."""
    past = is_text(series.dtype) and _PAST & set(words(series.name)) and listed(series).mark is not None
    return bool(is_list(series.dtype) or past)


def _name_fields(log: Log, slates: Slates, taken: set[str], asked: Asked) -> None:
    """Columns of what records hold, which have no place in a list where each has a time."""
    if asked.clicked or asked.item is not None:
        held = f"{log.name}: {slates.shown.name} holds records, whose fields become the columns"
        raise DataError(f"{held}: leave out --clicked and --item")
    inner = inner_of(slates.shown.dtype)
    assert isinstance(inner, pl.Struct)
    for name, dtype in inner.to_schema().items():
        slates.fields[name] = _free(name, taken, f"{slates.shown.name}_{name}")
        slates.position = slates.position and not _is_time(name, pl.Series(dtype=dtype))
        taken.add(slates.fields[name])


def _item(log: Log, column: str, taken: set[str], asked: str | None) -> str:
    if asked is not None:
        if asked in taken:
            raise DataError(f"--item {asked}: {log.name} has a column {asked} already: give another name")
        return asked
    parts = [word for word in words(column) if word not in _SHOWN | {"id", "ids", "list"} and not outcome_words(word)]
    name = "_".join([*parts[:-1], _single(parts[-1])] if parts else ["item"]) + "_id"
    return _free(name, taken, f"shown_{name}")


def _single(word: str) -> str:
    if word.endswith("ies"):
        return word.removesuffix("ies") + "y"
    return word if word.endswith("ss") or word == "news" else word.removesuffix("s")


def _name_clicks(slates: Slates, clicked: list[Listed], marked: bool, taken: set[str]) -> None:
    if marked:
        slates.marked = _free("click", taken)
        taken.add(slates.marked)
    for column in clicked:
        own = "_".join(word for word in words(column.name) if outcome_words(word) or word in _PICKED)
        own = own or f"is_{column.name}"
        name = _free("click" if len(clicked) == 1 else own, taken, own)
        slates.clicks[name] = column
        taken.add(name)


def _free(name: str, taken: set[str], otherwise: str = "") -> str:
    """A name that no column has."""
    name = name if name not in taken else otherwise or name
    while name in taken:
        name += "_2"
    return name
