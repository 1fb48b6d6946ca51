import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread

import httpx
import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marm.cli.cluster.nodes import free_port
from marm.config import load_run
from marm.data import inbox
from marm.data.place import Position
from marm.data.stream import EventLog
from marm.errors import SettingError
from marm.server import run as serving
from marm.server.messages import EventIn
from marm.server.server import warm_up
from marm.train import run as commands
from marm.train.setup import ring_shape
from tests.server.running import Running
from tests.store import servers
from tests.store.servers import wait_until
from tests.train.logs import run_over, write_world

Start = Callable[..., Running]
JSON = {"content-type": "application/json"}
NOW = 1_600_500_000
RANK = {"user": "u1", "candidates": [1, 2, "3", "never seen"], "at": NOW + 1000}


def event(number: int, user: str | int = "u1", **fields: object) -> dict[str, object]:
    made = {"event_id": f"e{number}", "user": user, "item": number % 20, "at": NOW + number, "outcomes": {"click": 1}}
    return made | fields


def scores(answer: dict) -> dict:
    return {str(one["item"]): one["score"] for one in answer["items"]}


def test_an_answer_names_items_as_asked_best_first_and_its_cut(folder: Path, start: Start) -> None:
    answer = start(folder).post("/v1/rank", RANK)
    assert {type(one["item"]) for one in answer["items"]} == {int, str}
    assert sorted(scores(answer)) == ["1", "2", "3", "never seen"]
    found = [one["score"] for one in answer["items"]]
    assert found == sorted(found, reverse=True) and answer["degraded"] is False
    assert answer["trace"]["cut"] == 3 and answer["items"][0]["tasks"].keys() == {"click", "watch"}


def test_candidates_never_see_each_other_and_ids_compare_as_text(folder: Path, start: Start) -> None:
    server = start(folder)
    together = scores(server.post("/v1/rank", RANK))
    for item in (1, "2", 3.0):
        alone = server.post("/v1/rank", RANK | {"candidates": [item]})["items"][0]["score"]
        assert alone == pytest.approx(together[str(int(item))], abs=1e-6)


def test_a_candidate_that_stands_twice_is_answered_once_as_it_was_called_first(folder: Path, start: Start) -> None:
    server = start(folder)
    once = server.post("/v1/rank", RANK | {"candidates": [2, "1", 3]})
    twice = server.post("/v1/rank", RANK | {"candidates": [2, "1", 1, 3, 2, 2.0]})
    assert twice["items"] == once["items"] and len(once["items"]) == 3
    stage, k = twice["trace"]["stages"][0], server.post("/v1/rank", RANK | {"candidates": [2] * 4 + [1], "k": 2})
    assert (stage["taken"], stage["given"]) == (3, 3)
    assert sorted(one["item"] for one in k["items"]) == [1, 2]


def test_ids_of_64_bits_without_a_sign_are_what_they_read_as_and_longer_ones_are_refused(
    folder: Path, start: Start
) -> None:
    server, large = start(folder), 2**64 - 1000
    server.post("/v1/events", {"events": [event(1, str(large)), event(2, large)]}, 202)
    for user in (large, str(large)):
        assert server.post("/v1/rank", RANK | {"user": user})["trace"]["tail"] == 2
    assert "user" in server.post("/v1/rank", RANK | {"user": 2**64}, 422)["error"]


def test_feedback_counts_in_the_next_answer_but_not_in_one_about_the_past(folder: Path, start: Start) -> None:
    server = start(folder)
    before = scores(server.post("/v1/rank", RANK))
    server.post("/v1/events", {"events": [event(1), event(2)]}, 202)
    after = server.post("/v1/rank", RANK)
    assert after["trace"]["tail"] == 2 and scores(after) != before
    past = server.post("/v1/rank", RANK | {"at": NOW})
    assert past["trace"]["tail"] == 0


