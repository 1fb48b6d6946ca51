"""Stages learn on the same stream as ranking: they move none of its bits, and see nothing that lies after t."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from marm.stages import retrieval
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


Ranks = dict[tuple[str, int], list[int]]


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> list[Ranks]:
    """What is measured of each event, by its number, in the last of these."""
    runs: list[Ranks] = []
    real = Hits.add

    def note(self: Hits, numbers: Any, new: Any, ranks: Any) -> None:
        for place, number in enumerate(numbers.tolist()):
            runs[-1][self.orders[0], number] = ranks[:, place].tolist()
        real(self, numbers, new, ranks)

    monkeypatch.setattr(Hits, "add", note)
    return runs


def measured(tmp_path: Path, frames: list[pl.DataFrame], kind: str, noted: list[Ranks], t: int) -> list[Ranks]:
    """Ranks of the events up to t that are measured over each of the logs."""
    for number, frame in enumerate(frames):
        noted.append({})
        trained(tmp_path / str(number), frame, RUNS[kind], STAGES)
    assert noted[0] != noted[1]
    before = int((frames[0]["time"] <= t).sum())
    return [{key: ranks for key, ranks in run.items() if key[1] < before} for run in noted]


@pytest.mark.parametrize("kind", RUNS)
def test_a_log_altered_after_t_has_the_same_measurements_up_to_t(kind: str, tmp_path: Path, noted: list[Ranks]) -> None:
    """Ranks of all three orders and of the stages end to end, event by event."""
    frame = log_frame(events=150)
    t = int(frame["time"][90])
    late = frame.filter(pl.col("time") > t)
    altered = pl.concat([frame.filter(pl.col("time") <= t), late.with_columns(item=(pl.col("item") * 7 + 3) % 25)])
    one, other = measured(tmp_path, [frame, altered], kind, noted, t)
    assert len(one) > 45 and {key[0] for key in one} == {"retrieval", "stages"}
    assert one == other


@pytest.mark.parametrize("kind", [kind for kind in RUNS if "delay" in RUNS[kind].get("data", {}).values()])
def test_outcomes_not_known_at_t_leave_the_measurements_up_to_t(kind: str, tmp_path: Path, noted: list[Ranks]) -> None:
    """An outcome says whether its own event is measured at all; the others stand where they stood."""
    frame = log_frame(seed=2, events=150, users=4).with_columns(delay=pl.col("delay") * 3)
    t = int(frame["time"][100])
    unknown = (pl.col("time") + pl.col("delay")) > t
    flipped = frame.with_columns(click=pl.when(unknown).then(1 - pl.col("click")).otherwise(pl.col("click")))
    one, other = measured(tmp_path, [frame, flipped], kind, noted, t)
    both = one.keys() & other.keys()
    assert len(both) > 20 and len(both) < len(one)
    assert [one[key] for key in both] == [other[key] for key in both]


def test_what_a_user_received_before_the_step_is_masked_in_the_softmax(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    masked: dict[str, list[int]] = {"step and drawn": [], "all": []}
    real_own, real_loss = retrieval.own_items, retrieval.softmax_loss

    def own(*given: Any) -> Any:
        mask = real_own(*given)
        masked["step and drawn"].append(int(mask.sum()))
        return mask

    def loss(score: Any, frequency: Any, counts: Any, own_PK: Any, target: Any) -> Any:
        masked["all"].append(int(own_PK.sum()))
        return real_loss(score, frequency, counts, own_PK, target)

    monkeypatch.setattr(retrieval, "own_items", own)
    monkeypatch.setattr(retrieval, "softmax_loss", loss)
    trained(tmp_path, log_frame(events=60, users=4), {}, {"retrieval": {"recent": 4, "negatives": 20}})
    assert sum(masked["all"]) > sum(masked["step and drawn"]) > 0
