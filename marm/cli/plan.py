"""How much memory to buy."""

import json
import re
from pathlib import Path
from typing import Annotated

import typer

from marm.errors import SettingError

_SCALES = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15,
           "KI": 2.0**10, "MI": 2.0**20, "GI": 2.0**30, "TI": 2.0**40, "PI": 2.0**50}  # fmt: skip


def plan(
    run: Annotated[Path, typer.Argument(help="run folder of the log that was studied")],
    study: Annotated[Path, typer.Option(help="folder of marm study scaling")],
    bytes_: Annotated[str, typer.Option("--bytes", help="memory for all users: 100GB, 2TiB")],
    users: Annotated[str, typer.Option(help="users: 50M")],
    latency: Annotated[str, typer.Option(help="for a request of 500 candidates: 30ms")],
    requests: Annotated[float, typer.Option(min=0.0, help="requests of a user in a day")] = 20.0,
    events: Annotated[float, typer.Option(min=0.0, help="events of a user in a day")] = 100.0,
    codecs: Annotated[str, typer.Option(help="codecs to choose from, with commas between; none: the run's")] = "",
    json_: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Say which layers, rows, width and picks of a search buy the most GAUC within a budget; shows its arithmetic."""
    from marm.data.stream import EventLog
    from marm.study.plan import Budget, plan, read_study
    from marm.study.plan_text import as_json, as_text
    from marm.train.folder import run_of

    budget = Budget(amount("bytes", bytes_, "B"), amount("users", users), _milliseconds(latency), requests, events)
    settings, studied = run_of(run), read_study(study)
    named = [name.strip() for name in codecs.split(",") if name.strip()]
    found = plan(settings, EventLog(run / "events"), studied, budget, named)
    typer.echo(json.dumps(as_json(found), indent=1) if json_ else as_text(found, settings))


def amount(name: str, text: str, unit: str = "") -> float:
    """A number above zero with K, M, G, T or P, or Ki and so on, and perhaps a unit. Errors: ``SettingError``."""
    found = re.fullmatch(rf"([0-9.]+)\s*([KMGTP]?I?){unit}?", text.strip().upper())
    try:
        value = float(found[1]) * _SCALES[found[2]] if found else 0.0
    except (ValueError, KeyError):
        value = 0.0
    if not value > 0:
        raise SettingError(f"--{name} {text}: give a number above zero, as 50M or 100G{unit}")
    return value


def _milliseconds(text: str) -> float:
    found = re.fullmatch(r"([0-9.]+)\s*(ms|s)?", text.strip().lower())
    try:
        value = float(found[1]) * (1000.0 if found[2] == "s" else 1.0) if found else 0.0
    except ValueError:
        value = 0.0
    if not value > 0:
        raise SettingError(f"--latency {text}: give milliseconds above zero, as 30ms, or seconds, as 0.1s")
    return value
