"""The stages before ranking, over HTTP: what they find, what they leave out, and that they change with the cut."""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marm.config import RetrievalConfig, load_run
from marm.data.stream import EventLog
from marm.errors import FolderError
from marm.server.asking import Question
from marm.server.pipeline import Answer
from marm.server.server import Server
from marm.server.values import hashes_of
from marm.stages.index import FILE, build_index, digest_of, index_bytes, read_index, search
from marm.train.cut import Cut
from tests.server.running import Running
from tests.server.test_serving import NOW, event

Start = Callable[..., Running]
ASK: dict[str, Any] = {"user": "u1", "k": 30, "at": NOW + 1000}


def items(answer: dict[str, Any]) -> list[str]:
    return [str(one["item"]) for one in answer["items"]]


def seen_by(folder: Path, user: str) -> set[str]:
    log = EventLog(folder / "events").originals(0, 200)
    return {str(item) for item in log.filter(log["user"] == user)["item"]}


def test_with_the_whole_share_a_recommendation_has_retrievals_order(staged: Path, start: Start) -> None:
    sets = ["stages.retrieval.again=true"]
    server = start(staged, *sets)
    found, ranked = (items(server.post(path, ASK | {"k": 5})) for path in ("/v1/retrieve", "/v1/recommend"))
    server.stop()
    fused = items(start(staged, *sets, "serve.retrieval_share=1").post("/v1/recommend", ASK | {"k": 5}))
    assert fused == found != ranked


def test_retrieval_gives_what_the_user_has_not_had_best_first(staged: Path, start: Start) -> None:
    server = start(staged)
    answer = server.post("/v1/retrieve", ASK)
    found = [one["score"] for one in answer["items"]]
    assert found == sorted(found, reverse=True) and found
    everything = {str(item) for item in range(20)}
    assert set(items(answer)) == everything - seen_by(staged, "u1")
    server.stop()
    again = start(staged, "stages.retrieval.again=true").post("/v1/retrieve", ASK)
    assert set(items(again)) == everything


def test_lists_availability_and_what_was_just_told_are_filters(staged: Path, start: Start) -> None:
    server = start(staged, "stages.retrieval.again=true")
    allowed = server.post("/v1/retrieve", ASK | {"allow": [3, 4, 5, "nothing"], "exclude": [4]})
    assert set(items(allowed)) == {"3", "5"}
    whole = server.post("/v1/retrieve", ASK)
    scores = {str(one["item"]): one["score"] for one in whole["items"]}
    assert [one["score"] for one in allowed["items"]] == pytest.approx([scores[i] for i in items(allowed)], abs=1e-5)
    told = [{"item": 3, "withdrawn": True}, {"item": 4, "available_from": NOW + 5000}]
    server.post("/v1/items", {"items": told})
    assert not {"3", "4"} & set(items(server.post("/v1/retrieve", ASK)))
    server.stop()
    hiding = start(staged)
    first = items(hiding.post("/v1/retrieve", ASK))[0]
    hiding.post("/v1/events", {"events": [event(1) | {"item": first}]}, 202)
    assert first not in items(hiding.post("/v1/retrieve", ASK))


def test_a_tail_moves_what_is_found(staged: Path, start: Start) -> None:
    server = start(staged, "stages.retrieval.again=true")
    before = server.post("/v1/retrieve", ASK)
    server.post("/v1/events", {"events": [event(1), event(2)]}, 202)
    after = server.post("/v1/retrieve", ASK)
    assert after["trace"]["tail"] == 2
    assert [one["score"] for one in after["items"]] != [one["score"] for one in before["items"]]


def test_stages_narrow_in_turn_and_every_stage_says_what_it_did(staged: Path, start: Start) -> None:
    server = start(staged, "stages.retrieval.again=true")
    answer = server.post("/v1/recommend", ASK | {"k": 3})
    stages = [(one["stage"], one["taken"], one["given"]) for one in answer["trace"]["stages"]]
    assert stages == [("retrieval", 20, 12), ("cascading", 12, 5), ("ranking", 5, 3)]
    found = items(server.post("/v1/retrieve", ASK | {"k": 12}))
    assert set(items(answer)) <= set(found)
    alone = server.post("/v1/rank", {"user": "u1", "candidates": items(answer), "at": ASK["at"]})
    scores = {str(one["item"]): one["score"] for one in alone["items"]}
    assert [one["score"] for one in answer["items"]] == pytest.approx([scores[i] for i in items(answer)], abs=1e-6)
    server.post("/v1/items", {"items": [{"item": "added"}]})
    assert "added" in items(server.post("/v1/recommend", ASK))


def test_who_has_no_history_gets_what_is_popular(staged: Path, start: Start) -> None:
    answer = start(staged).post("/v1/recommend", ASK | {"user": "nobody"})
    assert answer["trace"]["stages"][0]["stage"] == "popular" and answer["items"]


