"""Commands are loaded when they are asked for, and no sooner."""

import subprocess
import sys

import pytest

from marm.cli.app import COMMANDS
from marm.cli.lazy import Commands

_LOADED = """
import sys
from marm.cli.app import main
try:
    main()
except SystemExit as end:
    print(end.code, "torch" in sys.modules, file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("words", "code", "loads"),
    [
        (["--help"], 0, False),
        (["init", "nothing.parquet"], 2, False),
        (["trian"], 2, False),
        (["train", "--help"], 0, True),
    ],
)
def test_torch_is_loaded_by_commands_that_need_it_alone(tmp_path, words, code, loads):
    done = subprocess.run(
        [sys.executable, "-c", _LOADED, *words], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.stderr.splitlines()[-1] == f"{code} {loads}", done.stderr


def test_the_list_of_commands_says_of_each_what_it_says_of_itself():
    loaded, described = Commands(COMMANDS), Commands(COMMANDS)
    described.described = True
    assert list(loaded) == list(COMMANDS) and "trian" not in loaded
    for name in COMMANDS:
        assert described[name].help and described[name].help.split() == loaded[name].help.split()
        assert described[name].name == loaded[name].name == name
