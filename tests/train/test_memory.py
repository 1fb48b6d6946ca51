"""What is done to a run's memory by hand leaves it as good as it was, or better, and never half done."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest

from marm.data.stream import EventLog
from marm.errors import FolderError
from marm.store import LmdbStore
from marm.train import inspect, rebuild, transfer
from marm.train import opened as opened_module
from marm.train import run as commands
from marm.train.folder import held
from marm.train.opened import to_change, to_read
from marm.train.run import quiet
from tests.train.dying import Death, Dies, ended_by_append
from tests.train.folders import remembered
from tests.train.logs import log_frame, run_over, write_world

pytestmark = pytest.mark.usefixtures("no_report")

FROZEN = {"learning_rate": 1e-30, "table_rate": 1e-30}
"""Too small to move a float32."""


@pytest.fixture(scope="module")
def frozen(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose weights never moved, in float32: what it streamed is what a rebuild must make."""
    out = tmp_path_factory.mktemp("frozen") / "run"
    memory = {"url": "lmdb://memory", "codec": "float32"}
    data = {"feedback_delay": "delay", "history": "click = 1"}
    commands.train(run_over(world, memory=memory, train=FROZEN, data=data, model={"token_shift": True}), out)
    return out


@pytest.fixture
def run(frozen: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(frozen, tmp_path / "run"))


def states(folder: Path) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Each user's states as numbers, and which are there."""
    for user, ring in sorted(remembered(folder).items()):
        yield user, np.frombuffer(ring[4], np.float32), np.frombuffer(ring[5], np.bool_)


def test_a_rebuilt_memory_of_weights_that_never_moved_is_the_streamed_one(run: Path) -> None:
    before, facts = list(states(run)), remembered(run)
    with to_change(run) as opened:  # as if every state had been lost
        held_ = opened.store.holding()
        for users in (held_.users[:3], held_.users[3:]):
            found = opened.store.read_facts(users, opened.shape.facts_kept)
            width = opened.store.layout.state_bytes
            lost = np.zeros((len(found.facts), width), np.uint8)
            at = np.isin(held_.users, users)
            opened.store.forget(users)
            rows = type(opened.cut.rows())(
                held_.users[at], found.first, found.counts, found.facts, lost, found.next, held_.seen[at]
            )
            opened.store.append(rows, opened.store.last_cut() + 1)
        opened.store.take_over(opened.cut.number)
    assert not any(there.any() for _, _, there in states(run))
    told = rebuild.rebuild(run, quiet)
    after = list(states(run))
    assert told["made"] == sum(there.sum() for _, _, there in before)
    for (user, old, was), (same, new, there) in zip(before, after, strict=True):
        assert user == same and (was == there).all()
        np.testing.assert_allclose(new, old, rtol=1e-5, atol=1e-6)
    for user, ring in remembered(run).items():
        assert ring[:3] == facts[user][:3]


def searching(rule: str, **memory: Any) -> dict[str, Any]:
    """Memory that searches by a rule, or by none."""
    search = {} if rule == "none" else {"search": {"rule": rule, "picked": 3, "history": 14}}
    return {"url": "lmdb://memory", "codec": "float32", "slack": 2, **memory, **search}


def keys(folder: Path) -> dict[int, np.ndarray]:
    """What a search knows each user's newest rows by, those that a ring can hold."""
    with to_read(folder) as opened:
        shape = opened.shape
    rows = {user: np.frombuffer(ring[3], shape.facts) for user, ring in remembered(folder).items()}
    return {user: row["keys"][-shape.capacity :] for user, row in rows.items()} if shape.keys else {}


