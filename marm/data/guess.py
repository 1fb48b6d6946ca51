"""Guesses at who, what and when in a log's columns, from names and values; each is written down as a guess."""

from dataclasses import dataclass, field

import polars as pl

from marm.data.guess_tasks import Task, guess_delay, guess_tasks
from marm.data.guess_time import KEY, clock_guessed, form_of, micros_of, time_score
from marm.data.ids import as_text
from marm.data.look import Look, words
from marm.data.shapes import SlatesError, no_time, records, slates
from marm.data.times import doubtful
from marm.data.trouble import no_column, sql_name, sql_text
from marm.errors import DataError

_USER = (
    "user", "customer", "member", "visitor", "account", "client", "reviewer", "person", "player", "reader", "viewer",
    "listener", "buyer", "shopper", "subscriber", "profile", "household", "anonymous", "distinct",
)  # fmt: skip
_ITEM = (
    "item", "movie", "video", "product", "article", "sku", "stock", "track", "song", "book", "news", "asin", "goods",
    "content", "photo", "post", "ad", "listing", "business", "doc", "document", "game", "recipe", "hotel", "venue", "poi",
    "location", "place", "restaurant", "adgroup", "creative", "isbn", "show", "episode", "podcast", "course", "job",
    "property", "offer", "anime", "beer", "clip", "app", "artist",
)  # fmt: skip
_VISIT = frozenset(("session", "visit", "cookie", "device"))
"""Stand for a user where there is none."""
_OF_USER = frozenset((
    "type", "kind", "segment", "group", "gender", "sex", "age", "country", "region", "city", "language", "lang", "locale",
    "tier", "level", "plan", "status", "state", "role", "os", "browser", "platform", "agent", "agents",
))  # fmt: skip
"""Say something of a user where they follow its name."""
_FEWEST = 2
_FEW_USERS = 5
_ROWS_OF_ONE = 1000
_SHOWN = ("inview", "impression", "target", "candidate", "shown", "exposed")
_COUNTED = frozenset(("cnt", "count", "counts", "n", "time", "duration", "score", "rank", "price"))
_ENDS = ("", "id", "code", "name")
"""What follows a role's word without a mark between: ``userid``, ``stockcode``."""
_NEAR = 1.5
_CROWD = 20
_MOST_OF_ONE = 0.2
_DAY = 86_400_000_000
_LAST_MINUTE = 2359
"""Of a day, as hours and minutes in one number."""


@dataclass
class Guess:
    """Roles of a log's columns."""

    user: str
    item: str
    time: str
    where: str | None = None
    form: str | None = None
    """In which the time is written, where it has to be said."""
    delay: float | str = 0.0
    tasks: dict[str, Task] = field(default_factory=dict)
    every_row: bool = False
    score: str | None = None
    """What the final order is by, where it is not the first task."""
    unsure: list[str] = field(default_factory=list)
    """What a person should look at, a line each."""


def guess_roles(look: Look, given: dict[str, str] | None = None) -> Guess:
    """Who, what, when and which outcomes; ``given``: columns of roles that are known.

    Errors: ``DataError`` where nothing looks like one of the first three, or where rows hold lists of items.
    """
    given, schema = given or {}, look.log.schema
    for role, column in given.items():
        if column not in schema:
            raise no_column(f"--{role}", column, schema, look.log.name)
    if "item" not in given and (found := slates(look)):
        raise SlatesError(found)
    times = {name: time_score(look, name) for name in schema if name not in given.values()}
    time = given.get("time") or _best(look, "time", times)
    taken = {time, *given.values()}
    users = {name: _user_score(look, name) for name in schema if name not in taken}
    user = given.get("user") or _best(look, "user", users)
    items = {name: _item_score(look, name) for name in schema if name not in taken | {user}}
    item = given.get("item") or _best(look, "item", items)
    guess = Guess(user, item, time)
    form = form_of(look.sample[time])
    if form:
        guess.form = form.form
        guess.unsure += [form.doubt] if form.doubt else []
    guess.where = _where(look, guess)
    few = [] if "user" in given else _few(look, user)
    guess.unsure += [*few, *_rivals("user", user, users), *_rivals("item", item, items), *_doubts(look, guess)]
    outcomes = guess_tasks(look, {user, item, time})
    guess.tasks, guess.every_row, guess.score = outcomes.tasks, outcomes.every_row, outcomes.score
    free = [name for name in schema if name not in (user, item, time)]
    guess.delay, doubt = guess_delay(look, free, _median_gap(look, user, time))
    guess.unsure += outcomes.unsure + doubt
    return guess


def _best(look: Look, role: str, scores: dict[str, float]) -> str:
    name = max(scores, key=lambda column: scores[column], default="")
    if not name or scores[name] <= 0:
        columns = ", ".join(look.log.schema)
        files = len(look.log.files)
        among = columns if files == 1 else f"{columns} (which all {files} files have)"
        hint = records(look) or (no_time() if role == "time" else "")
        remedy = hint or f"name it with --{role} COLUMN, or write the run file by hand"
        same = _same(look) if role == "user" else ""
        raise DataError(f"{look.log.name}: no column looks like the {role} among {among}{same}: {remedy}")
    return name


def _same(look: Look) -> str:
    """Columns that are named like a user, and are none since they hold one value."""
    found = [name for name in look.log.schema if _user_score(look, name, 1) > 0 and look.distinct(name) == 1]
    return f" ({found[0]} is {look.sample[found[0]].drop_nulls()[0]} on all rows seen)" if found else ""


