"""What the memory tier's simulation is fed with, and how near it comes to this machine before it goes beyond.

python -m benchmarks.tier [--users 300] [--repeats 7] [--asked 3000] [--out results.jsonl]

Arena, LMDB and one Redis server are read as memory reads them, facts and states, in turn at every size, so that all meet the
same machine. Costs are fitted to some of the sizes; the simulation foretells the others, and how long readings take that come
at random moments. Hits of the simulated arena stand beside those of the real one. `costs` is what `marm study tier --costs`
takes.
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
from marm.study.tier.arena import play
from marm.study.tier.people import requests_of
from marm.study.tier.queue import Calls, Site, simulate
from marm.study.tier.settings import People
from marm.types import F64, U64
from tests.store import servers

FITTED, FORETOLD = (50, 200, 400, 800), (100, 1000)
"""Rows of a reading."""
TOGETHER = (8, 64)
"""Users of a call."""
BYTES = ROW + FACTS
CACHES = (5e6, 15e6)
"""Bytes of a call beyond which less and less of it stays in a cache of 32 MB, and each byte costs more."""
WRITTEN = (1, 4, 16)
"""Rows of a user in one cut."""
LOADS = (0.3, 0.6, 0.8)
"""Share of the time that a reader has something to read."""
TURNS = 20
"""Readings that come at random take turns with as many that do not, so that both meet the same machine."""


@dataclass(frozen=True)
class Spent:
    """Seconds of one call, by this clock."""

    wall: float
    node: float
    """Of the server's processor; 0 where there is none."""
    own: float
    """Of this process's."""


Clock = Callable[[], float]


def node_clock(store: Store) -> Clock:
    """Seconds of processor that a store's server has used."""
    if "redis" not in type(store).__name__.lower():
        return lambda: 0.0
    client = servers.single().client()

    def used() -> float:
        about = client.info("cpu")
        return float(about["used_cpu_user"]) + float(about["used_cpu_sys"])

    return used


def read(store: Store, users: U64, rows: int) -> None:
    """The newest rows, as memory has them."""
    found = store.read_facts(users, rows)
    store.read_states(users, found.first, found.counts)


def spent(work: Callable[[int], object], times: int, clock: Clock) -> Spent:
    """For each of ``times`` calls, on average."""
    node, own, began = clock(), time.process_time(), time.perf_counter()
    for number in range(times):
        work(number)
    took = time.perf_counter() - began, clock() - node, time.process_time() - own
    return Spent(*(seconds / times for seconds in took))


def median_spent(found: list[Spent]) -> Spent:
    """The median of each."""
    return Spent(*(float(np.median([getattr(one, name) for one in found])) for name in ("wall", "node", "own")))


def reading(store: Store, users: U64, together: int, rows: int) -> Callable[[int], object]:
    """Reads some users, others at each call."""
    order = np.random.default_rng(rows).permutation(users)

    def work(number: int) -> None:
        read(store, order[np.arange(number * together, (number + 1) * together) % len(order)], rows)

    return work


def appending(store: Store, users: U64, rows: int) -> Callable[[int], object]:
    """Appends to all users in one cut; what is appended is made beforehand."""
    made = [rows_for(users, store.read_facts(users, 1).next + i * rows, rows) for i in range(2)]
    return lambda number: store.append(made[number], store.last_cut() + 1)


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


