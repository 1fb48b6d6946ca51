"""What became of a log of lists, as lines for a person."""

import shlex
from pathlib import Path

from marm.data.explode import Exploded
from marm.data.guess_words import outcome_words


def lines(done: Exploded, out: Path) -> list[str]:
    """What was read as what, what was left out or lost, and what to run next."""
    wrote = f"wrote {_count(done.rows, 'row')} of {_count(done.lists, 'list')} to {out}"
    return [_read(done), *_clashes(done), *_lost(done), f"{wrote}: now run `{_next(done.slates.item, out)}`"]


def _read(done: Exploded) -> str:
    slates, shown = done.slates, done.slates.shown.name
    if slates.fields:
        fields = [one if one == name else f"{one} (as {name})" for one, name in slates.fields.items()]
        return f"{shown} holds records: {', '.join(fields)}"
    told = [f"{shown} holds items: each is {slates.item}"]
    told += [f"{slates.marked} is told by its marks"] if slates.marked else []
    told += [f"{name} by {column.name}" for name, column in slates.clicks.items()]
    told += [f"beside each item: {', '.join(column.name for column in slates.beside)}"] if slates.beside else []
    return "; ".join(told)


def _clashes(done: Exploded) -> list[str]:
    """What a person should look at in the columns."""
    slates, made = done.slates, []
    if not slates.fields and not slates.outcomes and not any(outcome_words(column.name) for column in slates.beside):
        hint = f" ({' or '.join(slates.maybe)} names one of the row's items)" if slates.maybe else ""
        made.append(
            f"no column tells what was clicked: name one with --clicked COLUMN{hint}, or each row is a positive"
        )
    if slates.outcomes and "click" in slates.clash:
        made.append(f"click is a column of the log: whether an item was clicked is in {slates.outcomes[0]}")
    if "position" in slates.clash:
        made.append("position is a column of the log: the place in the list is not written")
    if slates.left:
        made.append(f"left out, as lists without a value for each item: {', '.join(slates.left)}")
    return made + ([f"not all files have {', '.join(done.missing)}: left out"] if done.missing else [])


def _lost(done: Exploded) -> list[str]:
    """What no row was made of."""
    shown, made = done.slates.shown.name, []
    if done.empty:
        clicked = f" ({done.lost:,} with a clicked one)" if done.lost else ""
        made.append(f"{_count(done.empty, 'row')} of the log without items{clicked}: left out")
    if done.blank:
        made.append(f"{_count(done.blank, 'place')} without an item in lists of {shown}: left out")
    for name, count in done.unshown.items():
        if count:
            what = f"{_count(count, 'id')} of {name} not among the items of the same row"
            made.append(f"{what}, first {done.first_unshown[name]}: no click is made of such")
    for name, count in done.unfit.items():
        if count:
            made.append(f"{_count(count, 'list')} of {name} not as long as the items: null there")
    return made


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _next(item: str | None, out: Path) -> str:
    return shlex.join(["marm", "init", str(out), *(["--item", item] if item else [])])
