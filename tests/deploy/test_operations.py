"""What the guide tells an operator to see and to type is there: lines as the code prints them, commands, rehearsals."""

import ast
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from marm.cli.app import app
from tests.deploy.manifests import PAGE
from tests.docs.commands import check_options
from tests.docs.pages import ROOT, blocks, text_of
from tests.study.test_plan import made

__all__ = ["made"]

RUNBOOKS = {
    part.splitlines()[0]: part for part in re.split(r"^### ", text_of(PAGE).partition("## Runbooks")[2], flags=re.M)[1:]
}
LINES = [line for block in blocks(PAGE) if block.language == "text" for line in block.text.splitlines()]


def test_there_are_ten_and_each_says_what_is_seen_what_to_do_and_who_rehearsed_it() -> None:
    assert len(RUNBOOKS) >= 10
    for name, text in RUNBOOKS.items():
        assert re.search(r"^Seen: ", text, re.M) and re.search(r"^Do[:,] ", text, re.M), name
        assert re.search(r"^Rehearsed by `tests/", text, re.M), name


@pytest.mark.parametrize("name", RUNBOOKS)
def test_rehearsals_are_tests(name: str) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", RUNBOOKS[name])
    assert named
    for path, test in named:
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{path}::{test}"


def test_lines_that_are_seen_are_printed_so() -> None:
    messages = [re.compile(pattern) for path in (ROOT / "marm").rglob("*.py") for pattern in patterns(path)]
    seen = [line for line in LINES if line.startswith(("marm: ", "{", "kafka://"))]
    assert len(seen) >= 7
    for line in seen:
        said = re.sub(r'^(marm: |\{"level": "WARNING", "message": ")|"}$', "", line)
        assert any(one.fullmatch(said) for one in messages), line


def patterns(path: Path) -> list[str]:
    """Texts of a file as expressions, in which anything may stand where something is put in; those that say much."""
    out = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            parts = [re.escape(p.value) if isinstance(p, ast.Constant) else "(.+)" for p in node.values]
            fixed = sum(len(p.value) for p in node.values if isinstance(p, ast.Constant))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            parts, fixed = [re.escape(node.value).replace("%s", "(.+)")], len(node.value.replace("%s", ""))
        else:
            continue
        if fixed > 25:
            out.append("".join(parts))
    return out


def test_commands_of_marm_are_there_with_their_options() -> None:
    said = [line.removeprefix("$ ") for line in LINES]
    commands = [line for line in said if line.startswith("marm ")]
    assert len(commands) >= 6
    for line in commands:
        check_options(shlex.split(line))


def test_the_plan_that_is_shown_has_the_lines_of_a_plan(made: tuple[Path, object, Path]) -> None:
    folder, _, study = made
    words = ["plan", str(folder), "--study", str(study), "--bytes", "5MB", "--users", "1K", "--latency", "30ms"]
    printed = [shape(line) for line in CliRunner().invoke(app, words).stdout.splitlines()]
    shown = [line for line in LINES if line.startswith(("Settings: ", "memory  ", "network  ", "compute  "))]
    assert len(shown) == 4
    for line in shown:
        assert shape(line) in printed, line


def shape(line: str) -> str:
    """A line without its numbers and their units."""
    return re.sub(r"[\d,.]*\d( ?[KMGT]?i?B\b| k\b)?", "#", line)
