"""A run whose states are int8, from training to an answer."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import marm
from marm.errors import LayoutError
from marm.train import run as commands
from marm.train.inspect import memory_stats
from tests.server.running import Running
from tests.server.test_serving import NOW, RANK, event
from tests.train.logs import STAGES, run_over, write_world


def test_int8_states_are_trained_on_served_explained_and_counted(tmp_path: Path, start: Callable[..., Running]) -> None:
    folder, memory = tmp_path / "run", {"url": "lmdb://memory", "codec": "int8"}
    run = run_over(write_world(tmp_path / "world"), memory=memory, stages=STAGES)
    commands.train(run, folder, page=False)
    stats = memory_stats(folder)
    facts_bytes = stats["bytes"] - stats["rows"] * 2 * (8 + 2)
    assert facts_bytes == stats["facts_rows"] * 40 > 0

    server, scorer = start(folder), marm.open(folder)
    ranked = server.post("/v1/rank", RANK)["items"]
    wanted = scorer.score(RANK["user"], [one["item"] for one in ranked], RANK["at"])["click"]
    scorer.close()
    np.testing.assert_allclose([one["tasks"]["click"] for one in ranked], wanted, atol=1e-5)
    server.post("/v1/events", {"events": [event(n) for n in range(3)]}, 202)
    explained = server.post("/v1/explain", {"user": "u1", "item": 4, "at": NOW + 1000})
    assert explained["layers"]
    assert server.post("/v1/recommend", {"user": "u1", "at": NOW + 1000})["items"]
    held = server.client.get("/v1/inspect/users/u1").json()["memory"]
    assert [depth["bytes"] for depth in held["depths"]] == [min(held["events"], held["capacity"]) * (8 + 2)] * 2

    sections = {"memory": run.memory.model_copy(update={"codec": "float16"})}
    with pytest.raises(LayoutError, match=r"in int8, .*in float16"):
        commands.evaluate(folder, run.model_copy(update=sections), frozen=True)
