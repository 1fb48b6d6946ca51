"""What the memory tier's simulation is fed with, and how near it comes to this machine before it goes beyond.

python -m benchmarks.tier [--users 1200] [--repeats 9] [--asked 3000] [--out results.jsonl]

Arena, LMDB, one Redis server and a cluster of three primaries are read and written as memory does, facts and states, in turn at
every size, so that all meet the same machine. A user is read again only after all others: rows come from memory, not from a
cache that a smaller benchmark would leave them in. Of calls and of rounds the lower quartile counts, since others work on this
machine. Costs are fitted to some of the sizes; the simulation foretells the others, and how long readings take that come at
random moments. Hits of the simulated arena stand beside those of the real one. `costs` is what `marm study tier --costs` takes.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import print_table, write_result
from benchmarks.store_read import FACTS, LAYOUT, ROW, WINDOW, fill, rows_for
from marm.config import MemoryConfig
from marm.memory.memory import Memory, RingShape
from marm.store import ArenaStore, LmdbStore, Store, open_store
from marm.store.redis_rows import CHUNK
from marm.study.tier.arena import play
from marm.study.tier.people import requests_of
from marm.study.tier.queue import Calls, Site, simulate
from marm.study.tier.settings import People
from marm.types import F64, U64
from tests.store import servers

FITTED, FORETOLD = (25, 50, 200, 400, 600, 800), (100, 1000)
"""Rows of a reading."""
TOGETHER = {1: 32, 8: 24, 64: 4}
"""Users of a call, and calls of a round."""
BYTES = ROW + FACTS
CACHES = 1e6 * np.arange(1, 28)
"""Bytes of a call beyond which each costs more, as what is copied no longer stays in a cache: the fit chooses."""
WRITTEN_FITTED, WRITTEN_FORETOLD, WRITERS = (1, 4, 16), (2, 8), 300
"""Rows of a user in one cut, and its users."""
PRIMARIES = {"redis": 1, "redis cluster": 3}
PEOPLE = 30_000
"""Of the arena whose hits are counted."""
LOADS = (0.3, 0.6, 0.8)
"""Share of the time that a reader has something to read."""
TURNS = 30
"""Readings that come at random take turns with as many that do not, so that both meet the same machine; quantiles are medians
of the turns'."""
SHARES = (0.5, 0.9, 0.99)


@dataclass(frozen=True)
class Spent:
    """Seconds of one call, by this clock."""

    wall: float
    node: float
    """Of the server's processor; 0 where there is none."""
    own: float
    """Of this process's."""


Clock = Callable[[], float]


def node_clock(name: str) -> Clock:
    """Seconds of processor that a store's servers have used."""
    if name not in PRIMARIES:
        return lambda: 0.0
    nodes = [servers.single()] if PRIMARIES[name] == 1 else servers.cluster().primaries()
    clients = [node.client() for node in nodes]

    def used() -> float:
        told = [client.info("cpu") for client in clients]
        return sum(float(about["used_cpu_user"]) + float(about["used_cpu_sys"]) for about in told)

    return used


def read(store: Store, users: U64, rows: int) -> None:
    """The newest rows, as memory has them."""
    found = store.read_facts(users, rows)
    store.read_states(users, found.first, found.counts)


def spent(work: Callable[[int], object], times: int, clock: Clock) -> Spent:
    """For each of ``times`` calls: of processors on average, by this clock the lower quartile."""
    node, own = clock(), time.process_time()
    wall = float(np.quantile(_alone(work, times), 0.25))
    return Spent(wall, (clock() - node) / times, (time.process_time() - own) / times)


def usual(found: list[Spent]) -> Spent:
    """The lower quartile of each: what others on this machine take can only add."""
    return Spent(*(float(np.quantile([getattr(one, name) for one in found], 0.25)) for name in ("wall", "node", "own")))


class Reader:
    """Reads users one after the other, in an order without order: each again only when all others were read."""

    def __init__(self, store: Store, users: U64) -> None:
        self.store, self.order, self.at = store, np.random.default_rng(0).permutation(users), 0

    def work(self, together: int, rows: int) -> Callable[[int], object]:
        """Reads the next ones at each call."""

        def some(_: int) -> None:
            at = np.arange(self.at, self.at + together) % len(self.order)
            self.at += together
            read(self.store, self.order[at], rows)

        return some