@pytest.mark.parametrize("rule", ["none", "hash"])
def test_of_a_long_history_a_rebuild_goes_over_as_much_as_its_states_hang_on(rule: str, tmp_path: Path) -> None:
    world = write_world(tmp_path / "world", log_frame(events=200, users=2))
    data, model = {"feedback_delay": "delay"}, {"token_shift": True}
    commands.train(run_over(world, memory=searching(rule), train=FROZEN, model=model, data=data), tmp_path / "run")
    before, known = list(states(tmp_path / "run")), keys(tmp_path / "run")
    assert all(len(there) > 1.8 * there.sum() for _, _, there in before)
    rebuild.rebuild(tmp_path / "run", quiet)
    for (_, old, was), (_, new, there) in zip(before, states(tmp_path / "run"), strict=True):
        assert (was == there).all()
        np.testing.assert_allclose(new, old, rtol=1e-5, atol=1e-6)
    for user, row in keys(tmp_path / "run").items():
        assert (row == known[user]).all()


def test_a_rebuild_that_was_stopped_goes_on_and_the_store_serves_meanwhile(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opened_module, "ROWS_AT_ONCE", 20)
    whole = Path(shutil.copytree(run, tmp_path / "whole"))
    rebuild.rebuild(whole, quiet)
    before = remembered(run)
    with ended_by_append(monkeypatch, LmdbStore, 2):
        rebuild.rebuild(run, quiet)
    assert remembered(run) == before
    with to_read(run) as opened:
        layout = opened.store.layout
    with closing(LmdbStore(run / "memory", layout)) as reader:
        assert rebuild.rebuild(run, quiet)["ranges_done_before"] == 3
        assert reader.read_facts(reader.holding().users, 5).next.all()
    assert remembered(run) == remembered(whole)
    assert remembered(run) != before


def test_a_run_goes_on_from_a_rebuilt_and_a_compacted_memory(run: Path) -> None:
    rebuild.rebuild(run, quiet)
    before = remembered(run)
    told = inspect.compact(run)
    assert remembered(run) == before and 0 < told["bytes_after"] <= told["bytes_before"]
    (run / "result.json").unlink()
    assert commands.resume(run)["memory"]["users"] == len(before)