def _few(look: Look, user: str) -> list[str]:
    """A doubt where users are hardly any for so many rows."""
    count, rows = look.distinct(user), look.sample.height
    if count > _FEW_USERS or rows < _ROWS_OF_ONE * count:
        return []
    return [
        f"{user} has {count} values on the {rows:,} rows seen: if those are no people, name the user with --user COLUMN"
    ]


def _where(look: Look, guess: Guess) -> str | None:
    """The condition that keeps rows which have all three."""
    parts = []
    for column in (guess.user, guess.item, guess.time):
        if look.nulls[column]:
            parts.append(f"{sql_name(column)} IS NOT NULL")
        blanks = [] if column == guess.time else look.blanks(column)
        if blanks:
            parts.append(f"{sql_name(column)} NOT IN ({', '.join(sql_text(text) for text in blanks)})")
    return " AND ".join(parts) or None


def _rivals(role: str, best: str, scores: dict[str, float]) -> list[str]:
    """Columns that look nearly as much like a role."""
    if best not in scores:
        return []
    other = [name for name in scores if name != best and scores[name] > max(0.0, scores[best] - _NEAR)]
    looks = "looks" if len(other) == 1 else "look"
    return [f"the {role} is {best}; {' and '.join(other)} {looks} like it too"] if other else []


def _doubts(look: Look, guess: Guess) -> list[str]:
    doubts = []
    if _VISIT & set(words(guess.user)) and not set(_USER) & set(words(guess.user)):
        doubts.append(f"no column names a user: {guess.user} stands for one, so each history ends with it")
    users = as_text(look.sample[guess.user].drop_nulls())
    counts = users.filter(~users.is_in(look.blanks(guess.user))).value_counts(sort=True)
    share = counts["count"][0] / look.sample.height if counts.height > _CROWD else 0.0
    if share > _MOST_OF_ONE:
        named = f"{guess.user} = {counts[guess.user][0]}"
        doubts.append(f"{named} has {share:.0%} of the rows seen: leave it out by data.where if it stands for nobody")
    micros = micros_of(look.sample[guess.time].drop_nulls())
    if micros is not None and len(micros) and bool((micros % _DAY == 0).all()):
        hours = [name for name in look.log.schema if name != guess.time and _is_hour(look, name)]
        how = 'join the two first, as docs/own_data.md does under "Days and hours apart"'
        join = f"; {hours[0]} may hold the hour: {how}" if hours else ""
        doubts.append(f"{guess.time} holds days, not times: events of a user's day do not see each other{join}")
    if micros is not None and len(micros) and look.sample[guess.time].dtype.is_numeric():
        doubt = doubtful(clock_guessed(look.sample[guess.time]), int(micros[0]))
        doubts += [f"{doubt}; if it counts from a zero of its own, that does no harm"] if doubt else []
    return doubts


def _is_hour(look: Look, column: str) -> bool:
    """Whether a column holds times of a day: by its values, or as hours by its name too."""
    series = look.sample[column].drop_nulls()
    if series.dtype == pl.Time:
        return True
    if not len(series) or not (series.dtype == pl.String or series.dtype.is_integer()):
        return False
    text = series.cast(pl.String).str.strip_chars()
    named = bool({"hour", "hr", "hh", "hourmin"} & set(words(column)))
    hours = text.cast(pl.Float64, strict=False).is_between(0, _LAST_MINUTE).fill_null(False)
    return bool((text.str.contains(r"^\d{1,2}:\d{2}(?::\d{2})?(?:\.\d+)?$") | (hours & named)).all())


def _user_score(look: Look, column: str, fewest: int = _FEWEST) -> float:
    """How much a column looks like ids of users, of whom there are some; those of visits come after all others."""
    parts = words(column)
    named = next((at for at, word in enumerate(parts) if word in _USER or word in _VISIT), 0)
    if look.distinct(column) < fewest or _OF_USER & set(parts[named + 1 :]):
        return 0.0
    score = _id_score(look, column, _USER)
    return score if score else max(0.0, _id_score(look, column, tuple(_VISIT)) - 3.0)


def _item_score(look: Look, column: str) -> float:
    """How much a column looks like ids of items, of which there are some: more so if a file beside the log has it too."""
    people = set(_USER)
    described = [names for names in look.beside.values() if not any(people & set(words(name)) for name in names)]
    beside = any(column in names for names in described)
    if look.distinct(column) < _FEWEST:
        return 0.0
    score = _id_score(look, column, _ITEM)
    return score + 0.5 * beside if score else 0.0


def _id_score(look: Look, column: str, wanted: tuple[str, ...]) -> float:
    """How much a column looks like an id of one kind: named so, a key, and with repeats."""
    parts = words(column)
    if column in look.ones or not look.is_key(column) or _COUNTED & set(parts):
        return 0.0
    named = [at for at, word in enumerate(wanted) if any(word + end in parts for end in _ENDS)]
    if not named:
        return 0.0
    key = any(part in KEY for part in parts) or parts[-1].endswith("id")
    plain = len(parts) <= 2
    shown = any(part in _SHOWN for part in parts)
    return 5.0 + 3.0 * key + plain + 2.0 * shown - 0.05 * named[0] - 6.0 * look.missing(column)


def _median_gap(look: Look, user: str, time: str) -> float:
    """Seconds from one event of a user to the next; 0 where that cannot be told."""
    rows = look.sample.select(user, time).drop_nulls()
    micros = micros_of(rows[time])
    if micros is None or len(micros) < rows.height:
        return 0.0
    ordered = pl.DataFrame({"user": rows[user], "time": micros}).sort("user", "time")
    gaps = ordered.select(pl.col("time").diff().over("user").drop_nulls())["time"]
    return float(gaps.median() or 0) / 1e6  # type: ignore[arg-type]