def test_an_event_is_taken_once_and_outcomes_may_follow_it(folder: Path, start: Start) -> None:
    server = start(folder)
    bare = event(1)
    bare.pop("outcomes")
    assert server.post("/v1/events", {"events": [bare]}, 202)["accepted"] == 1
    unknown = scores(server.post("/v1/rank", RANK))
    follows = {"events": [{"event_id": "e1", "outcomes": {"click": 1}}]}
    assert server.post("/v1/events", follows, 202)["outcomes"] == 1
    assert server.post("/v1/events", follows, 202)["duplicates"] == 1
    assert server.post("/v1/events", {"events": [event(1)]}, 202)["duplicates"] == 1
    assert scores(server.post("/v1/rank", RANK)) != unknown
    lines, _ = inbox.read(folder / "inbox", Position())
    assert len(lines) == 2


def test_an_outcome_taken_together_with_its_event_from_another_request_is_shown(folder: Path, start: Start) -> None:
    server = start(folder).server
    bare = EventIn(event_id="e1", user="u1", item=3)
    outcomes = [EventIn(event_id="e1", outcomes={"click": value}) for value in (1, 0)]
    answers = server.telling.wait_for(lambda: server.feedback.take([[bare], [outcomes[0]]]))
    assert [(one.accepted, one.outcomes) for one in answers] == [(1, 0), (0, 1)]
    (user,) = server.tails.users()
    assert server.tails.of_user(user)[0].row.values == {"click": 1}
    server.telling.wait_for(lambda: server.feedback.take([[outcomes[1]]]))
    assert server.tails.of_user(user)[0].row.values == {"click": 0}


def test_an_outcome_that_is_taken_back_and_told_again_counts_and_an_old_try_does_not(
    folder: Path, start: Start
) -> None:
    server = start(folder)
    told = event(1) | {"outcomes": {"click": 1}}
    server.post("/v1/events", {"events": [told]}, 202)
    clicks = [{"events": [{"event_id": "e1", "outcomes": {"click": value}}]} for value in (0, 1)]
    answers = [server.post("/v1/events", one, 202) for one in (clicks[0], clicks[1], clicks[1], clicks[0])]
    assert [one["outcomes"] for one in answers] == [1, 1, 0, 1]
    assert server.post("/v1/events", {"events": [told]}, 202)["duplicates"] == 1
    lines, _ = inbox.read(folder / "inbox", Position())
    assert [json.loads(line)["outcomes"]["click"] for line in lines] == [1, 0, 1, 0]


def test_an_event_that_the_filter_of_rows_leaves_out_is_said_to_be_dropped(folder: Path, start: Start) -> None:
    server = start(folder, 'data.where="click = 1"')
    events = [event(1) | {"outcomes": {"click": 1}}, event(2) | {"outcomes": {"click": 0}}, event(3) | {"outcomes": {}}]
    told = server.post("/v1/events", {"events": events}, 202)
    assert (told["accepted"], told["dropped"], len(server.server.tails)) == (1, 2, 1)


def test_what_was_answered_with_202_is_there_after_a_restart(folder: Path, start: Start) -> None:
    server = start(folder)
    server.post("/v1/events", {"events": [event(n) for n in range(3)]}, 202)
    server.post("/v1/events", {"events": [{"event_id": "e0", "outcomes": {"watch": 3.5}}]}, 202)
    wanted = scores(server.post("/v1/rank", RANK))
    server.stop()
    again = start(folder)
    assert scores(again.post("/v1/rank", RANK)) == pytest.approx(wanted, abs=1e-6)
    assert again.post("/v1/events", {"events": [event(n) for n in range(3)]}, 202)["duplicates"] == 3


