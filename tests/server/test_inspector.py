"""What the inspector says of users, memory and attention is what the engine has and does."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from marm.server import naming
from marm.server.inspector_app import _number
from marm.server.shown import ExplainAnswer, StatusAnswer, TimelineAnswer, UsersAnswer
from marm.train import run as commands
from marm.train.follow import follow
from tests.data import logs
from tests.server.running import Running
from tests.server.test_serving import NOW, event
from tests.train.feeding import quick
from tests.train.logs import log_frame, run_over, write_world

Start = Callable[..., Running]


def users(server: Running, **query: object) -> list[dict]:
    return server.client.get("/v1/inspect/users", params=query).json()["users"]


def timeline(server: Running, user: object, **query: object) -> dict:
    answer = server.client.get(f"/v1/inspect/users/{user}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_users_are_found_by_a_part_of_their_id_whole_ones_first_and_at_random(folder: Path, start: Start) -> None:
    server = start(folder)
    log = log_frame()
    counts = dict(log["user"].value_counts().iter_rows())
    found = users(server, search="U1")
    assert [one["user"] for one in found] == ["u1", "u10", "u11"]
    assert [one["events"] for one in found] == [counts[one["user"]] for one in found]
    assert [one["user"] for one in users(server, search="1")] == ["u1", "u10", "u11"]
    drawn = users(server, random=5)
    assert len({one["user"] for one in drawn}) == 5 and {one["user"] for one in drawn} <= counts.keys()
    assert users(server, search="nobody") == []


def test_users_are_each_found_once_however_the_log_is_read(
    folder: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(naming, "_AT_ONCE", 7)
    server = start(folder)
    server.post("/v1/events", {"events": [event(1, "u1"), event(2, "u99")]}, 202)
    found = [one["user"] for one in users(server, search="U")]
    assert sorted(found) == sorted({*log_frame()["user"], "u99"})


def test_an_id_is_a_number_only_where_the_log_has_numbers_and_it_reads_the_same(tmp_path: Path) -> None:
    def named(folder: Path, ids: list[object]) -> naming.UserNames:
        folder.mkdir()
        logs.write_log(folder, user=ids)
        return naming.UserNames(logs.prepared(folder, logs.run_over(folder)), 100)

    users = named(tmp_path / "numbers", [7, -12, 7, -12])
    users.told({1: "007", 2: "\u0663", 3: "9" * 30, 4: "u5", 5: 8})
    assert {user for _, user in users.find("", 10)} == {7, -12, "007", "\u0663", "9" * 30, "u5", 8}
    text = named(tmp_path / "text", ["7", "007", "7", "007"])
    text.told({1: 70})
    assert {user for _, user in text.find("7", 10)} == {"7", "007", "70"}


def test_ids_that_are_numbers_stay_so_however_others_are_told_before_a_cut_and_after(
    tmp_path: Path, start: Start
) -> None:
    log = log_frame().with_columns(pl.col("user").str.slice(1).cast(pl.Int64))
    run = run_over(write_world(tmp_path / "world", log), memory={"url": "lmdb://memory"})
    commands.train(run, tmp_path / "run", page=False)
    server, ids = start(tmp_path / "run"), [1, 7, "a new one", "007"]
    server.post("/v1/items", {"items": [{"item": "2"}, {"item": "a new one"}]})
    told = [event(n, "1" if n % 2 else "somebody", item=str(item)) for n, item in enumerate([*ids, *ids, 5])]
    server.post("/v1/events", {"events": told}, 202)

    def check(server: Running) -> None:
        found = [row["item"] for row in timeline(server, 1, at=NOW + 20)["rows"]]
        before = log.filter(pl.col("user") == 1)["item"].reverse().to_list()
        assert found == ["007", 7, "007", 7, *before][: len(found)] and len(found) > 5
        assert [row["item"] for row in timeline(server, "somebody")["rows"]] == [5, "a new one", 1, "a new one", 1]
        assert {one["user"] for one in users(server, random=20)} == {*log["user"], "somebody"}
        asked = {"user": 1, "k": 30, "at": NOW + 20}
        assert {one["item"] for one in server.post("/v1/recommend", asked)["items"]} == {*range(20), "a new one", "007"}

    check(server)
    server.stop()
    follow(tmp_path / "run", quick(tmp_path / "run"), until_idle=0)
    again = start(tmp_path / "run")
    assert again.client.get("/v1/status").json()["events"] == len(log) + len(told)
    check(again)


def test_a_user_who_came_since_the_cut_is_found_and_counted(folder: Path, start: Start) -> None:
    server = start(folder)
    server.post("/v1/events", {"events": [event(1, "new one"), event(2, "new one")]}, 202)
    assert users(server, search="new") == [{"user": "new one", "events": 2}]
    server.post("/v1/events", {"events": [event(3, "later/one?")]}, 202)
    assert users(server, search="later/one?") == [{"user": "later/one?", "events": 1}]
    assert timeline(server, "later%2Fone%3F")["memory"]["tail"] == 1


def test_only_the_newest_events_are_looked_through_but_a_whole_id_is_found(folder: Path, start: Start) -> None:
    log = log_frame()
    newest, gone = log["user"].tail(3).to_list(), (set(log["user"]) - set(log["user"].tail(3))).pop()
    server = start(folder, "serve.inspected=3")
    assert {one["user"] for one in users(server, random=100)} == set(newest)
    assert [one["user"] for one in users(server, search=gone, limit=1)] == [gone]
    assert users(server, search=gone[0]) != []


def test_a_timeline_is_the_log_newest_first_then_what_came_since(folder: Path, start: Start) -> None:
    server = start(folder)
    log = log_frame().with_row_index().filter(pl.col("user") == "u1")
    server.post("/v1/events", {"events": [event(1, item=7, outcomes={"click": 1}), event(2, item=8, outcomes={})]}, 202)
    shown = timeline(server, "u1", at=NOW + 10)
    rows = shown["rows"]
    assert [row["item"] for row in rows] == [8, 7, *log["item"].reverse()][: len(rows)]
    assert [row["state"] for row in rows[:3]] == ["live", "live", "held"]
    assert rows[0]["outcomes"] == {"click": "unknown", "watch": "unknown"} and rows[1]["outcomes"]["click"] == 1
    assert [row["outcomes"]["click"] for row in rows[2:]] == log["click"].reverse().to_list()[: len(rows) - 2]
    assert [row["time"] for row in rows[2:]] == log["time"].reverse().to_list()[: len(rows) - 2]
    assert rows[0]["age_steps"] is None and all(row["age_steps"] >= 0 for row in rows[2:])
    assert sum(row["seen"] for row in rows) == 8 and all(row["seen"] for row in rows[:8])


def test_a_watch_is_shown_between_its_edges_and_not_observed_as_null(folder: Path, start: Start) -> None:
    log = log_frame()
    shown = [row["outcomes"]["watch"] for row in timeline(start(folder), "u1")["rows"]]
    logged = log.filter(pl.col("user") == "u1")["watch"].reverse().to_list()[: len(shown)]
    assert None in logged and len(shown) > 5
    for says, watch in zip(shown, logged, strict=True):
        if watch is None:
            assert says is None
        else:
            low, high = says
            assert (low is None or low <= watch) and (high is None or watch < high)


def test_a_timeline_as_of_a_past_time_shows_nothing_later(folder: Path, start: Start) -> None:
    server = start(folder)
    log = log_frame().filter(pl.col("user") == "u1")
    at = log["time"][len(log) // 2]
    rows = timeline(server, "u1", at=at)["rows"]
    before = log.filter(pl.col("time") < at)
    assert [row["item"] for row in rows] == before["item"].reverse().to_list()
    assert len(timeline(server, "u1", limit=3)["rows"]) == 3


def test_memory_of_a_user_counts_rows_bytes_and_ages(folder: Path, start: Start) -> None:
    server = start(folder)
    memory = timeline(server, "u1")["memory"]
    shape = server.server.served.scorer.engine.memory.shape
    events = log_frame()["user"].to_list().count("u1")
    rows = min(events, shape.capacity)
    assert (memory["events"], memory["capacity"], memory["window"]) == (events, shape.capacity, 8)
    assert memory["fill"] == pytest.approx(rows / shape.capacity)
    assert memory["bytes"] == rows * shape.state_bytes + min(events, shape.facts_kept) * shape.facts.itemsize
    assert [depth["depth"] for depth in memory["depths"]] == [1, 2]
    assert all(depth["rows"] == rows and depth["bytes"] == rows * 8 * 4 for depth in memory["depths"])
    newest, middle, oldest = memory["depths"][0]["age_steps"]
    assert 0 <= newest <= middle <= oldest <= server.server.served.steps
    nobody = timeline(server, "nobody")
    assert (
        nobody["rows"] == [] and nobody["memory"]["events"] == 0 and nobody["memory"]["depths"][0]["age_steps"] is None
    )


def test_states_that_were_dropped_are_shown_as_missing(tmp_path: Path, start: Start) -> None:
    world = write_world(tmp_path / "world")
    commands.train(run_over(world, memory={"url": "lmdb://memory", "budget": 4000}), tmp_path / "run", page=False)
    server = start(tmp_path / "run")
    states = {row["state"] for user in users(server, random=12) for row in timeline(server, user["user"])["rows"]}
    assert states == {"held", "missing"}
    found = [timeline(server, user["user"]) for user in users(server, random=12)]
    assert sum(len([r for r in one["rows"] if r["state"] == "missing"]) for one in found) == sum(
        one["memory"]["depths"][0]["missing"] for one in found
    )


def test_what_the_ring_has_no_room_for_is_shown_as_facts_alone(tmp_path: Path, start: Start) -> None:
    world = write_world(tmp_path / "world", log_frame(users=2))
    commands.train(run_over(world, memory={"url": "lmdb://memory"}), tmp_path / "run", page=False)
    shown = timeline(start(tmp_path / "run"), "u1", limit=1000)
    capacity, states = shown["memory"]["capacity"], [row["state"] for row in shown["rows"]]
    assert states == ["held"] * capacity + ["facts"] * (shown["memory"]["events"] - capacity) and len(set(states)) == 2
    assert shown["memory"]["facts"] == len(states) and shown["memory"]["depths"][0]["rows"] == capacity


def test_an_item_is_shown_with_what_its_file_says(folder: Path, start: Start) -> None:
    server = start(folder)
    path = Path(server.server.run.data.path) / "items.parquet"
    file = {row["id"]: row for row in pl.read_parquet(path).to_dicts()}
    for row in timeline(server, "u1")["rows"]:
        side = file.get(row["item"], {})
        said = {name: side[name] for name in ("genres", "brand", "price") if side.get(name) is not None}
        assert row["features"] == said


@pytest.mark.parametrize(
    ("model", "data"),
    [
        ({}, {}),
        ({"token_shift": True, "raw_rows": True}, {"history": "click = 1", "feedback_delay": "delay"}),
        ({"task_layers": True}, {"feedback_delay": "delay"}),
        ({"memory_reads": False}, {}),
        ({"layers": 1}, {}),
    ],
)
def test_explained_predictions_are_those_of_rank_and_every_heads_weights_add_up_to_one(
    tmp_path: Path, start: Start, model: dict, data: dict
) -> None:
    world = write_world(tmp_path / "world")
    memory = {"url": "lmdb://memory", "codec": "float32"}
    commands.train(run_over(world, memory=memory, model=model, data=data), tmp_path / "run", page=False)
    server = start(tmp_path / "run", "serve.score=click * 2")
    server.post("/v1/events", {"events": [event(n) for n in range(3)]}, 202)
    for at in (NOW + 10, int(log_frame()["time"].median())):
        asked = {"user": "u1", "at": at, "context": {"page": "p1", "hour": 3}}
        ranked = server.post("/v1/rank", asked | {"candidates": [4]})["items"][0]
        found = server.post("/v1/explain", asked | {"item": 4})
        assert found["tasks"] == pytest.approx(ranked["tasks"], abs=1e-5)
        assert found["score"] == pytest.approx(ranked["score"], abs=1e-5)
        seen = [row for row in timeline(server, "u1", at=at)["rows"] if row["seen"]]
        assert [row["item"] for row in found["rows"]] == [row["item"] for row in seen[::-1]]
        assert [row["state"] for row in found["rows"]] == [row["state"] for row in seen[::-1]]
        assert [row["outcomes"] for row in found["rows"]] == [row["outcomes"] for row in seen[::-1]]
        assert len(found["layers"]) == model.get("layers", 3) + bool(model.get("task_layers"))
        for layer in found["layers"]:
            assert len(layer["heads"]) == 2
            for head in layer["heads"]:
                assert len(head["weights"]) == len(found["rows"]) > 3
                assert sum(head["weights"]) + head["null"] == pytest.approx(1, abs=1e-5)
    if model.get("task_layers"):
        assert [layer["task"] for layer in found["layers"]] == [None, None, "click", "watch"]


def test_a_model_without_layers_looks_at_nothing(tmp_path: Path, start: Start) -> None:
    world = write_world(tmp_path / "world")
    commands.train(run_over(world, memory={"url": "lmdb://memory"}, model={"layers": 0}), tmp_path / "run", page=False)
    server = start(tmp_path / "run")
    found = server.post("/v1/explain", {"user": "u1", "item": 4, "at": NOW})
    assert found["layers"] == found["rows"] == [] and set(found["tasks"]) == {"click", "watch"}
    shown = timeline(server, "u1")
    assert len(shown["rows"]) > 3 and not any(row["seen"] for row in shown["rows"]) and shown["memory"]["depths"] == []


def test_who_has_no_history_attends_to_the_null_row_alone(folder: Path, start: Start) -> None:
    found = start(folder).post("/v1/explain", {"user": "nobody", "item": 4})
    assert found["rows"] == [] and all(head["null"] == 1 for layer in found["layers"] for head in layer["heads"])


def test_a_store_that_fails_is_said_and_the_rest_is_shown(folder: Path, start: Start, monkeypatch) -> None:
    server = start(folder)
    server.post("/v1/events", {"events": [event(1)]}, 202)

    def broken(*_: object) -> None:
        raise OSError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(server.server.served.guard, "_mend", lambda: None)
        patch.setattr(server.server.served.guard.store, "read_facts", broken)
        shown = timeline(server, "u1")
        assert shown["degraded"] and [row["state"] for row in shown["rows"]] == ["live"]
        assert server.client.get("/v1/status").json()["store"]["state"] == "unreadable"
        assert server.post("/v1/explain", {"user": "u1", "item": 4})["degraded"]


def test_status_counts_requests_and_times_them(folder: Path, start: Start) -> None:
    server = start(folder)
    for _ in range(4):
        server.post("/v1/rank", {"user": "u1", "candidates": [1, 2]})
    server.post("/v1/rank", {"user": "u1"}, 422)
    found = server.client.get("/v1/status").json()
    (rank,) = [path for path in found["paths"] if path["path"] == "/v1/rank"]
    assert (rank["requests"], rank["failed"], rank["recent"]) == (5, 1, 5)
    assert 0 < rank["p50_ms"] <= rank["p90_ms"] <= rank["p99_ms"] < 10_000
    assert found["cut"] == 3 and found["events"] == 200 and found["store"]["kind"] == "lmdb"
    assert found["store"]["users"] == len(set(log_frame()["user"])) and found["uptime_s"] > 0
    assert found["model"] == {"layers": 3, "heads": 2, "width": 8, "window": 8, "tasks": ["click", "watch"]}


@pytest.mark.parametrize("at", ["inf", "nan", "yesterday", "-1", "9" * 5000, "1e400"])
def test_a_time_that_is_none_is_refused_in_one_line(folder: Path, start: Start, at: str) -> None:
    answer = start(folder).client.get("/v1/inspect/users/u1", params={"at": at[:1000]})
    assert answer.status_code == 422 and "as the log writes times" in answer.json()["error"]
    assert isinstance(_number(at), int | str)


def test_looking_needs_the_token_and_the_page_asks_for_it(folder: Path, start: Start) -> None:
    server = start(folder, token="secret")
    for path in ("/v1/status", "/v1/inspect/users", "/v1/inspect/users/u1"):
        assert server.client.get(path).status_code == 401
        assert server.client.get(path, headers={"authorization": "Bearer secret"}).status_code == 200
    assert server.client.post("/v1/explain", json={"user": "u1", "item": 1}).status_code == 401
    assert server.client.get("/").status_code == 200


def test_the_page_is_sent_with_its_types_a_strict_policy_and_only_when_it_changed(folder: Path, start: Start) -> None:
    server = start(folder)
    page = server.client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["content-security-policy"].startswith("default-src 'self';")
    assert "<style" not in page.text and " style=" not in page.text and " onclick" not in page.text
    again = server.client.get("/", headers={"if-none-match": page.headers["etag"]})
    assert again.status_code == 304 and not again.content
    kinds = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
    named = [part for part in page.text.split('"') if part.startswith("/page/")]
    assert len(named) >= 2
    for name in named:
        file = server.client.get(name)
        assert file.status_code == 200 and file.headers["content-type"].startswith(kinds[Path(name).suffix])
    assert server.client.get("/page/../app.py").status_code == 404


def test_answers_are_as_the_openapi_schema_says(folder: Path, start: Start) -> None:
    server = start(folder)
    paths = server.client.get("/openapi.json").json()["paths"]
    assert {"/v1/inspect/users", "/v1/inspect/users/{user}", "/v1/explain", "/v1/status"} <= paths.keys()
    assert "/" not in paths
    UsersAnswer.model_validate({"users": users(server, random=3)})
    TimelineAnswer.model_validate(timeline(server, "u1"))
    ExplainAnswer.model_validate(server.post("/v1/explain", {"user": "u1", "item": 4}))
    StatusAnswer.model_validate(server.client.get("/v1/status").json())
