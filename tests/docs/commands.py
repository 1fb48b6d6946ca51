"""Commands of the documentation: run in this process where that takes seconds, else checked against what there is."""

import re
import shlex
import urllib.request
from typing import Any

import typer.main
from typer.testing import CliRunner

from marm.cli.app import app
from tests.docs.pages import ROOT

LONG = {"cluster-demo", "demo", "serve", "up"}
"""Commands of marm that take minutes or do not end: only their options are checked."""

INSTALL = {"python3 -m venv .venv", ".venv/bin/pip install ."}
"""What stands before marm is there."""


def run(line: str) -> None:
    """Run a line of a shell block; what it may be is listed here, so that no line goes unnoticed."""
    words = shlex.split(line, comments=True)
    if not words or " ".join(words) in INSTALL:
        return
    if words[0] == "make":
        check_make(words)
        return
    if words[0] == "curl":
        ask(words)
        return
    assert words[0] == "marm", f"{line}: neither marm, make nor curl"
    check_options(words)
    if words[1] not in LONG:
        done = CliRunner().invoke(app, words[1:])
        assert done.exit_code == 0, f"{line}: {done.exception or done.output}"


def ask(words: list[str]) -> None:
    """What curl would do with an address and maybe ``--json``, as the page's own server is up by then; a fault raises."""
    body = words[words.index("--json") + 1].encode() if "--json" in words else None
    assert len(words) == (2 if body is None else 4), f"{' '.join(words)}: an address and maybe --json"
    asked = urllib.request.Request(f"http://{words[1]}", body, {"content-type": "application/json"})
    with urllib.request.urlopen(asked, timeout=30) as answer:
        assert answer.status < 300 and answer.read()


def check_make(words: list[str]) -> None:
    """Every target must stand in the Makefile."""
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(words[1:]) <= set(targets), f"{' '.join(words)}: the Makefile has {targets}"


def check_options(words: list[str]) -> None:
    """The command must be there, and have every option that is given."""
    command: Any = typer.main.get_command(app)
    for word in words[1:]:
        if not hasattr(command, "commands"):
            break
        assert word in command.commands, f"{' '.join(words)}: there is no {word}, there is {list(command.commands)}"
        command = command.commands[word]
    known = [name for param in command.params for name in (*param.opts, *param.secondary_opts)]
    given = [word for word in words if word.startswith("--")]
    assert set(given) <= set(known), f"{' '.join(words)}: its options are {known}"
