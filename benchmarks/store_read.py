"""What reading and appending rings costs, beside a plain copy of memory and beside one key for each state.

python -m benchmarks.store_read [--users 2000] [--repeats 7] [--folder DIR] [--redis] [--whole] [--out results.jsonl]

`--redis`: Redis on this machine too, one server and a cluster of three primaries and three replicas, by the tests' own means.
"""

import argparse
import csv
import itertools
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import lmdb
import numpy as np

from benchmarks.common import median_seconds, print_table, write_result
from marm.store import ArenaStore, Layout, LmdbStore, Near, Rows, Store, open_store, read_through
from marm.store.whole import read_whole
from marm.types import I64, U64
from tests.store import servers

WINDOW, DEPTHS, WIDTH = 1000, 4, 64
ROW = DEPTHS * WIDTH * 2
BLOCK = WINDOW * ROW
FACTS = 40
LAYOUT = Layout(FACTS, ROW, facts_kept=2 * WINDOW, states_kept=WINDOW + 64, model="benchmark")
BATCH = 64


def rows_for(users: U64, first: I64, count: int) -> Rows:
    """``count`` random rows for each user, from ``first`` on."""
    total = len(users) * count
    random = np.random.default_rng(int(first.sum()))
    facts = random.integers(0, 256, (total, FACTS), np.uint8)
    facts[:, :8].view(np.int64)[:, 0] = (first[:, None] + np.arange(count)).ravel()
    states = random.integers(0, 2**63, (total, ROW // 8), np.int64).view(np.uint8)
    counts = np.full(len(users), count, np.int64)
    return Rows(users, first, counts, facts, states, np.zeros_like(first), first + count)


def fill(store: Store, users: U64) -> None:
    """Give each user a full window."""
    for start in range(0, len(users), BATCH):
        some = users[start : start + BATCH]
        store.append(rows_for(some, np.zeros(len(some), np.int64), WINDOW), store.last_cut() + 1)


def seconds_to_read(read: Callable[[U64], object], users: U64, batch: int, repeats: int) -> float:
    """Seconds for each user: median over ``repeats`` passes over users in random order, ``batch`` at a time."""
    random = np.random.default_rng(1)

    def one_pass() -> None:
        order = random.permutation(users)
        for start in range(0, len(order), batch):
            read(order[start : start + batch])

    return median_seconds(one_pass, repeats) / len(users)


def store_reader(store: Store, window: int) -> Callable[[U64], object]:
    """The newest ``window`` states."""

    def read(users: U64) -> object:
        first = np.full(len(users), WINDOW - window, np.int64)
        return store.read_states(users, first, np.full(len(users), window, np.int64))

    return read


def copy_reader(users: int, batch: int) -> Callable[[U64], object]:
    """The limit: as many bytes, from as large a block of memory, into a kept buffer."""
    memory = np.random.default_rng(0).integers(0, 2**63, (users, BLOCK // 8), np.int64)
    kept = np.zeros((batch, BLOCK // 8), np.int64)

    def read(order: U64) -> None:
        for i, user in enumerate(order.tolist()):
            np.copyto(kept[i], memory[user])

    return read


class OneKeyEach:
    """The layout to avoid: one key for each user, position and depth."""

    def __init__(self, users: int) -> None:
        for user in range(users):
            self.put([(key, bytes(WIDTH * 2)) for key in self.keys(user)])

    def keys(self, user: int) -> list[bytes]:
        """Of all states of a user."""
        head = user.to_bytes(8, "big")
        return [
            head + position.to_bytes(4, "big") + bytes((depth,))
            for position, depth in itertools.product(range(WINDOW), range(DEPTHS))
        ]

    def put(self, pairs: list[tuple[bytes, bytes]]) -> None:
        """Store a user's."""
        raise NotImplementedError

    def get(self, keys: list[bytes]) -> list[bytes]:
        """Values of a user's keys."""
        raise NotImplementedError

    def read(self, users: U64) -> object:
        """All states of users."""
        found = [value for user in users.tolist() for value in self.get(self.keys(user))]
        return np.frombuffer(b"".join(found), np.uint8)

    def close(self) -> None:
        """Give back what is open."""


class LmdbKeys(OneKeyEach):
    """In LMDB."""

    def __init__(self, folder: Path, users: int) -> None:
        self._env = lmdb.open(str(folder), map_size=1 << 36, sync=False)
        super().__init__(users)

    def put(self, pairs: list[tuple[bytes, bytes]]) -> None:
        with self._env.begin(write=True) as txn:
            txn.cursor().putmulti(pairs)

    def get(self, keys: list[bytes]) -> list[bytes]:
        with self._env.begin(buffers=True) as txn:
            return [bytes(txn.get(key, b"")) for key in keys]

    def close(self) -> None:
        self._env.close()


class RedisKeys(OneKeyEach):
    """In one Redis server: all of a user's by one MGET."""

    def __init__(self, client: Any, users: int) -> None:
        self._client = client
        super().__init__(users)

    def put(self, pairs: list[tuple[bytes, bytes]]) -> None:
        self._client.mset(dict(pairs))

    def get(self, keys: list[bytes]) -> list[bytes]:
        return list(self._client.mget(keys))

    def close(self) -> None:
        self._client.close()


def measure_reads(
    stores: dict[str, Store], naive: dict[str, OneKeyEach], users: U64, args: argparse.Namespace
) -> dict[str, Any]:
    """Milliseconds, users/s, GB/s and share of the plain copy for each way, one user and many at a time."""
    figures: dict[str, Any] = {}
    rows: list[list[object]] = []
    for batch, window in ((1, WINDOW), (BATCH, WINDOW), (1, WINDOW // 10), (BATCH, WINDOW // 10)):
        ways = {"plain copy": copy_reader(len(users), batch)} if window == WINDOW else {}
        ways |= {name: store_reader(store, window) for name, store in stores.items()}
        seconds = {way: seconds_to_read(read, users, batch, args.repeats) for way, read in ways.items()}
        if batch == 1 and window == WINDOW:
            few = users[: args.naive_users]
            for name, keys in naive.items():
                seconds[f"{name}, a key for each state"] = seconds_to_read(keys.read, few, 1, min(args.repeats, 3))
        for way, took in seconds.items():
            size = window * ROW
            share = seconds["plain copy"] / took if "plain copy" in seconds else None
            told = "" if share is None else f"{share:.1%}"
            rows.append([way, window, batch, took * 1e3, 1 / took, size / took / 1e9, told])
            figure = {"ms": took * 1e3, "users_s": 1 / took, "gb_s": size / took / 1e9, "share": share}
            figures[f"{way}, {batch} at a time" + ("" if window == WINDOW else f", n={window}")] = figure
    head = ["read of one user's states", "n", "users a call", "ms a user", "users/s", "GB/s", "of plain copy"]
    size = f"{len(users) * BLOCK / 1e9:.2f} GB"
    print_table(f"L={DEPTHS}, d={WIDTH}, float16: {BLOCK >> 10} KiB a user at n={WINDOW}, {size} in all", head, rows)
    return figures


def measure_facts(stores: dict[str, Store], users: U64, args: argparse.Namespace) -> dict[str, Any]:
    """Microseconds a user for the newest facts before a time, where that is all of them and where it is half."""
    figures: dict[str, Any] = {}
    rows: list[list[object]] = []
    for name, store in stores.items():
        for about, time in (("now", WINDOW + 1), ("half way back", WINDOW // 2)):

            def read(some: U64, store: Store = store, time: int = time) -> object:
                return store.read_facts(some, 100, np.full(len(some), time, np.int64))

            took = seconds_to_read(read, users, BATCH, args.repeats)
            rows.append([f"{name}, before {about}", BATCH, took * 1e6])
            figures[f"{name}, before {about}"] = {"us": took * 1e6}
    print_table("the newest 100 facts before a time", ["read", "users a call", "us a user"], rows)
    return figures


def measure_appends(stores: dict[str, Store], users: U64, args: argparse.Namespace) -> dict[str, Any]:
    """Users and GB of new rows a second, every append on the disk (where the store has one) before the next."""
    figures: dict[str, Any] = {}
    rows: list[list[object]] = []
    some = users[:512]
    for name, store in stores.items():
        for count in (1, 16):

            def append(store: Store = store, count: int = count) -> None:
                first = store.read_facts(some, 1).next
                store.append(rows_for(some, first, count), store.last_cut() + 1)

            def prepare(store: Store = store, count: int = count) -> None:
                rows_for(some, store.read_facts(some, 1).next, count)

            took = median_seconds(append, args.repeats) - median_seconds(prepare, args.repeats)
            size = len(some) * count * (ROW + FACTS)
            rows.append([name, count, took * 1e3, len(some) / took, size / took / 1e9])
            figures[f"{name}, {count} rows"] = {"users_s": len(some) / took, "gb_s": size / took / 1e9}
    head = ["append to full rings", "rows a user", f"ms for {len(some)} users", "users/s", "GB/s of rows"]
    print_table("appends", head, rows)
    return figures


def measure_whole(stores: dict[str, Store], users: U64, repeats: int) -> dict[str, Any]:
    """Milliseconds a user for facts and states by two round trips and by one, in turn, and the median of their ratios."""
    figures: dict[str, Any] = {}
    rows: list[list[object]] = []
    ends = {name: store.read_facts(users, 1).next for name, store in stores.items()}
    for (name, store), batch, window in itertools.product(stores.items(), (1, BATCH), (WINDOW // 10, WINDOW)):
        took: dict[bool, list[float]] = {False: [], True: []}
        for repeat in range(repeats + 1):
            order = np.random.default_rng(repeat).permutation(len(users))
            for at_once in (False, True) if repeat % 2 else (True, False):
                began = perf_counter()
                for start in range(0, len(order), batch):
                    some = order[start : start + batch]
                    read_whole(store, users[some], window, ROW, ends[name][some] if at_once else None)
                took[at_once].append((perf_counter() - began) * 1e3 / len(users))
        two, one = took[False][1:], took[True][1:]
        ratio = median(b / a for a, b in zip(two, one, strict=True))
        rows.append([name, batch, window, median(two), median(one), ratio])
        about = {"two_ms": median(two), "one_ms": median(one), "one_of_two": ratio}
        figures[f"{name}, {batch} at a time, n={window}"] = about
    head = ["facts and states", "users a call", "n", "ms a user, two round trips", "one", "one of two"]
    print_table("users read whole", head, rows)
    return figures


def measure_changed(ways: dict[str, Store], users: U64, repeats: int) -> dict[str, float]:
    """Users/s at n = 1,000 right after a cut that changed a share of users."""
    figures: dict[str, float] = {}
    writer = next(iter(ways.values()))
    ends = writer.read_facts(users, 1).next
    for share in (0.0, 0.1, 0.5):
        changed = users[: int(share * len(users))]
        took: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(repeats + 1):
            writer.append(rows_for(changed, ends[: len(changed)], 1), writer.last_cut() + 1)
            ends[: len(changed)] += 1
            for name, store in ways.items():
                began = perf_counter()
                for start in range(0, len(users), BATCH):
                    some = slice(start, start + BATCH)
                    store.read_states(users[some], ends[some] - WINDOW, np.full(len(users[some]), WINDOW))
                took[name].append(perf_counter() - began)
        figures |= {f"{name}, {share:.0%} changed": len(users) / median(times[1:]) for name, times in took.items()}
    print_table("users/s right after a cut", list(figures), [list(figures.values())])
    return figures


def redis_bytes(store: Store, users: int) -> dict[str, float]:
    """What a server spends on a user with a full window, beside what its rows are."""
    with servers.single().client() as client:
        about, some = (
            client.info("memory"),
            list(itertools.islice(client.scan_iter(match="store.*:{*}", count=1000), 50)),
        )
        spent = [client.memory_usage(key, samples=0) for key in some]
    figures = {
        "bytes_a_user": float(np.mean(spent)),
        "rows_bytes_a_user": store.stats().bytes / users,
        "fragmentation": float(about["mem_fragmentation_ratio"]),
    }
    print_table("bytes in Redis", list(figures), [list(figures.values())])
    return figures


def redis_benchmark(repeats: int) -> dict[str, float]:
    """What Redis's own benchmark reads with values of one chunk, 16 at a time: the limit of this machine."""
    chunk = 62 * (ROW + 4)
    words = ["redis-benchmark", "-p", str(servers.single().port), "-n", str(1000 * repeats), "-c", "1", "-P", "16"]
    done = subprocess.run(
        [*words, "-d", str(chunk), "-t", "set,get", "--csv"], capture_output=True, text=True, check=True
    )
    rates = {row[0]: float(row[1]) for row in csv.reader(done.stdout.splitlines()) if row and row[0] in ("SET", "GET")}
    figures = {f"{name.lower()}_gb_s": rate * chunk / 1e9 for name, rate in rates.items()}
    print_table(f"redis-benchmark, values of {chunk} bytes, 16 in a pipeline", list(figures), [list(figures.values())])
    return figures


def beside_limit(figures: dict[str, Any]) -> None:
    """Give readings and appendings of Redis, and print, what share they are of what its own benchmark reads and sets."""
    limit = figures["redis_benchmark"]
    rows: list[list[object]] = []
    for kind, of in (("read", "get"), ("append", "set")):
        for way, figure in figures[kind].items():
            # Rows kept in this process are not the server's speed, and one key for each state is another layout's.
            if way.startswith(("redis, 1", "redis, 64", "redis cluster,")):
                figure[f"share_of_{of}"] = figure["gb_s"] / limit[f"{of}_gb_s"]
                rows.append([f"{kind}, {way}", f"{figure[f'share_of_{of}']:.1%}", of.upper()])
    print_table("beside redis-benchmark", ["way", "share", "of"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=2000)
    parser.add_argument("--naive-users", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="where the databases are made (default: the system's for such)")
    parser.add_argument("--redis", action="store_true", help="measure Redis too; wants Debian's package redis-server")
    parser.add_argument(
        "--whole", action="store_true", help="of Redis, only users read whole, by one round trip and two"
    )
    parser.add_argument("--out", type=Path, help="JSON lines to append the result to")
    args = parser.parse_args()
    users = np.arange(args.users, dtype=np.uint64)
    few = min(args.naive_users, args.users)
    config = {"users": args.users, "window": WINDOW, "depths": DEPTHS, "width": WIDTH, "repeats": args.repeats}
    if args.whole:
        distant = {
            "redis": open_store(servers.single().url(), LAYOUT, Path()),
            "redis cluster": open_store(servers.cluster().url(), LAYOUT, Path()),
        }
        for store in distant.values():
            fill(store, users)
        write_result("store_read", config, {"whole": measure_whole(distant, users, args.repeats)}, args.out)
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        stores: dict[str, Store] = {
            "arena": ArenaStore(LAYOUT, args.users * LAYOUT.states_kept * ROW),
            "lmdb": LmdbStore(Path(folder) / "rings", LAYOUT),
        }
        naive: dict[str, OneKeyEach] = {"lmdb": LmdbKeys(Path(folder) / "naive", few)}
        if args.redis:
            url = servers.single().url()
            stores["redis"] = open_store(url, LAYOUT, Path(folder))
            stores["redis cluster"] = open_store(servers.cluster().url(), LAYOUT, Path(folder))
            near = Near(args.users * 2 * WINDOW * (ROW + FACTS))
            stores["redis, read through"] = read_through(near, open_store(url, LAYOUT, Path(folder)))
            naive["redis"] = RedisKeys(servers.single().client(), few)
        for name, store in stores.items():
            if name != "redis, read through":  # which is the same
                fill(store, users)
        figures = {
            "read": measure_reads(stores, naive, users, args),
            "facts": measure_facts(stores, users, args),
            "append": measure_appends(stores, users, args),
        }
        if args.redis:
            figures["whole"] = measure_whole(
                {name: stores[name] for name in ("redis", "redis cluster")}, users, args.repeats
            )
            ways = {name: stores[name] for name in ("redis", "redis, read through")}
            figures["changed"] = measure_changed(ways, users, args.repeats)
            figures["redis_bytes"] = redis_bytes(stores["redis"], len(users))
            figures["redis_benchmark"] = redis_benchmark(args.repeats)
            beside_limit(figures)
        for opened in (*naive.values(), *stores.values()):
            opened.close()
    write_result("store_read", config, figures, args.out)


if __name__ == "__main__":
    main()
