"""A first run file for a log: roles, tasks and features guessed, each setting with its reason."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from marm.config import load_run
from marm.data.among import log_among, scattered
from marm.data.guess import Guess, guess_roles
from marm.data.guess_features import FeatureGuess, guess_features
from marm.data.guess_model import Setting, guess_model
from marm.data.guess_sides import SideGuess
from marm.data.look import Look, look_at
from marm.errors import DiskError, FolderError, one_line

_FIRST = (
    "# The first task says which rows went well, and answers come in its order unless serve.score says otherwise. Purchases",
    "# stand before carts, carts before the rest; what was only seen, then what went badly, is last. Change it as you like.",
)


def init(log: Path, out: Path, force: bool = False, given: dict[str, str] | None = None) -> Guess:
    """Look at a log (file, folder or glob) and write a commented run file; returns the roles that were guessed.

    ``given``: columns of ``user``, ``item`` or ``time`` that need no guess.

    Errors: ``FolderError`` if ``out`` is there and not ``force``, ``DataError`` where no role can be guessed.
    """
    if out.exists() and not force:
        raise FolderError(f"{out} exists: give --force to write it anew, or --out for another file")
    look = look_at(*log_among(log, given or {}))
    guess = guess_roles(look, given)
    features = guess_features(look, guess)
    guess.unsure += features.unsure + scattered(look)
    if lost := look.left_out():
        guess.unsure.append(f"not all files have {', '.join(lost)}: left out")
    text = _text(look, guess, features, guess_model(look, guess, features), out)
    try:
        _write(text, out)
    except OSError as error:
        raise DiskError(out, error) from None
    return guess


def _write(text: str, out: Path) -> None:
    """Write a run file that is known to load, by a rename."""
    with tempfile.NamedTemporaryFile("w", dir=out.parent, suffix=".toml", delete=False, encoding="utf-8") as file:
        file.write(text)
    beside = Path(file.name)
    try:
        load_run(beside)
        beside.replace(out)
    finally:
        beside.unlink(missing_ok=True)


def _text(look: Look, guess: Guess, features: FeatureGuess, settings: dict[str, dict[str, Setting]], out: Path) -> str:
    parts = [
        f"# A first run file for {look.log.name} ({look.rows:,} rows). Lines marked `guess` are read off names and values:",
        "# check them, then run `marm validate` on this file. Settings not named here have defaults.",
        *(f"# unsure: {line}" for line in guess.unsure),
        "",
        *_data(look, guess, out),
        *_sides(features, look.folder),
        *_features(features),
        *_tasks(guess),
        *_settings(settings),
    ]
    return "\n".join(map(one_line, parts)) + "\n"


def _data(look: Look, guess: Guess, out: Path) -> list[str]:
    base = os.path.relpath(look.folder.resolve(), out.parent.resolve())
    lines = ["[data]", _line("path", base, "base folder, relative to this file"), _line("log", look.named, "the log")]
    if guess.where:
        lost = max(look.missing(column) for column in (guess.user, guess.item, guess.time))
        lines.append(_line("where", guess.where, f"rows to keep; {lost:.1%} of those seen have no value there"))
    lines += [
        _line("user", guess.user, "guess: who saw it"),
        _line("item", guess.item, "guess: what was shown"),
        _line("time", guess.time, "guess: when it was shown; the unit is recognised"),
    ]
    if guess.form:
        lines.append(_line("time_format", guess.form, "guess: how times are written"))
    if guess.delay:
        lines.append(_line("feedback_delay", guess.delay, "guess: seconds until an outcome is known"))
    else:
        lines.append("# feedback_delay = 0  # seconds until an outcome is known, or a column of them")
    return lines


def _sides(features: FeatureGuess, folder: Path) -> list[str]:
    lines = []
    for name, side in (("items", features.items), ("users", features.users)):
        if side is not None:
            reason = f"guess: has {side.overlap:.0%} of the log's {name}"
            file = str(side.file.relative_to(folder))
            lines += ["", f"[data.{name}]", _line("file", file, reason), _line("id", side.id, "its id column")]
        elif name in features.repeats:
            twice = features.repeats[name]
            reason = f"left out: {twice.id} {twice.again} is there more than once"
            file = str(twice.file.relative_to(folder))
            lines += [
                "",
                f"# [data.{name}]",
                f"# {_line('file', file, reason)}",
                f"# {_line('id', twice.id, 'its id column')}",
            ]
    return lines


def _features(features: FeatureGuess) -> list[str]:
    item, user = _of(features.items), _of(features.users)
    lines = _group("item", {**item, **features.item}, features.items.doubtful if features.items else {})
    lines += _group("user", {**user, **features.user}, features.users.doubtful if features.users else {})
    return lines + _group("context", features.context, features.doubtful)


def _of(side: SideGuess | None) -> dict[str, Any]:
    """Its features as a run file has them."""
    if side is None:
        return {}
    parted = {name: mark for name, mark in side.separators.items() if mark != "|"}
    return side.features | {name: {"kind": "tags", "separator": mark} for name, mark in parted.items()}


def _group(name: str, features: dict[str, Any], doubtful: dict[str, str]) -> list[str]:
    if not features and not doubtful:
        return []
    lines = ["", f"[features.{name}]"]
    lines += [_line(column, kind, "guess") for column, kind in features.items()]
    return lines + [f'# {_key(column)} = "category"  # left out: {reason}' for column, reason in doubtful.items()]


def _tasks(guess: Guess) -> list[str]:
    lines = ["", *_FIRST] if len(guess.tasks) > 1 else []
    for name, task in guess.tasks.items():
        lines += ["", f"[tasks.{_key(name)}]", f"# guess: {task.reason}"]
        lines += [f"{_key(key)} = {_value(value)}" for key, value in task.settings.items()]
    if guess.every_row:
        lines += [
            "",
            "[negatives]",
            _line("per_event", 4, "drawn from items of earlier events: the log has no negatives"),
        ]
    return lines


def _settings(settings: dict[str, dict[str, Setting]]) -> list[str]:
    parts = []
    for section, named in settings.items():
        lines = [_line(name, setting.value, setting.reason) for name, setting in named.items()]
        parts += ["", f"[{section}]", *lines] if lines else []
    return parts


def _line(key: str, value: object, reason: str) -> str:
    return f"{_key(key)} = {_value(value)}  # {reason}"


def _key(key: str) -> str:
    bare = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    return key if bare else json.dumps(key)


def _value(value: object) -> str:
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{_key(key)} = {_value(inner)}' for key, inner in value.items())} }}"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
