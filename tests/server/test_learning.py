"""What a run folder tells of learning is among the figures of a server of it."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from marm.train.cut import Cut
from marm.train.follow import PULSE, follow
from tests.server.running import Running
from tests.store.servers import wait_until
from tests.train.feeding import events_of, put, quick
from tests.train.folders import metric_lines
from tests.train.logs import log_frame

Start = Callable[..., Running]


def figures(server: Running) -> dict[str, float]:
    """Values of all samples, by name and labels."""
    families = text_string_to_metric_families(server.client.get("/metrics").text)
    samples = (sample for family in families for sample in family.samples)
    return {sample.name + "".join(f" {value}" for value in sample.labels.values()): sample.value for sample in samples}


def test_what_a_follower_said_last_and_its_last_window_are_shown(folder: Path, start: Start) -> None:
    records = list(events_of(log_frame(events=330, seed=3)[200:]))
    for record in records:
        record["at"] += 100_000
    put(folder, [*records, records[0]])
    began = time.time()
    follow(folder, quick(folder), until_idle=0)
    cut, window = Cut(folder), metric_lines(folder)[-1]
    server = start(folder, "serve.look=0.05")
    wait_until(lambda: figures(server)["marm_follow_seen_seconds"] > 0)
    shown = figures(server)
    assert shown["marm_cut"] == cut.number and began <= shown["marm_cut_written_seconds"] <= time.time()
    assert began <= shown["marm_follow_seen_seconds"] <= time.time()
    assert (
        shown["marm_window_hit_rate"] == window["hit_rate"][0]
        and shown["marm_window_age_steps"] == window["age_steps"][0]
    )
    assert math.isnan(shown["marm_follow_lag_messages"])  # nobody counts lines of an inbox
    told = {"at": 5.0, "waiting": 7, "lag": 9, "counts": {"events": 130, "late": 2}}
    (folder / PULSE).write_text(json.dumps(told))
    wait_until(lambda: figures(server)["marm_follow_seen_seconds"] == 5)
    shown = figures(server)
    assert (shown["marm_follow_waiting_events"], shown["marm_follow_lag_messages"]) == (7, 9)
    assert (shown["marm_followed_records events"], shown["marm_followed_records late"]) == (130, 2)


def test_a_follower_tells_its_counts_while_it_runs(folder: Path) -> None:
    put(folder, [{**next(iter(events_of(log_frame(events=1)))), "at": 5}])
    asked, seen = iter([False] * 5 + [True] * 99), []

    def stop() -> bool:
        if (folder / PULSE).exists():
            seen.append(json.loads((folder / PULSE).read_text()))
        return next(asked)

    follow(folder, quick(folder), stop=stop)
    at_its_end = json.loads((folder / PULSE).read_text())
    for told, counts in ((seen[0], {"late": 1}), (at_its_end, {"late": 1, "events": 0})):
        assert told["counts"] == counts and told["cut"] == Cut(folder).number and told["waiting"] == 0


def test_half_a_line_of_figures_is_passed_over(folder: Path, start: Start) -> None:
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"hit_rate": [0.123')
    server = start(folder, "serve.look=0.05")
    wait_until(lambda: not math.isnan(figures(server)["marm_window_hit_rate"]))
    assert figures(server)["marm_window_hit_rate"] == metric_lines_whole(folder)["hit_rate"][0]
    assert figures(server)["marm_failed_swaps_total"] == 0


def test_a_server_looks_on_after_a_look_that_failed_whatever_it_found(folder: Path, start: Start) -> None:
    (folder / PULSE).write_text('{"at": 4}')  # as another release may write it
    server = start(folder, "serve.look=0.05")
    wait_until(lambda: figures(server)["marm_failed_swaps_total"] == 1)
    (folder / PULSE).write_text(json.dumps({"at": 5, "waiting": 0, "counts": {}}))
    wait_until(lambda: figures(server)["marm_follow_seen_seconds"] == 5)


def metric_lines_whole(folder: Path) -> dict[str, list[float]]:
    """The last whole line."""
    return json.loads((folder / "metrics.jsonl").read_text().splitlines()[-2])  # type: ignore[no-any-return]
