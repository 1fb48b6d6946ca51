"""Stages learn on the same stream as ranking: they move none of its bits, and see nothing that lies after t."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from marm.stages.hits import Hits
from marm.train import run as commands
from tests.train.folders import predictions, remembered, result, weights
from tests.train.logs import STAGES, log_frame, run_over, write_world

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


@pytest.mark.parametrize("kind", RUNS)
def test_a_log_altered_after_t_has_the_same_measurements_up_to_t(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranks of all three orders and of the stages end to end, event by event."""
    frame = log_frame(events=150)
    t = int(frame["time"][90])
    late = frame.filter(pl.col("time") > t)
    altered = pl.concat([frame.filter(pl.col("time") <= t), late.with_columns(item=(pl.col("item") * 7 + 3) % 25)])
    noted: list[dict[tuple[str, int], list[int]]] = []
    real = Hits.add

    def note(self: Hits, numbers: Any, new: Any, ranks: Any) -> None:
        for place, number in enumerate(numbers.tolist()):
            noted[-1][self.orders[0], number] = ranks[:, place].tolist()
        real(self, numbers, new, ranks)

    monkeypatch.setattr(Hits, "add", note)
    for number, log in enumerate((frame, altered)):
        noted.append({})
        trained(tmp_path / str(number), log, RUNS[kind], STAGES)
    before = int((frame["time"] <= t).sum())
    one, other = ({key: ranks for key, ranks in run.items() if key[1] < before} for run in noted)
    assert len(one) > before / 2 and {key[0] for key in one} == {"retrieval", "stages"}
    assert one == other
    assert noted[0] != noted[1]