def test_what_is_older_than_memory_goes_aside_and_is_counted(folder: Path, start: Start) -> None:
    server = start(folder)
    answer = server.post("/v1/events", {"events": [event(1, at=1_600_000_001), event(2)]}, 202)
    assert (answer["accepted"], answer["late"]) == (1, 1)
    assert server.post("/v1/rank", RANK)["trace"]["tail"] == 1
    assert 'marm_events_total{what="late"} 1.0' in server.client.get("/metrics").text
    server.stop()
    again = start(folder)
    assert again.post("/v1/rank", RANK)["trace"]["tail"] == 1
    assert again.post("/v1/events", {"events": [event(1, at=1_600_000_001)]}, 202)["duplicates"] == 1
    again.stop()
    words = [sys.executable, "-m", "marm", "follow", str(folder), "--until-idle", "0", "--quiet"]
    sets = [word for one in ("wait=0", "gather=0") for word in ("--set", f"follow.{one}")]
    subprocess.run([*words, *sets], check=True, timeout=60, capture_output=True)
    (aside,) = (folder / "late.ndjson").read_text().splitlines()
    assert json.loads(aside)["why"] == "late" and json.loads(json.loads(aside)["record"])["event_id"] == "e1"


def test_items_are_added_changed_and_withdrawn_from_the_next_answer_on(folder: Path, start: Start) -> None:
    server = start(folder)
    before = scores(server.post("/v1/rank", RANK))
    told = [
        {"item": "never seen", "features": {"brand": "b1", "price": 9, "genres": ["g1"], "shelf": "s1"}},
        {"item": 1, "withdrawn": True},
        {"item": 2, "available_from": NOW + 5000},
    ]
    server.post("/v1/items", {"items": told})
    after = scores(server.post("/v1/rank", RANK))
    assert after.keys() == {"3", "never seen"} and after["never seen"] != before["never seen"]
    assert after["3"] == pytest.approx(before["3"], abs=1e-6)
    server.stop()
    again = start(folder)
    assert scores(again.post("/v1/rank", RANK)) == pytest.approx(after, abs=1e-6)
    assert again.post("/v1/rank", RANK | {"at": NOW + 6000})["trace"]["stages"][0]["given"] == 3
    assert (
        "items[0]: no item feature colour"
        in again.post("/v1/items", {"items": [{"item": 5, "features": {"colour": 1}}]}, 422)["error"]
    )
    recommended = again.post("/v1/recommend", {"user": "u1", "k": 30, "exclude": [5], "at": NOW})
    assert not {"1", "2", "5"} & scores(recommended).keys() and "never seen" in scores(recommended)


@pytest.mark.parametrize("thread", ["telling", "scoring"])
def test_items_are_refused_where_too_many_requests_wait_and_then_nothing_of_them_is_taken(
    folder: Path, start: Start, thread: str
) -> None:
    server, begun, end = start(folder, "serve.queue=1", "serve.look=60"), Event(), Event()
    worker = getattr(server.server, thread)

    def hold() -> None:
        begun.set()
        end.wait(20)

    with ThreadPoolExecutor(2) as pool:
        try:
            held = [pool.submit(worker.wait_for, hold)]
            begun.wait(20)
            held.append(pool.submit(worker.wait_for, lambda: None))
            servers.wait_until(lambda: len(worker) == 1)
            body = {"items": [{"item": 1, "withdrawn": True}]}
            answer = server.client.post("/v1/items", json=body, timeout=5)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        finally:
            end.set()
        for one in held:
            one.result()
    assert (folder / "items.ndjson").read_bytes() == b""
    assert server.post("/v1/items", body) == {"accepted": 1}


def test_a_server_with_less_hot_memory_than_the_trainer_reads_rings_as_they_were_sized(
    tmp_path: Path, start: Start
) -> None:
    waits = {"feedback_delay": 100_000}
    run = run_over(write_world(tmp_path / "world"), memory={"url": "lmdb://memory"}, data=waits)
    commands.train(run, tmp_path / "run", page=False)
    rings = ring_shape(run, EventLog(tmp_path / "run" / "events"))
    small = run.model_copy(update={"memory": run.memory.model_copy(update={"hot": 4 * rings.ring_bytes})})
    assert ring_shape(small, EventLog(tmp_path / "run" / "events")).capacity < rings.capacity
    server = start(tmp_path / "run", f"serve.hot={small.memory.hot}")
    assert server.post("/v1/rank", RANK)["degraded"] is False