def appending(store: Store, users: U64, rows: int) -> Callable[[int], object]:
    """Appends to users in one cut, whose newest chunk is half full; what is appended is made beforehand."""
    ends = store.read_facts(users, 1).next
    missing = int((CHUNK // 2 - ends[0]) % CHUNK)
    if missing:
        store.append(rows_for(users, ends, missing), store.last_cut() + 1)
    made = rows_for(users, ends + missing, rows)
    return lambda _: store.append(made, store.last_cut() + 1)


def fitted(sizes: F64, seconds: F64) -> F64:
    """Costs, none below zero, of what ``sizes`` (places, kinds) counts: least squares of relative errors."""
    used = list(range(sizes.shape[1]))
    while True:
        costs = np.zeros(sizes.shape[1])
        costs[used] = np.linalg.lstsq(sizes[:, used] / seconds[:, None], np.ones(len(seconds)), rcond=None)[0]
        if (costs >= 0).all():
            return costs
        used.remove(int(costs.argmin()))


def closed_loop(after: float, node: float, calls: int = 200) -> float:
    """Seconds of a call, where one client asks again as soon as it has its answer."""
    every = np.arange(calls + 1)
    some = np.full(calls, node)
    asked = Calls(np.zeros(calls), np.zeros(calls, np.int64), np.full(calls, after), every, np.zeros(calls, np.int64),
                  some, np.zeros(calls))  # fmt: skip
    return float(simulate(asked, Site(np.zeros(1, np.int64), 0.0))[1].max() / calls)


def measured_sizes(readers: dict[str, Reader], repeats: int) -> dict[tuple[str, int, int], Spent]:
    """What a call takes, by store, users of a call and rows of a user."""
    found: dict[tuple[str, int, int], list[Spent]] = {}
    clocks = {name: node_clock(name) for name in readers}
    for _ in range(repeats + 1):
        for name, reader in readers.items():
            for together, times in TOGETHER.items():
                for rows in (*FITTED, *FORETOLD):
                    one = spent(reader.work(together, rows), times, clocks[name])
                    found.setdefault((name, together, rows), []).append(one)
    return {key: usual(every[1:]) for key, every in found.items()}


def measured_appends(stores: dict[str, Store], users: U64, repeats: int) -> dict[tuple[str, int], Spent]:
    """What a cut of some users takes, by store and rows of a user."""
    found: dict[tuple[str, int], list[Spent]] = {}
    clocks = {name: node_clock(name) for name in stores}
    for _ in range(repeats + 1):
        for name, store in stores.items():
            for rows in (*WRITTEN_FITTED, *WRITTEN_FORETOLD):
                found.setdefault((name, rows), []).append(spent(appending(store, users, rows), 1, clocks[name]))
    return {key: usual(every[1:]) for key, every in found.items()}


def size_of(name: str, together: int, rows: int) -> F64:
    """What a reading's cost goes by: the call, nodes asked, users, bytes. Of Redis whole chunks of states come."""
    nodes = PRIMARIES.get(name, 0)
    asked = nodes * (1 - (1 - 1 / nodes) ** together) if nodes else 0.0
    states = WINDOW - (WINDOW - rows) // CHUNK * CHUNK if nodes else rows
    return np.array([1.0, asked, together, together * (rows * FACTS + states * ROW)])


def with_cache(sizes: F64, cache: float) -> F64:
    """Sizes, and beside them the bytes of a call that are beyond a cache."""
    return np.concatenate([sizes, np.maximum(0.0, sizes[..., -1:] - cache)], axis=-1)


def fitted_cache(sizes: F64, seconds: F64) -> tuple[float, F64]:
    """The cache with which costs fit best, and these."""
    found = [(cache, fitted(with_cache(sizes, cache), seconds)) for cache in CACHES.tolist()]
    return min(found, key=lambda one: float(np.square(with_cache(sizes, one[0]) @ one[1] / seconds - 1).sum()))


def foretold(sizes: dict[tuple[str, int, int], Spent]) -> list[dict[str, Any]]:
    """The sizes that were held out: users/s of one client, and by the simulation with what the other sizes cost.

    What nodes and client do at once counts as the client's: it has so much less to do after.
    """
    lines = []
    for store in dict.fromkeys(key[0] for key in sizes):
        here = [(key, size_of(*key), one) for key, one in sizes.items() if key[0] == store]
        known = [(size, one) for key, size, one in here if key[2] in FITTED]
        asked = np.array([size for size, _ in known])
        cache, cost = fitted_cache(asked, np.array([one.wall - one.node for _, one in known]))
        work = np.array([one.node for _, one in known])
        node = fitted(asked[:, 1:], work) if work.any() else np.zeros(3)
        for (name, t, n), size, one in here:
            if n in FORETOLD:
                told = t / closed_loop(float(with_cache(size, cache) @ cost), float(size[1:] @ node))
                lines.append({"store": name, "together": t, "n": n, **beside(t / one.wall, told)})
    return lines


def foretold_appends(wrote: dict[tuple[str, int], Spent]) -> list[dict[str, Any]]:
    """The same of cuts."""
    lines = []
    for name in dict.fromkeys(key[0] for key in wrote):
        seconds = np.array([wrote[name, rows].wall for rows in WRITTEN_FITTED])
        cost = fitted(np.array([written_size(rows) for rows in WRITTEN_FITTED]), seconds)
        for rows in WRITTEN_FORETOLD:
            told = WRITERS / float(written_size(rows) @ cost)
            lines.append({"store": name, "rows": rows, **beside(WRITERS / wrote[name, rows].wall, told)})
    return lines


def written_size(rows: int) -> F64:
    """What a cut's cost goes by: users and bytes."""
    return np.array([WRITERS, WRITERS * rows * BYTES], np.float64)


def beside(real: float, told: float) -> dict[str, float]:
    """Users/s measured, and foretold."""
    return {"users_s": real, "simulated_users_s": told, "off": told / real - 1}


def waited(reader: Reader, load: float, asked: int, rows: int = 100) -> dict[str, float]:
    """Readings of one user that come at random: how long they take, and how long the simulation says they do.

    It knows readings that follow one another, and by how much one after a pause as long as itself takes longer.
    """
    work, draw, each = reader.work(1, rows), np.random.default_rng(int(load * 10)), asked // TURNS
    alone, turns = _alone(work, each), []
    for _ in range(TURNS):
        rested = _alone(work, each, float(np.median(alone)))
        at = np.cumsum(draw.exponential(np.median(alone) / load, each))
        took, after = _at_moments(work, at), _alone(work, each)
        around = np.concatenate([alone, after])
        told = _simulated(at, draw.choice(around, each), max(0.0, float(np.median(rested) - np.median(around))))
        turns.append(np.quantile([took, told, alone, rested], SHARES, axis=1).T)
        alone = after
    usual = np.median(turns, axis=0) * 1e3
    names = ("", "simulated_", "alone_", "rested_")
    return {"load": load} | {
        f"{name}p{share * 100:.0f}_ms": float(usual[i, j])
        for i, name in enumerate(names) for j, share in enumerate(SHARES)
    }  # fmt: skip


def _simulated(at: F64, work: F64, wake: float) -> F64:
    every, none = np.arange(len(at) + 1), np.zeros(len(at))
    calls = Calls(at, np.full(len(at), -1), none, every, np.zeros(len(at), np.int64), work, none)
    began, done = simulate(calls, Site(np.zeros(1, np.int64), 0.0, wake))
    return done - began


def _alone(work: Callable[[int], object], times: int, pause: float = 0.0) -> F64:
    """Seconds of readings that nobody waits with, each after a pause; it is spent without sleeping."""
    took = np.empty(times)
    for number in range(times):
        rested = time.perf_counter() + pause
        while (began := time.perf_counter()) < rested:
            pass
        work(number)
        took[number] = time.perf_counter() - began
    return took


def _at_moments(work: Callable[[int], object], at: F64) -> F64:
    """Seconds from each moment until its reading is done, one after the other; waits without sleeping."""
    took, begin = np.empty(len(at)), time.perf_counter()
    for number, moment in enumerate(at.tolist()):
        while time.perf_counter() - begin < moment:
            pass
        work(number)
        took[number] = time.perf_counter() - begin - moment
    return took


def hits(users: int) -> dict[str, float]:
    """Of the arena that memory has and of the simulated one, on the same people for half a day."""
    people = People()
    requests = requests_of(people, users, 0.5)
    shape = RingShape(depths=1, width=2, codec="float16", item_columns=(), capacity=2, facts_kept=2)
    slots = users // 40
    config = MemoryConfig(hot=slots * shape.ring_bytes, url="arena://")
    memory = Memory(ArenaStore(shape.layout("")), shape, config, torch.device("cpu"))
    real = np.zeros(len(requests.user), bool)
    for number, user in enumerate(requests.user.astype(np.uint64)):
        real[number] = memory.hot.map.find(user[None])[0] >= 0
        memory.admit(user[None], number + 1)
    number = np.arange(len(real))
    told = play(requests.user, number, np.zeros(len(number), np.int64), slots, writes=False).hit
    return {"requests": len(real), "slots": slots, "real": float(real.mean()), "simulated": float(told.mean())}


def costs_of(
    sizes: dict[tuple[str, int, int], Spent], wrote: dict[tuple[str, int], Spent], reader: Reader, asked: int
) -> dict[str, float | list[float]]:
    """Of Redis, as `marm study tier` takes them."""
    here = [(size_of(*key), one) for key, one in sizes.items() if key[0] in PRIMARIES]
    size = np.array([size for size, _ in here])
    node = fitted(size[:, 1:], np.array([one.node for _, one in here]))
    own = fitted(size, np.array([one.own for _, one in here]))
    cuts = [one for (name, _), one in wrote.items() if name == "redis"]
    written = np.array([written_size(rows) for name, rows in wrote if name == "redis"])
    append, write = (fitted(written, np.array([getattr(one, name) for one in cuts])) for name in ("node", "own"))
    work, each, turns, wakes = reader.work(1, 100), asked // TURNS, [], []
    for _ in range(TURNS):
        alone = _alone(work, each)
        middle = float(np.median(alone))
        turns.append(np.quantile(alone / middle, (np.arange(100) + 0.5) / 100))
        wakes.append(float(np.median(_alone(work, each, middle))) - middle)
    return {
        "read_call": node[0], "read_user": node[1], "read_byte": node[2], "wake": max(0.0, float(np.median(wakes))),
        "ask_call": own[0], "ask_node": own[1], "ask_user": own[2], "ask_byte": own[3],
        "append_user": append[0], "append_byte": append[1], "write_user": write[0], "write_byte": write[1],
        "jitter": [round(float(one), 3) for one in np.median(turns, axis=0)],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1200)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--asked", type=int, default=3000, help="readings that come at random, for each load")
    parser.add_argument("--out", type=Path, help="JSON lines to append the result to")
    args = parser.parse_args()
    users = np.arange(args.users, dtype=np.uint64)
    with tempfile.TemporaryDirectory() as folder:
        stores: dict[str, Store] = {
            "arena": ArenaStore(LAYOUT, args.users * LAYOUT.states_kept * ROW),
            "lmdb": LmdbStore(Path(folder) / "rings", LAYOUT),
            "redis": open_store(servers.single().url(), LAYOUT, Path(folder)),
            "redis cluster": open_store(servers.cluster().url(), LAYOUT, Path(folder)),
        }
        for store in stores.values():
            fill(store, users)
        readers = {name: Reader(store, users) for name, store in stores.items()}
        sizes = measured_sizes(readers, args.repeats)
        waits = [
            {"store": name, **waited(reader, load, args.asked)} for name, reader in readers.items() for load in LOADS
        ]
        wrote = measured_appends(stores, users[:WRITERS], args.repeats)
        figures = {
            "load_average": os.getloadavg()[0],
            "throughput": foretold(sizes),
            "appends": foretold_appends(wrote),
            "waits": waits,
            "hits": hits(PEOPLE),
            "costs": costs_of(sizes, wrote, readers["redis"], args.asked),
        }
        for store in stores.values():
            store.close()
    show(figures)
    config = {"users": args.users, "repeats": args.repeats, "asked": args.asked, "window": WINDOW, "bytes": BYTES}
    write_result("tier", config, figures, args.out)


def show(figures: dict[str, Any]) -> None:
    """Tables."""
    titles = {
        "throughput": "readings foretold, at sizes held out",
        "appends": "appends, likewise",
        "waits": "readings that come at random",
    }
    for name, title in titles.items():
        print_table(title, list(figures[name][0]), [list(line.values()) for line in figures[name]])
    print_table("hits", list(figures["hits"]), [list(figures["hits"].values())])
    told = {name: value for name, value in figures["costs"].items() if name != "jitter"}
    print_table("microseconds, nanoseconds a byte, by Redis and the one who asks it", list(told),
                [[value * (1e9 if name.endswith("byte") else 1e6) for name, value in told.items()]])  # fmt: skip


if __name__ == "__main__":
    main()