def test_with_little_time_left_cascading_is_left_out(staged: Path, start: Start) -> None:
    server = start(staged, "stages.retrieval.again=true").server
    plain = Question(int(hashes_of(["u1"])[0]), (NOW + 1000) * 1_000_000, *server.pipeline.asker.columns({}), 3)
    budget = server.run.serve.time_budget
    names = {}
    for left in (0.1 * budget, 10 * budget):
        answer = server.pipeline.answer([replace(plain, until=time.perf_counter() + left)])[0]
        assert isinstance(answer, Answer)
        names[left] = [stage.stage for stage in answer.stages]
    assert list(names.values()) == [["retrieval", "shortened", "ranking"], ["retrieval", "cascading", "ranking"]]


def cut_again(folder: Path) -> None:
    """One more cut, by another process, as `marm follow` makes them."""
    code = (
        "import sys; from pathlib import Path; from marm.data.stream import EventLog; from marm.train.cut import Cut;"
        "from marm.train.run import run_of; from marm.train.setup import build; from marm.train.trainer import Trainer;"
        "out = Path(sys.argv[1]); run, log = run_of(out), EventLog(out / 'events');"
        "trainer = Trainer(run, out, log, build(run, log, out, 1), 1); trainer.load(Cut(out)); trainer.cut()"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)


def test_a_new_cut_brings_its_index_with_it(staged: Path, start: Start) -> None:
    server = start(staged, "serve.look=0.02")
    old, number = server.server.served.ready, server.server.served.number
    cut_again(staged)
    until = time.monotonic() + 30
    while server.server.served.number == number and time.monotonic() < until:
        time.sleep(0.01)
    assert server.server.served.ready is not old
    assert items(server.post("/v1/retrieve", ASK))


@pytest.mark.parametrize("how", ["cut short", "gone"])
def test_a_broken_index_is_named(staged: Path, how: str) -> None:
    path = Cut(staged).path / FILE
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(FolderError, match=r"retrieval\.index"):
        Server(staged, load_run(staged / "run.toml"))


def test_a_run_without_retrieval_says_so(folder: Path, start: Start) -> None:
    assert "stages.retrieval" in start(folder).post("/v1/retrieve", ASK, 501)["error"]
    with pytest.raises(FolderError, match=r"without stages\.retrieval"):
        Server(folder, load_run(folder / "run.toml", ["stages.retrieval.window=5"]))


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
def test_every_kind_of_index_finds_the_best_and_comes_back_from_its_bytes(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(40, 8))
    vectors = (centres[rng.integers(0, 40, 30_000)] + 0.3 * rng.normal(size=(30_000, 8))).astype(np.float32)
    query = vectors[[7, 1234]]
    data = index_bytes(build_index(RetrievalConfig(index=kind), vectors))  # type: ignore[arg-type]
    (tmp_path / FILE).write_bytes(data)
    index = read_index(tmp_path, digest_of(data), *vectors.shape)
    exact = (vectors @ query.T).max(1)
    hidden = np.argsort(-exact)[:3]
    wanted = np.argsort(-exact)[3:103]
    found, score = search(index, query, 100, None, hidden)
    assert len(np.unique(found)) == 100 and not np.isin(found, hidden).any()
    assert score == pytest.approx(exact[found], abs=1e-4)
    assert np.isin(found, wanted).mean() >= (1.0 if kind == "flat" else 0.9)
    some = rng.integers(0, 30_000, 500)
    among, _ = search(index, query, 10, some, np.zeros(0, np.int64))
    assert list(among) == list(some[np.argsort(-exact[some], kind="stable")][:10])


def test_a_server_orders_and_finds_as_the_stream_measures(staged: Path, start: Start) -> None:
    """One arithmetic: many candidates that share a view go another way through attention, to the same numbers."""
    server = start(staged, "stages.retrieval.again=true").server
    served, asker = server.served, server.pipeline.asker
    assert served.ready and served.ready.cascading and served.ready.retrieval
    ready = served.ready
    question = Question(int(hashes_of(["u1"])[0]), (NOW + 1000) * 1_000_000, *asker.columns({}), 3)
    many = np.tile(ready.items, 6)
    batch, places = asker.batch([question], [many], [None])
    attended = served.look(batch)[0]
    streamed, _ = served.ready.cascading.scores(attended, places)
    batch, null = asker.batch([question], [np.zeros(1, np.uint64)], [None])
    share = served.look(batch)[0].shares[0]
    assert ready.order(share, int(null[0]), many, asker.item_columns(many)) == pytest.approx(streamed, abs=1e-6)
    vectors = ready.retrieval.vectors_of(ready.retrieval.history(share, null))[0]
    exact = (ready.retrieval.item_vectors(np.arange(len(ready.items))) @ vectors.T).max(1)
    found = ready.find(share, int(null[0]), None, np.zeros(0, np.uint64), 30)
    assert sorted(found.place.tolist()) == list(range(len(ready.items)))
    assert found.score == pytest.approx(exact[found.place], abs=1e-5)
