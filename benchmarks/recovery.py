"""How long until all is as it was: a Redis primary killed, one of two servers behind the balancer, a follower of a topic.

python -m benchmarks.recovery [--full] [--out results.jsonl]

Everything is a process of its own on this machine, ended by SIGKILL, but Kafka's broker, which is librdkafka's mock in this
one. Wants Debian's packages redis-server and nginx-light.
"""

import argparse
import signal
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from subprocess import Popen
from threading import Event
from typing import Any

import httpx
import numpy as np

from benchmarks.common import print_table, write_result
from benchmarks.logs import PLAIN, interleaved, run_over, write_log
from marm.errors import StoreError
from marm.store import Store, open_store
from marm.train.cut import Cut
from marm.train.run import train
from tests.deploy.nginx import balancer
from tests.kafka import topics
from tests.server.processes import begin, ended
from tests.store import servers
from tests.store.rings import LAYOUT, rows_of
from tests.store.servers import wait_until

KEPT = np.arange(64, dtype=np.uint64)
"""Users of the Redis cluster: some on each primary."""
USERS, ITEMS = 100, 1000
CLIENTS = 4
LOADED, ALONE = 2.0, 3.0
"""Seconds of load before a server is killed, and until it is started again."""
CUT_EVERY = 0.2
ERRORS = "errors.log"
Rounds = dict[str, list[float]]
"""By name, what was found in each round."""


def primary_killed(rounds: int) -> Rounds:
    """Seconds until a replica was promoted, until a server reads all users again, and until a trainer's append is confirmed."""
    cluster = servers.Cluster()
    url = cluster.url()
    trainer, server = open_store(url, LAYOUT, Path()), open_store(url, LAYOUT, Path(), readonly=True)
    found: Rounds = {"promoted_s": [], "reads_s": [], "appends_s": []}
    _is_appended(trainer, 0)
    for number in range(1, rounds + 1):
        killed = cluster.primaries()[0]
        killed.kill()
        holds = (
            lambda: len(cluster.primaries()) == 3,
            partial(_are_read, server),
            partial(_is_appended, trainer, number),
        )
        with ThreadPoolExecutor(len(holds)) as pool:
            for name, seconds in zip(found, pool.map(partial(_until, time.perf_counter()), holds), strict=True):
                found[name].append(seconds)
        assert (server.read_facts(KEPT, 1).next == number + 1).all()
        killed.start()
        wait_until(cluster.is_whole)
    for store in (trainer, server):
        store.close()
    cluster.end()
    return found


def _until(began: float, holds: Callable[[], bool]) -> float:
    wait_until(holds)
    return time.perf_counter() - began


def _are_read(store: Store) -> bool:
    try:
        return bool(store.read_facts(KEPT, 1).next.all())
    except StoreError:
        return False


def _is_appended(store: Store, number: int) -> bool:
    """Once it is: it tries again by itself, for a minute."""
    store.append(rows_of([(user, number, [1], 0, 1) for user in KEPT.tolist()]), number)
    return True


def server_killed(base: Path, rounds: int) -> Rounds:
    """Requests of clients without pause, those that failed, the longest waits, and seconds until the server is back."""
    write_log(base / "log", interleaved(USERS, 50 * USERS), ITEMS)
    run = run_over(base / "log", PLAIN, memory={"window": 100, "url": "lmdb://memory"}, train={"device": "cpu"})
    train(run, base / "run")
    found = Rounds()
    both = [_serving(base, 0) for _ in range(2)]
    try:
        addresses = [str(server.stdout and server.stdout.readline().strip()) for server in both]
        assert all(addresses), (base / ERRORS).read_text()
        with balancer(base, addresses) as client:
            for _ in range(rounds):
                for name, figure in _killed_once(client, base, both, addresses[0]).items():
                    found.setdefault(name, []).append(figure)
    finally:
        for server in both:
            ended(server)
    return found


def _serving(base: Path, port: int | str) -> "Popen[str]":
    return begin("serve", base / "run", "--port", port, "--quiet", errors=base / ERRORS)


