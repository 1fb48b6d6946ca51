"""Every command and every snippet of the documentation runs, in order, from an empty folder for each page."""

import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

from marm.config import RunConfig
from marm.config.load import check_run
from tests.docs.commands import run
from tests.docs.pages import PAGES, blocks, text_of
from tests.store import servers

LANGUAGES = {"sh", "python", "toml", "json", "text", "floors"}
BASE = {"data": {"log": "log", "user": "user", "item": "item", "time": "time"}, "tasks": {"click": {"column": "click"}}}


@pytest.fixture(autouse=True)
def threads_as_before() -> Any:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_and_snippet_of_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if "redis-server" in text_of(page):
        servers.binary()
    names: dict[str, Any] = {"__name__": "snippet"}
    try:
        for block in blocks(page):
            if block.language == "sh":
                for line in block.text.splitlines():
                    run(line)
            if block.language == "python":
                # Line numbers of a failure are those of the page.
                exec(compile("\n" * (block.line - 1) + block.text, page, "exec"), names)
    finally:
        # A page ends its own server, unless it failed before.
        if isinstance(server := names.get("server"), subprocess.Popen):
            server.kill()
            server.wait()
            for pipe in (server.stdout, server.stderr):
                if pipe:
                    pipe.close()


@pytest.mark.parametrize("page", PAGES)
def test_every_part_of_a_run_file_on_a_page_is_accepted(page: str) -> None:
    for block in blocks(page):
        if block.language == "toml":
            told = tomllib.loads(block.text)
            # An arm of a test in the simulated app has the sections of one run file or two.
            for part in [told[name] for name in ("ranking", "retrieval") if name in told] or [told]:
                assert isinstance(check_run(_laid_over(BASE, part), f"{page} line {block.line}"), RunConfig)


@pytest.mark.parametrize("page", PAGES)
def test_every_fenced_block_is_of_a_kind_that_is_checked(page: str) -> None:
    assert {block.language for block in blocks(page)} <= LANGUAGES


def _laid_over(base: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    return {**base, **part, "data": {**base["data"], **part.get("data", {})}}
