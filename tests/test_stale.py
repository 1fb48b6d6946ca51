"""Loops compiled before something they call had changed are compiled again."""

import os
from pathlib import Path

import pytest

from tests.conftest import forget_stale


@pytest.mark.parametrize(("changed", "gone"), [("caller.py", True), ("callee.py", True), ("plain.py", False)])
def test_a_loop_older_than_any_file_of_loops_is_forgotten(tmp_path: Path, changed: str, gone: bool) -> None:
    for name, text in (("caller.py", "@njit"), ("callee.py", "@njit"), ("plain.py", "")):
        (tmp_path / name).write_text(text)
    loop = tmp_path / "__pycache__" / "caller.go-1.py311.nbi"
    loop.parent.mkdir()
    loop.touch()
    forget_stale(tmp_path)
    assert loop.exists()
    after = loop.stat().st_mtime + 1
    os.utime(tmp_path / changed, (after, after))
    forget_stale(tmp_path)
    assert loop.exists() is not gone