OPERATIONS: dict[str, Callable[[Path], Any]] = {
    "compact": inspect.compact,
    "rebuild": lambda run: rebuild.rebuild(run, quiet),
    "import": lambda run: transfer.import_(run, run.parent / "all.parquet"),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_change_that_was_killed_has_changed_nothing_and_is_made_when_asked_for_again(
    name: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, soak: Callable[[int, int], int]
) -> None:
    transfer.export(run, run.parent / "all.parquet")
    with to_change(run) as opened:
        opened.store.forget(opened.store.holding().users[:3])
    before, change, death = remembered(run), OPERATIONS[name], Death(monkeypatch)
    whole = Path(shutil.copytree(run, tmp_path / "whole"))
    change(whole)
    total, wanted = death.calls, remembered(whole)
    assert (wanted == before) == (name == "compact")
    for number in np.unique(np.linspace(1, total, soak(4, 60)).astype(int)).tolist():
        broken = Path(shutil.copytree(run, tmp_path / f"broken{number}"))
        death.arm(number)
        with pytest.raises(Dies):
            change(broken)
        death.arm(-1)
        assert remembered(broken) in (before, wanted), number
        change(broken)
        assert remembered(broken) == wanted, number
        assert inspect.verify(broken, False, quiet)["damaged"] == []


def damage(folder: Path, user: int) -> None:
    (file,) = folder.glob("memory/0*")
    with lmdb.open(str(file), max_dbs=3) as env:
        rows = env.open_db(b"rows")
        with env.begin(write=True, db=rows) as txn:
            key = user.to_bytes(8, "big") + bytes([1]) + bytes(4)
            value = txn.get(key)
            txn.put(key, value[:9] + bytes([value[9] ^ 1]) + value[10:])


def test_damage_is_named_by_verify_and_dropped_by_it_or_by_training(
    run: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    users = sorted(remembered(run))
    assert inspect.verify(run, False, quiet)["damaged"] == []
    damage(run, users[4])
    with to_read(run) as opened:
        (name,) = opened.name_of(np.array(users[4:5], np.uint64))
    assert name.startswith("u") and inspect.verify(run, False, quiet)["damaged"] == [name]
    other = Path(shutil.copytree(run, run.parent / "other"))
    assert inspect.verify(other, True, quiet) | {"rows": 0} == {"users": 11, "rows": 0, "damaged": [name], "dropped": 1}
    assert sorted(remembered(other)) == [user for user in users if user != users[4]]
    assert inspect.verify(other, False, quiet)["damaged"] == []
    # A trainer that reads the user loses it, once and aloud, and goes on.
    evaluated = commands.evaluate(run, commands.run_of(run))
    assert evaluated["memory"]["users_damaged"] == 1 and evaluated["events"] == 200
    assert [f"hashes {users[4]:016x}" in record.message for record in caplog.records] == [True]


def test_what_is_exported_comes_back_and_facts_alone_are_rows_without_a_state(run: Path, tmp_path: Path) -> None:
    before = remembered(run)
    transfer.export(run, tmp_path / "all.parquet")
    transfer.export(run, tmp_path / "facts.parquet", states=False)
    users = np.array(sorted(before), np.uint64)
    for file, told in (
        ("all", {"users": 5, "users_there_already": 7}),
        ("facts", {"users": 5, "users_there_already": 7}),
    ):
        with to_change(run) as opened:
            opened.store.forget(users[:5])
        assert len(remembered(run)) == 7
        assert transfer.import_(run, tmp_path / f"{file}.parquet") == {**told, "states": True}
        after = remembered(run)
        assert after.keys() == before.keys()
        for user, ring in after.items():
            assert ring[0] == before[user][0] and ring[3] == before[user][3]
            assert ring[4:] == before[user][4:] if file == "all" or user not in users[:5] else not any(ring[5])
    rebuild.rebuild(run, quiet)
    assert all(any(ring[5]) for ring in remembered(run).values())


def test_stats_count_what_the_store_holds(run: Path) -> None:
    told, rings = inspect.memory_stats(run), remembered(run)
    assert told["users"] == len(rings) and told["rows"] == sum(sum(ring[5]) for ring in rings.values())
    with to_read(run) as opened:
        layout = opened.store.layout
    sizes = sorted(sum(ring[5]) * layout.state_bytes + ring[0] * layout.facts_bytes for ring in rings.values())
    assert told["user_bytes"]["max"] == sizes[-1] and told["user_bytes"]["p50"] == sizes[(len(sizes) - 1) // 2]
    assert sum(depth["bytes"] for depth in told["depths"]) == told["rows"] * layout.state_bytes
    assert told["growth"]["rows_a_day"] > 0 and told["damaged_users"] == 0


@pytest.mark.parametrize("rule", ["none", "hash"])
def test_states_made_anew_in_the_stream_are_those_of_a_rebuild(rule: str, world: Path, tmp_path: Path) -> None:
    memory = searching(rule, refresh=10_000)
    told = commands.train(run_over(world, memory=memory), tmp_path / "run")
    assert told["memory"]["rows_refreshed"] > 500
    log = EventLog(tmp_path / "run" / "events")
    user = int(log.read(len(log) - 1, len(log)).user[0])
    before, known = {user: rows for user, rows, _ in states(tmp_path / "run")}, keys(tmp_path / "run")
    rebuild.rebuild(tmp_path / "run", quiet)
    after = {user: rows for user, rows, _ in states(tmp_path / "run")}
    np.testing.assert_allclose(before[user], after[user], rtol=1e-5, atol=1e-6)
    others = [other for other in before if not np.allclose(before[other], after[other], atol=1e-6)]
    assert others
    if rule == "hash":
        same = {user: (row == known[user]).all() for user, row in keys(tmp_path / "run").items()}
        assert same[user] and not all(same.values())


def test_a_run_folder_is_changed_by_one_at_a_time(run: Path) -> None:
    with held(run):
        for change in (lambda: rebuild.rebuild(run, quiet), lambda: inspect.compact(run)):
            with pytest.raises(FolderError, match="another process trains in it or changes its memory"):
                change()
        assert inspect.memory_stats(run)["users"]
