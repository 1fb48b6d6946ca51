"""The demo from beginning to end, small: it trains, serves, shows what feedback moves, and leaves nothing running."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from marm.cli import demo as module
from marm.cli import demo_served
from marm.data.grow import Grower
from marm.data.inbox import InboxWriter
from marm.errors import FolderError
from tests.server.conftest import start as start
from tests.server.running import Running


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a small demo and what it printed of the server."""
    out, said = tmp_path_factory.mktemp("demo") / "out", list[str]()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("USERS", 20), ("ITEMS", 100), ("EVENTS", 1500)):
            patch.setattr(module, name, value)
        patch.setattr(demo_served, "Console", _recording(said))
        module.demo(out, quiet=True)
    return out, "".join(said)


def _recording(said: list[str]) -> type:
    class Recording(demo_served.Console):
        def print(self, *words, **options):  # type: ignore[no-untyped-def]
            with self.capture() as held:
                super().print(*words, **options)
            said.append(held.get())

    return Recording


def test_the_user_is_shown_items_reacts_and_their_places_move(shown: tuple[Path, str]) -> None:
    _, said = shown
    rows = [line.split("│") for line in said.splitlines() if line.startswith("│")]
    told = [row for row in rows if row[3].strip() in ("clicked", "skipped")]
    assert [row[3].strip() for row in told] == ["clicked"] * 2 + ["skipped"] * 3
    assert [row[4].split(".")[0].strip() for row in told] == ["1", "2", "3", "4", "5"]
    assert any(row[4] != row[5] for row in told) and any(row[5] != row[7] for row in told)
    assert re.search(r"cut 1 still, and it sees 5 events live", said)
    assert re.search(r"learned +cut [2-9]", said)


def test_what_was_told_is_in_the_stream_and_nothing_runs_on(shown: tuple[Path, str]) -> None:
    out, said = shown
    followed = json.loads((out / "3_layers" / "follow.json").read_text())
    assert followed["counts"]["events"] == 5
    assert "It has stopped" in said
    # Both hold a lock while they run.
    Grower(out / "3_layers" / "events").close()
    InboxWriter(out / "3_layers" / "inbox").close()


def test_a_server_of_that_folder_takes_the_printed_lines(
    shown: tuple[Path, str], start: Callable[..., Running]
) -> None:
    out, said = shown
    lines = re.findall(r"curl http://127\.0\.0\.1:8000(\S+) --json '(.*)'", said)
    assert [path for path, _ in lines] == ["/v1/recommend", "/v1/events"]
    server = start(out / "3_layers")
    for path, body in lines:
        server.post(path, json.loads(body), 202 if path == "/v1/events" else 200)


def test_a_server_that_does_not_start_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match=r"did not start: .*up\.log says why"), demo_served.serving(tmp_path):
        pass