def test_no_more_users_are_answered_together_than_hot_memory_has_room_for(folder: Path, start: Start) -> None:
    rings = ring_shape(load_run(folder / "run.toml"), EventLog(folder / "events"))
    server = start(folder, f"serve.hot={2 * rings.ring_bytes}")
    asked, hold = [RANK | {"user": f"u{number}"} for number in range(8)], Event()
    held = Thread(target=lambda: server.server.scoring.wait_for(lambda: hold.wait(10)))
    held.start()
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(server.post, "/v1/rank", one) for one in asked]
        wait_until(lambda: len(server.server.scoring) == 8)
        hold.set()
        assert all(answer.result()["degraded"] is False for answer in answers)
    held.join()


def test_the_final_order_and_diversity_are_settings(folder: Path, start: Start) -> None:
    server = start(folder, "serve.score=click * (1 + 2 * watch)", "serve.diversity={shelf=1}")
    items = server.post("/v1/rank", RANK | {"candidates": list(range(20))})["items"]
    for one in items:
        assert one["score"] == pytest.approx(one["tasks"]["click"] * (1 + 2 * one["tasks"]["watch"]), rel=1e-5)
    assert len(items) == 3
    with pytest.raises(SettingError, match="no task clik"):
        load_run(folder / "run.toml", ["serve.score=clik"])
    with pytest.raises(SettingError, match="none of"):
        load_run(folder / "run.toml", ["serve.score=__import__('os')"])


def test_what_was_not_trained_is_said(folder: Path, start: Start) -> None:
    assert "[stages.retrieval]" in start(folder).post("/v1/retrieve", {"user": 1}, 501)["error"]


def test_limits_hold(folder: Path, start: Start) -> None:
    server = start(folder, "serve.most_candidates=5", "serve.most_k=5", "serve.most_events=2", "serve.most_body=2000")
    assert "serve.most_candidates" in server.post("/v1/rank", {"user": 1, "candidates": [1] * 6}, 422)["error"]
    assert "serve.most_k" in server.post("/v1/recommend", {"user": 1, "k": 6}, 422)["error"]
    assert "serve.most_events" in server.post("/v1/events", {"events": [event(n) for n in range(3)]}, 422)["error"]
    assert "serve.most_body" in server.post("/v1/rank", {"user": "x" * 3000, "candidates": []}, 413)["error"]
    streamed = server.client.post("/v1/rank", content=(b"x" * 100 for _ in range(50)), headers=JSON)
    assert streamed.status_code == 413


def test_the_first_request_of_a_user_with_a_tail_finds_everything_compiled(folder: Path, start: Start) -> None:
    server = start(folder)
    warm_up(server.server)
    assert len(server.server.tails) == 0
    server.post("/v1/events", {"events": [event(1)]}, 202)
    assert server.post("/v1/rank", RANK)["trace"]["tail"] == 1


def test_who_connects_before_it_is_warm_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port, reached = free_port(), list[bool]()

    def connect(_: object) -> None:
        with socket.socket() as one:
            reached.append(one.connect_ex(("127.0.0.1", port)) == 0)

    monkeypatch.setattr(serving, "warm_up", connect)
    monkeypatch.setattr(serving, "_end_orderly", lambda _: None)
    monkeypatch.setattr(uvicorn.Server, "run", lambda _, sockets: sockets[0].close())
    serving.serve(folder, load_run(folder / "run.toml"), "127.0.0.1", port, connect)
    assert reached == [False, True]


def test_a_line_of_the_log_is_json_whatever_it_says() -> None:
    said = "from marm.server.server import log_to_stderr; import logging; log_to_stderr()\n"
    said += 'logging.getLogger("marm.server").warning("a %s", "\\"name\\"\\nand more")'
    done = subprocess.run([sys.executable, "-c", said], check=True, capture_output=True, text=True)
    (line,) = done.stderr.splitlines()
    assert json.loads(line) == {"level": "WARNING", "message": 'a "name"\nand more'}