def measured_sizes(stores: dict[str, Store], users: U64, repeats: int) -> dict[tuple[str, int, int], Spent]:
    """What a call takes, by store, users of a call and rows of a user."""
    found: dict[tuple[str, int, int], list[Spent]] = {}
    clocks = {name: node_clock(store) for name, store in stores.items()}
    for _ in range(repeats + 1):
        for name, store in stores.items():
            for together in TOGETHER:
                for rows in (*FITTED, *FORETOLD):
                    times = max(1, len(users) // together)
                    work = reading(store, users, together, rows)
                    found.setdefault((name, together, rows), []).append(spent(work, times, clocks[name]))
    return {key: median_spent(every[1:]) for key, every in found.items()}


def size_of(together: int, rows: int) -> F64:
    """What a reading's cost goes by: the call, its users, its bytes, and those beyond caches."""
    size = together * rows * BYTES
    return np.array([1.0, together, size, *(max(0.0, size - cache) for cache in CACHES)])


def foretold(sizes: dict[tuple[str, int, int], Spent]) -> list[dict[str, Any]]:
    """The sizes that were held out: users/s of one client, and by the simulation with what the other sizes cost."""
    lines = []
    for name in dict.fromkeys(key[0] for key in sizes):
        here = [(t, n, one) for (store, t, n), one in sizes.items() if store == name]
        known = [(t, n, one) for t, n, one in here if n in FITTED]
        asked = np.array([size_of(t, n) for t, n, _ in known])
        wall = np.array([one.wall - one.node for _, _, one in known])
        cost = fitted(asked, wall)
        node = np.zeros(2)
        if any(one.node for _, _, one in known):
            node = fitted(asked[:, 1:3], np.array([one.node for _, _, one in known]))
        for t, n, one in here:
            if n in FORETOLD:
                size = size_of(t, n)
                told = t / closed_loop(float(size @ cost), float(size[1:3] @ node))
                real = t / one.wall
                lines.append({"store": name, "together": t, "n": n, "users_s": real, "simulated_users_s": told,
                              "off": told / real - 1})  # fmt: skip
    return lines


def waited(store: Store, users: U64, load: float, asked: int, rows: int = 100) -> dict[str, float]:
    """Readings of one user that come at random: how long they take, and how long the simulation says they do."""
    work, draw = reading(store, users, 1, rows), np.random.default_rng(int(load * 10))
    mean = _alone(work, asked // TURNS).mean()
    alone, took, moments = [], [], []
    for _ in range(TURNS):
        alone.append(_alone(work, asked // TURNS))
        moments.append(np.cumsum(draw.exponential(mean / load, asked // TURNS)))
        took.append(_at_moments(work, moments[-1]))
    told = np.concatenate([_simulated(at, draw.choice(np.concatenate(alone), len(at))) for at in moments])
    figures = {"load": load, "mean_alone_ms": float(np.concatenate(alone).mean() * 1e3)}
    for name, seconds in (("", np.concatenate(took)), ("simulated_", told)):
        figures |= {f"{name}p{share}_ms": float(np.quantile(seconds, share / 100) * 1e3) for share in (50, 90, 99)}
    return figures


def _simulated(at: F64, work: F64) -> F64:
    every, none = np.arange(len(at) + 1), np.zeros(len(at))
    calls = Calls(at, np.full(len(at), -1), none, every, np.zeros(len(at), np.int64), work, none)
    began, done = simulate(calls, Site(np.zeros(1, np.int64), 0.0))
    return done - began


def _alone(work: Callable[[int], object], times: int) -> F64:
    took = np.empty(times)
    for number in range(times):
        began = time.perf_counter()
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


def appended(store: Store, users: U64, repeats: int) -> tuple[F64, F64]:
    """A node's and a writer's seconds of processor for a user and for a byte appended."""
    clock, sizes, found = node_clock(store), [], []
    for rows in WRITTEN:
        every = []
        for _ in range(repeats):
            work = appending(store, users, rows)
            every.append(spent(work, 2, clock))
        sizes.append([float(len(users)), float(len(users) * rows * BYTES)])
        found.append(median_spent(every))
    size = np.array(sizes)
    return tuple(fitted(size, np.array([getattr(one, name) for one in found])) for name in ("node", "own"))


def costs_of(
    sizes: dict[tuple[str, int, int], Spent], wrote: tuple[F64, F64], alone: F64
) -> dict[str, float | list[float]]:
    """Of Redis, as `marm study tier` takes them."""
    here = [(t, n, one) for (store, t, n), one in sizes.items() if store == "redis"]
    size = np.array([[float(t), float(t * n * BYTES)] for t, n, _ in here])
    node, own = (fitted(size, np.array([getattr(one, name) for _, _, one in here])) for name in ("node", "own"))
    jitter = np.quantile(alone / np.median(alone), (np.arange(200) + 0.5) / 200)
    return {
        "read_call": node[0], "read_byte": node[1], "ask_user": own[0], "ask_byte": own[1],
        "append_user": wrote[0][0], "append_byte": wrote[0][1], "write_user": wrote[1][0], "write_byte": wrote[1][1],
        "jitter": [round(float(one), 3) for one in jitter],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--asked", type=int, default=3000, help="readings that come at random, for each load")
    parser.add_argument("--out", type=Path, help="JSON lines to append the result to")
    args = parser.parse_args()
    users = np.arange(args.users, dtype=np.uint64)
    with tempfile.TemporaryDirectory() as folder:
        stores: dict[str, Store] = {
            "arena": ArenaStore(LAYOUT, args.users * LAYOUT.states_kept * ROW),
            "lmdb": LmdbStore(Path(folder) / "rings", LAYOUT),
            "redis": open_store(servers.single().url(), LAYOUT, Path(folder)),
        }
        for store in stores.values():
            fill(store, users)
        sizes = measured_sizes(stores, users, args.repeats)
        throughput = foretold(sizes)
        waits = [
            {"store": name, **waited(store, users, load, args.asked)}
            for name, store in stores.items()
            for load in LOADS
        ]
        alone = _alone(reading(stores["redis"], users, 1, 100), args.asked)
        wrote = appended(stores["redis"], users, args.repeats)
        for store in stores.values():
            store.close()
    figures = {
        "load_average": os.getloadavg()[0],
        "throughput": throughput,
        "waits": waits,
        "hits": hits(100 * args.users),
        "costs": costs_of(sizes, wrote, alone),
    }
    show(figures)
    config = {"users": args.users, "repeats": args.repeats, "asked": args.asked, "window": WINDOW, "bytes": BYTES}
    write_result("tier", config, figures, args.out)


def show(figures: dict[str, Any]) -> None:
    """Tables."""
    for title, name in (("foretold, at sizes held out", "throughput"), ("readings that come at random", "waits")):
        print_table(title, list(figures[name][0]), [list(line.values()) for line in figures[name]])
    print_table("hits", list(figures["hits"]), [list(figures["hits"].values())])
    told = {name: value for name, value in figures["costs"].items() if name != "jitter"}
    print_table("microseconds a user, nanoseconds a byte, by Redis and the one who asks it", list(told),
                [[value * (1e9 if name.endswith("byte") else 1e6) for name, value in told.items()]])  # fmt: skip


if __name__ == "__main__":
    main()
