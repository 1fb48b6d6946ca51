"""Stages learn on the same stream as ranking: they move none of its bits, and see nothing that lies after t."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from marm.train import run as commands
from tests.train.folders import predictions, remembered, result, weights
from tests.train.logs import log_frame, run_over, write_world

STAGES: dict[str, Any] = {
    "retrieval": {
        "measured": 1.0,
        "window": 6,
        "negatives": 20,
        "recent": 40,
        "refresh": 2,
        "interests": 2,
        "found": 12,
        "near": 3,
    },
    "cascading": {"measured": 0.5, "window": 4, "sampled": 0.3, "unexposed": 5, "given": 5},
}
RUNS: dict[str, dict[str, Any]] = {
    "learned at once": {},
    "delay, negatives, token shift": {
        "data": {"feedback_delay": "delay"},
        "negatives": {"per_event": 1, "recent": 50},
        "model": {"token_shift": True},
    },
    "filtered history, two threads, store_top": {
        "data": {"history": "click = 1", "feedback_delay": "delay"},
        "memory": {"store_top": True},
        "train": {"threads": 2, "micro_batch": 128, "first_batch": 128},
    },
}
pytestmark = pytest.mark.usefixtures("no_report")


def trained(folder: Path, frame: pl.DataFrame, sections: dict[str, Any], stages: dict[str, Any] | None) -> Path:
    sections = sections | ({"stages": stages} if stages else {})
    commands.train(run_over(write_world(folder / "world", frame), **sections), folder / "run")
    return folder / "run"


@pytest.mark.parametrize("kind", RUNS)
def test_ranking_is_the_same_bit_for_bit_with_stages_or_without(kind: str, tmp_path: Path) -> None:
    frame = log_frame(events=150)
    alone = trained(tmp_path / "alone", frame, RUNS[kind], None)
    beside = trained(tmp_path / "beside", frame, RUNS[kind], STAGES)
    assert predictions(alone).equals(predictions(beside))
    first, second = weights(alone), weights(beside)
    assert first.keys() == second.keys()
    assert all(first[name].equal(second[name]) for name in first)
    assert remembered(alone) == remembered(beside)
    told = result(beside)["stages"]
    assert told["retrieval"]["whole"]["events"] == frame["click"].sum()
    assert told["cascading"]["end_to_end"]["events"] > 0