def test_a_token_is_asked_for(folder: Path, start: Start) -> None:
    server = start(folder, token="secret")
    server.post("/v1/rank", RANK, 401)
    server.client.headers["authorization"] = "Bearer wrong"
    server.post("/v1/rank", RANK, 401)
    assert server.client.get("/healthz").status_code == 200
    server.client.headers["authorization"] = "Bearer secret"
    server.post("/v1/rank", RANK)


def test_a_store_that_fails_degrades_the_answer_and_recovers(folder: Path, start: Start) -> None:
    server = start(folder)
    wanted = scores(server.post("/v1/rank", RANK))
    guard, hot = server.server.served.guard, server.server.served.scorer.engine.memory.hot
    guard.store.close()
    (folder / "memory").rename(folder / "gone")
    hot.release(hot.held())
    raw = server.post("/v1/rank", RANK)
    none = server.post("/v1/rank", RANK | {"user": "u2"})
    assert raw["degraded"] and none["degraded"] and scores(raw) != wanted
    assert not guard.failed  # told with the answers: users would gather for as long as the store is away
    assert server.client.get("/readyz").status_code == 503
    text = server.client.get("/metrics").text
    assert 'marm_degraded_total{level="raw"} 1.0' in text and 'marm_degraded_total{level="none"} 1.0' in text
    (folder / "gone").rename(folder / "memory")
    servers.wait_until(lambda: server.client.get("/readyz").status_code == 200)
    healed = server.post("/v1/rank", RANK)
    assert healed["degraded"] is False and scores(healed) == pytest.approx(wanted, abs=1e-6)


def test_a_new_cut_is_swapped_in_under_load_without_a_failed_answer(folder: Path, start: Start) -> None:
    server = start(folder, "serve.look=0.05", "serve.time_budget=20")
    server.post("/v1/events", {"events": [event(n, user=f"u{n % 12}", context={"page": "p1"}) for n in range(24)]}, 202)
    end = Event()

    def ask(user: str) -> list[tuple[int, int]]:
        found = []
        with httpx.Client(base_url=server.address, timeout=30) as client:
            while not end.is_set():
                answer = client.post("/v1/rank", json=RANK | {"user": user})
                assert answer.status_code == 200, answer.text
                trace = answer.json()["trace"]
                found.append((trace["cut"], trace["tail"]))
        return found

    with ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(ask, f"u{n}") for n in range(3)]
        try:
            # A process of its own: this one has the store open to read only.
            sets = [word for one in ("wait=0", "gather=0", "cut_every=0.2") for word in ("--set", f"follow.{one}")]
            words = [sys.executable, "-m", "marm", "follow", str(folder), "--until-idle", "1", "--quiet", *sets]
            subprocess.run(words, check=True, timeout=60, capture_output=True)
            time.sleep(1)
        finally:
            end.set()
        found = [one.result() for one in asking]
    for answers in found:
        cuts = [cut for cut, _ in answers]
        assert cuts == sorted(cuts) and cuts[0] == 3 and cuts[-1] >= 4
        # Two events of each user: live before, remembered after, never both and never neither.
        assert {tail for cut, tail in answers if cut == 3} == {2}
        assert answers[-1][1] == 0


_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
_NAMES = ["user", "candidates", "k", "at", "context", "exclude", "events", "items", "event_id", "item", "outcomes"]
_BODY = st.dictionaries(st.sampled_from(_NAMES), _VALUE, max_size=6)
_PATHS = ["/v1/rank", "/v1/recommend", "/v1/events", "/v1/items", "/v1/retrieve"]


def test_no_request_is_an_error_of_ours(folder: Path, start: Start) -> None:
    server = start(folder)

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(path=st.sampled_from(_PATHS), body=_BODY, inner=_BODY)
    def ask(path: str, body: dict, inner: dict) -> None:
        for sent in (body, RANK | body, {"events": [event(1) | inner]}, {"items": [{"item": 1} | inner]}):
            answer = server.client.post(path, json=sent)
            assert answer.status_code in (200, 202, 422, 501), (answer.text, sent)

    ask()
