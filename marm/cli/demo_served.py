"""The end of the demo: the trained run serves, a user is shown items, reacts, and is asked for again."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table

from marm.errors import FolderError

SHOWN, CLICKED = 5, 2
"""Items that the user is shown, and of these, from the first on, clicked."""
_PATIENCE = 90.0
"""Seconds until the server answers, and until a new cut does."""
_PORT = 8000
_PLAIN: dict[str, Any] = {"highlight": False, "soft_wrap": True}
"""Nothing coloured, no line broken: to be copied."""


@dataclass(frozen=True)
class Standing:
    """What one answer says: which cut gave it, how many events it saw live, each item's rank (from 1) and score."""

    cut: int
    live: int
    items: dict[Any, tuple[int, float]]


@dataclass(frozen=True)
class Reaction:
    """A user, the feedback, and where items stood before it, at once after it, and once it was learned from."""

    user: Any
    events: list[dict[str, Any]]
    before: Standing
    at_once: Standing
    learned: Standing


def show_served(folder: Path, log: Path) -> None:
    """Serve a run on a free port, show what feedback moves, and stop; with DEMO_STAY=1 in the environment, when told to."""
    console = Console(width=100) if not Console().is_terminal else Console()
    stay = os.environ.get("DEMO_STAY", "0") not in ("", "0")
    with serving(folder) as address:
        console.print(f"\nServed by `marm up {folder}`: it answers, and learns from what it is told.", highlight=False)
        reaction = react(address, log)
        console.print(_table(reaction, _categories(log)))
        console.print(_story(reaction), highlight=False)
        if stay:
            console.print(
                _how(reaction, address, f"It stays up at {address} until Ctrl-C. The same by hand:"), **_PLAIN
            )
            _wait()
    if not stay:
        again = f"It has stopped. `marm up {folder}` starts it again; then, the same by hand:"
        console.print(_how(reaction, f"http://127.0.0.1:{_PORT}", again), **_PLAIN)


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """`marm up` on a free port of this machine as a process of its own; its address. Errors: ``FolderError``."""
    said = folder / "up.log"
    words = [sys.executable, "-m", "marm", "up", str(folder), "--port", "0"]
    with said.open("wb") as errors, subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, text=True) as child:
        try:
            assert child.stdout is not None
            address = child.stdout.readline().strip()
            if not address:
                raise FolderError(f"{folder}: the server did not start: {said} says why")
            yield address
        finally:
            child.send_signal(signal.SIGTERM)
            child.communicate()


def _wait() -> None:
    try:
        signal.pause()
    except KeyboardInterrupt:
        print(file=sys.stderr)


def react(address: str, log: Path) -> Reaction:
    """Ask for the log's last user, tell that some of the first items were clicked, and ask again and again."""
    last = pl.read_parquet(log / "log").tail(1)
    user, now = last["user"][0], int(last["time"][0])
    before = _ask(address, user, now + 60_000)
    first = list(before.items)[:SHOWN]
    events = [_event(number, user, item, now + 60_000) for number, item in enumerate(first)]
    _post(f"{address}/v1/events", {"events": events})
    at_once = learned = _ask(address, user, now + 61_000)
    until = time.monotonic() + _PATIENCE
    while (learned.cut == before.cut or learned.live) and time.monotonic() < until:
        time.sleep(0.2)
        learned = _ask(address, user, now + 61_000)
    return Reaction(user, events, before, at_once, learned)


def _event(number: int, user: Any, item: Any, at: int) -> dict[str, Any]:
    done = int(number < CLICKED)
    return {"event_id": f"demo {number + 1}", "user": user, "item": item, "at": at,
            "outcomes": {"click": done, "long_view": done}}  # fmt: skip


def _ask(address: str, user: Any, at: int) -> Standing:
    answer = _post(f"{address}/v1/recommend", {"user": user, "k": 1000, "at": at})
    items = {one["item"]: (rank, one["score"]) for rank, one in enumerate(answer["items"], 1)}
    return Standing(answer["trace"]["cut"], answer["trace"]["tail"], items)


def _post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    """Once more after a moment where the server is busy. Errors: ``FolderError``."""
    asked = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})  # noqa: S310
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            # The address is that of the server started here.
            with urllib.request.urlopen(asked, timeout=_PATIENCE) as answer:  # noqa: S310  # nosec B310
                return json.load(answer)  # type: ignore[no-any-return]
        except urllib.error.HTTPError as error:
            if error.code != 503 or time.monotonic() > until:
                raise FolderError(f"{url}: answered {error.code}: {error.read().decode()[:200]}") from None
        time.sleep(0.2)


def _categories(log: Path) -> dict[Any, Any]:
    items = pl.read_parquet(log / "items.parquet", columns=["item", "category"])
    return dict(zip(items["item"].to_list(), items["category"].to_list(), strict=True))


def _table(reaction: Reaction, categories: dict[Any, Any]) -> Table:
    shown = Table("item", "category", f"user {reaction.user}", title=None)
    for name in ("before", "at once", "", "learned", ""):
        shown.add_column(name, justify="right")
    told = {event["item"]: "clicked" if event["outcomes"]["click"] else "skipped" for event in reaction.events}
    newly = [item for item in list(reaction.learned.items)[:SHOWN] if item not in told]
    before = reaction.before
    for item in [*told, *newly]:
        here, after, last = (one.items.get(item) for one in (before, reaction.at_once, reaction.learned))
        cells = [_place(here), _place(after), _moved(here, after), _place(last), _moved(here, last)]
        shown.add_row(str(item), str(categories.get(item, "")), told.get(item, ""), *cells)
    return shown


def _place(one: tuple[int, float] | None) -> str:
    return f"{one[0]}.  {one[1]:.3f}" if one else "-"


def _moved(before: tuple[int, float] | None, after: tuple[int, float] | None) -> str:
    if before is None or after is None or before[0] == after[0]:
        return ""
    step = before[0] - after[0]
    return f"[green]▲ {step}[/]" if step > 0 else f"[red]▼ {-step}[/]"


def _story(reaction: Reaction) -> str:
    before, at_once, learned = reaction.before, reaction.at_once, reaction.learned
    lines = [
        f"rank and score (chance of a click) among {len(before.items)} items",
        f"before    cut {before.cut} answers",
        f"at once   cut {at_once.cut} still, and it sees {at_once.live} events live: the user just reacted",
    ]
    if learned.cut > before.cut:
        lines.append(f"learned   cut {learned.cut}: weights learned from them, memory holds them")
    return "\n".join(lines)


def _how(reaction: Reaction, address: str, first: str) -> str:
    event = {**reaction.events[0], "event_id": "mine 1"}
    asked = {"user": reaction.user, "k": SHOWN, "at": event["at"] + 2000}
    return "\n".join(
        [
            "",
            first,
            f"  curl {address}/v1/recommend --json '{json.dumps(asked)}'",
            f"  curl {address}/v1/events --json '{json.dumps({'events': [event]})}'",
            f"Look inside: {address}/",
        ]
    )
