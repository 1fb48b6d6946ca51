"""Servers of one folder behind a balancer, one killed under load: nothing answered is lost or learned twice or another's."""

import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import polars as pl

from marm.train.cut import Cut
from marm.train.folder import run_of
from tests.server.balancer import Balancer
from tests.server.processes import Client, begin, ended, together
from tests.server.test_load import ITEMS, USERS, answers, check_nothing_lost, follower, until

SECONDS, SOAK_SECONDS = 5, 300
KILLS, SOAK_KILLS = 1, 20
Row = tuple[float, str]
"""A time and an item, as text: ids compare so."""


class Stamped(Client):
    """Tells of items named by user, client and number, and looks through histories for rows of another user or position."""

    def __init__(self, name: str, address: str, logged: dict[str, list[Row]]) -> None:
        super().__init__(name, address, USERS, ITEMS)
        self._logged = logged

    def _turns(self) -> list[Callable[[], None]]:
        return [*super()._turns(), self._look]

    def _item_for(self, user: Any) -> str:
        return f"{user}/{self.name}/{self._count}"

    def _look(self) -> None:
        user = self._user()
        answer = self._sent("GET", f"/v1/inspect/users/{user}?limit=1000")
        rows = [(row["time"], str(row["item"])) for row in answer["rows"]][::-1] if answer else []
        self.noted.looked += len(rows)
        if misplaced(user, rows, self._logged[user]):
            self.noted.wrong.append(f"{user}: {rows}")


def misplaced(user: str, rows: Sequence[Row], logged: Sequence[Row]) -> bool:
    """Whether rows, oldest first, are not the end of a user's log and then what was told of it, each client's in order."""
    split = sum(at <= logged[-1][0] for at, _ in rows)
    told = [item.split("/") for _, item in rows[split:]]
    if list(rows[:split]) != list(logged[len(logged) - split :]) or any(stamp[0] != user for stamp in told):
        return True
    numbers: dict[str, list[int]] = {}
    for _, name, number in told:
        numbers.setdefault(name, []).append(int(number))
    return any(one != sorted(set(one)) for one in numbers.values())


def logged_by(folder: Path) -> dict[str, list[Row]]:
    """Each user's rows of the log that a folder was trained on."""
    run, rows = run_of(folder), dict[str, list[Row]]()
    frame = pl.read_parquet(Path(run.data.path) / str(run.data.log))
    for user, at, item in frame.select("user", "time", "item").iter_rows():
        rows.setdefault(user, []).append((at, str(item)))
    return rows


def test_a_server_killed_under_load_behind_a_balancer_loses_nothing(
    folder: Path, tmp_path: Path, soak: Callable[[int, int], int]
) -> None:
    seconds, kills = soak(SECONDS, SOAK_SECONDS), soak(KILLS, SOAK_KILLS)
    errors, words = tmp_path / "errors.log", follower(folder, 1.0)
    serve = ["serve", folder, "--port", 0, "--quiet", "--set", "serve.look=0.1"]
    servers = [begin(*serve, errors=errors) for _ in range(2)]
    follow, back = begin(*words, errors=errors), []
    try:
        addresses = [server.stdout.readline().strip() for server in servers]
        assert all(addresses), errors.read_text()
        with Balancer(addresses) as balancer:
            clients = [Stamped(f"client {number}", balancer.address, logged_by(folder)) for number in range(3)]
            for client in clients:
                client.start()
            for kill in range(kills):
                time.sleep(seconds / (kills + 1))
                at = kill % 2
                assert ended(servers[at], signal.SIGKILL) == -signal.SIGKILL
                begun = time.monotonic()
                servers[at] = begin(*serve, errors=errors)
                balancer.addresses[at] = servers[at].stdout.readline().strip()
                until(lambda at=at: answers(balancer.addresses[at]))
                back.append(time.monotonic() - begun)
            time.sleep(seconds / (kills + 1))
            noted = together(clients)
        ready = [httpx.get(f"{address}/readyz", timeout=30).status_code for address in balancer.addresses]
    finally:
        codes = [ended(server) for server in servers], ended(follow)
    assert ended(begin(*words, "--until-idle", 2, errors=errors), 0) == 0, errors.read_text()[-3000:]
    print(dict(noted.answers), "back after", [round(one, 2) for one in back], Cut(folder).number)
    assert codes[0] == [0, 0] and ready == [200, 200], errors.read_text()[-3000:]
    # What the dead one had in hand went unanswered, once for each client and kill at most; all else was answered.
    unanswered = sum(count for (_, status), count in noted.answers.items() if status == 502)
    assert unanswered <= len(clients) * kills, noted.faults
    assert {status for _, status in noted.answers} <= {200, 202, 502, 503}, noted.faults
    for path, status in (("/v1/rank", 200), ("/v1/recommend", 200), ("/v1/events", 202), ("/v1/items", 200)):
        assert noted.answers[path, status] > 0, noted.answers
    assert noted.looked > 100 and not noted.wrong, noted.wrong[:3]
    check_nothing_lost(folder, noted, in_time=0.1)


def test_a_row_of_another_user_or_position_is_found() -> None:
    log: list[Row] = [(1, "4"), (3, "7"), (3, "5")]
    told: list[Row] = [(9, "u1/a/1"), (9, "u1/b/1"), (10, "u1/a/3")]
    for rows in ([], log, log[1:], [*log, *told], told):
        assert not misplaced("u1", rows, log)
    for rows in ([log[0]], [log[0], log[2]], [log[0], log[2], log[1]], [(3, "6")], [*log, (9, "u2/a/1")], told[::-1]):
        assert misplaced("u1", rows, log)
    assert misplaced("u1", [told[0], told[0]], log)


def test_an_event_told_to_one_server_is_known_to_the_other(folder: Path, tmp_path: Path) -> None:
    errors = tmp_path / "errors.log"
    servers = [
        begin("serve", folder, "--port", 0, "--quiet", "--set", "serve.look=0.1", errors=errors) for _ in range(2)
    ]
    try:
        one, other = (server.stdout.readline().strip() for server in servers)
        told = {"event_id": "e1", "user": "u1", "item": 3, "outcomes": {"click": 1}}
        asked = {"user": "u1", "candidates": ITEMS}
        before = httpx.post(f"{other}/v1/rank", json=asked, timeout=30).json()
        assert httpx.post(f"{one}/v1/events", json={"events": [told]}, timeout=30).json()["accepted"] == 1
        again = httpx.post(f"{other}/v1/events", json={"events": [told]}, timeout=30)
        assert (again.status_code, again.json()["duplicates"]) == (202, 1)
        # Both show what was told, whoever was told.
        after = [httpx.post(f"{address}/v1/rank", json=asked, timeout=30).json() for address in (one, other)]
        assert after[0]["items"] == after[1]["items"] != before["items"]
    finally:
        codes = [ended(server) for server in servers]
    assert codes == [0, 0], errors.read_text()[-3000:]
