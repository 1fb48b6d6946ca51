"""Logs that are no rows of exposures yet: what they look like, and what to do about it."""

import polars as pl

from marm.data.look import Look, is_text, words

_LISTED = frozenset((
    "inview", "impression", "impressions", "clicked", "clicks", "candidates", "shown", "exposed", "slate", "events", "items",
    "recommended", "recommendations", "products", "articles",
))  # fmt: skip
_SLATES = 'make a row of each, as docs/own_data.md does under "Lists of items"'
_MARKED = r"^\S+(?:[ |,]\S+)+$"


def slates(look: Look) -> str | None:
    """What to say of a log with a list of items or events on each row; nothing where rows are single exposures."""
    for column, dtype in look.log.schema.items():
        if isinstance(dtype, (pl.List, pl.Array)) and _LISTED & set(words(column)) and dtype.inner is not None:
            inner = dtype.inner
            if isinstance(inner, pl.Struct) or inner.is_integer() or is_text(inner):
                return f"{look.log.name}: {column} holds a list on each row, where a row is one exposure: {_SLATES}"
        if dtype == pl.String and {"impression", "impressions", "slate", "inview"} & set(words(column)):
            texts = look.sample[column].drop_nulls().head(1000)
            if len(texts) and texts.str.contains(_MARKED).sum() > 0.5 * len(texts):
                return f"{look.log.name}: {column} holds a list in text on each row, where a row is one exposure: {_SLATES}"
    return None


def records(look: Look) -> str:
    """What to do with columns that hold records; nothing where there are none."""
    found = [name for name, dtype in look.log.schema.items() if isinstance(dtype, pl.Struct)]
    return f'make columns of what {found[0]} holds: frame.unnest("{found[0]}")' if found else ""


def no_time(look: Look) -> str:
    """What to do where no column looks like a time."""
    for column, dtype in look.log.schema.items():
        values = look.sample[column].drop_nulls()
        if dtype.is_integer() and len(values) and whole_days(values):
            return (
                f'{column} looks like yyyymmdd: write it as a date, pl.col("{column}").cast(str).str.to_date("%Y%m%d")'
            )
    return (
        "name it with --time COLUMN; if rows lie in the order in which they happened, number them, as docs/own_data.md "
        'does under "No time"'
    )


def whole_days(values: pl.Series) -> bool:
    """Whether whole numbers are days as yyyymmdd."""
    days = values.cast(pl.Int64, strict=False)
    month, day = days // 100 % 100, days % 100
    return bool((days.is_between(19_900_101, 21_001_231) & month.is_between(1, 12) & day.is_between(1, 31)).all())