def _killed_once(client: httpx.Client, base: Path, both: "list[Popen[str]]", address: str) -> dict[str, float]:
    """The first of both, at this address, killed and started again there."""
    end = Event()
    with ThreadPoolExecutor(CLIENTS) as pool, httpx.Client(base_url=address, timeout=30) as direct:
        loads = [pool.submit(_load, client, seed, end) for seed in range(CLIENTS)]
        try:
            time.sleep(LOADED)
            killed = time.perf_counter()
            ended(both[0], signal.SIGKILL)
            time.sleep(ALONE)
            started = time.perf_counter()
            both[0] = _serving(base, address.rpartition(":")[2])
            back = started + _until(started, lambda: _ranks(direct, 0))
            time.sleep(LOADED)
        finally:
            end.set()
    asked = [one for load in loads for one in load.result()]
    spans = {"before": (0.0, killed), "one_alone": (killed, started), "starting": (started, back)}
    waits = {
        f"longest_wait_{name}_s": max(seconds for at, seconds, _ in asked if low <= at < high)
        for name, (low, high) in spans.items()
    }
    failed = sum(not answered for _, _, answered in asked)
    return {"requests": len(asked), "failed": failed, **waits, "server_answers_s": back - started}


def _load(client: httpx.Client, seed: int, end: Event) -> list[tuple[float, float, bool]]:
    """Of each request when it was sent, how long its client waited, and whether it was answered."""
    random, out = np.random.default_rng(seed), []
    while not end.is_set():
        at = time.perf_counter()
        answered = _ranks(client, int(random.integers(USERS)))
        out.append((at, time.perf_counter() - at, answered))
    return out


def _ranks(client: httpx.Client, user: int) -> bool:
    try:
        return client.post("/v1/rank", json={"user": user, "candidates": list(range(100))}).status_code == 200
    except httpx.HTTPError:
        return False


def follower_killed(base: Path, rounds: int) -> Rounds:
    """Seconds from a follower's new start until an event that was sent while there was none is in a cut."""
    broker = topics.Cluster(alone=True)
    folder, name = topics.begun_in(base, "arena://"), broker.name()
    broker.partitions(name)
    sets = [word for one in topics.sets_of({}) for word in ("--set", one)]
    words = ["follow", folder, "--log", broker.url(name), "--quiet", "--cut-every", CUT_EVERY, *sets]
    seconds, trained = [], Cut(folder).state["position"]
    follower = begin(*words, errors=base / ERRORS)
    try:
        for number, row in enumerate(topics.as_messages(topics.after_training(0, 2 * rounds)), 1):
            if again := number % 2 == 0:
                ended(follower, signal.SIGKILL)
            topics.by_user(broker, name, [row])
            began = time.perf_counter()
            if again:
                follower = begin(*words, errors=base / ERRORS)
            took = _until(began, partial(_holds, folder, trained + number))
            seconds += [took] if again else []
    finally:
        ended(follower)
    broker.end()
    return {"event_in_a_cut_s": seconds}


def _holds(folder: Path, events: int) -> bool:
    return bool(Cut(folder).state["position"] == events)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="three rounds; else one")
    parser.add_argument("--out", type=Path, help="append the JSON line to this file")
    args = parser.parse_args()
    rounds = 3 if args.full else 1
    timeout = int(servers.CLUSTERED[servers.CLUSTERED.index("--cluster-node-timeout") + 1])
    config = {"rounds": rounds, "cluster_node_timeout_ms": timeout, "clients": CLIENTS, "cut_every": CUT_EVERY}
    with tempfile.TemporaryDirectory() as base:
        for name in ("served", "followed"):
            (Path(base) / name).mkdir()
        found = {
            "redis primary": primary_killed(rounds),
            "server": server_killed(Path(base) / "served", rounds),
            "follower": follower_killed(Path(base) / "followed", rounds),
        }
    rows: list[list[object]] = []
    figures: dict[str, Any] = {what: {} for what in found}
    for what, of in found.items():
        for name, values in of.items():
            figures[what][name] = {"median": median(values), "rounds": values}
            rows.append([f"{what}: {name}", float(median(values)), float(min(values)), float(max(values))])
    print_table(f"killed, rounds: {rounds}", ["what", "median", "least", "most"], rows)
    write_result("recovery", config, figures, args.out)


if __name__ == "__main__":
    main()
