"""What another process does to a store in the tests: ``python -m tests.store.other_process write|read|look URL``."""

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from marm.errors import StoreError
from marm.store import Store, open_store
from marm.store.rings import places_from
from tests.store.rings import LAYOUT, Given, PlainStore, assert_same_states, facts_row, rows_of

USERS = list(range(20))
ROWS = 3
LAST = 40


def given_at(cut: int) -> list[Given]:
    """Three more rows for every user, stamped with the cut."""
    return [(user, ROWS * cut, [cut % 1000] * ROWS, 0, cut) for user in USERS]


def plain_at(cut: int) -> PlainStore:
    """What a store holds after this cut."""
    plain = PlainStore()
    for number in range(cut + 1):
        plain.append(given_at(number), number)
    return plain


def write(store: Store) -> None:
    while True:
        cut = store.last_cut() + 1
        store.append(rows_of(given_at(cut)), cut)
        print(cut, flush=True)


def read(store: Store) -> None:
    """Until the last cut is there, every read sees one cut of all users, and rows that are their own."""
    print("ready", flush=True)
    seen: set[int] = set()
    users = np.array(USERS, np.uint64)
    while max(seen, default=0) < ROWS * LAST:
        facts = store.read_facts(users, 5)
        assert len(set(facts.next.tolist())) == 1
        seen.add(int(facts.next[0]))
        wanted = [facts_row(u, p, p // ROWS) for u in USERS for p in range(facts.next[0])[-5:]]
        assert facts.facts.tobytes() == b"".join(wanted)
        upto = int(facts.next[0]) // ROWS
        states, there = store.read_states(users, np.maximum(facts.next - 5, 0), facts.counts)
        assert there.all() or upto < LAST  # later appends may have pushed rows out between the two reads
        for row, stamps in enumerate(states[:, 8:16].copy().view(np.int32).tolist()):
            assert not there[row] or stamps == [stamps[0], stamps[0] // ROWS]
        assert (states[there][:, :8].copy().view(np.uint64)[:, 0] == np.repeat(users, facts.counts)[there]).all()
    print(len(seen), flush=True)


def look(store: Store) -> None:
    """Until killed, read users at random: whose rows they are, and which, is in their bytes; counts are printed."""
    counts, rng = Counter[str](), np.random.default_rng()
    while True:
        users = rng.permutation(USERS)[:7].astype(np.uint64)
        try:
            facts = store.read_facts(users, int(rng.integers(1, 100)))
            first = np.maximum(facts.next - rng.integers(1, 60, len(users)), 0)
            states, there = store.read_states(users, first, facts.next - first)
        except StoreError:
            counts["failed"] += 1
            continue
        told = facts.facts.view(np.int64)
        counts["wrong"] += misplaced(users, facts.first, facts.counts, told[:, 1], told[:, 2] // 1000)
        user, position = (states[:, low : low + 8].copy().view(np.uint64)[:, 0] for low in (0, 8))
        asked = np.repeat(users, facts.next - first)
        # Position and stamp are 32 bits each; later appends may have pushed rows out between the two reads.
        given = np.where(there, user, asked), np.where(there, (position & 0xFFFFFFFF).astype(np.int64), -1)
        counts["wrong"] += misplaced(users, first, facts.next - first, *given)
        counts["rows"] += len(told) + int(there.sum())
        counts["damaged"] = len(store.damaged)
        print(json.dumps(counts), flush=True)


def misplaced(users: np.ndarray, first: np.ndarray, counts: np.ndarray, user: np.ndarray, position: np.ndarray) -> int:
    """How many rows are stamped with another user or position than they were asked for; -1: no row."""
    asked = places_from(first, counts)
    return int(((user != np.repeat(users, counts)) | ((position != asked) & (position >= 0))).sum())


def check_whole(store: Store, cut: int) -> None:
    """The store holds exactly what this cut made."""
    plain = plain_at(cut)
    assert store.last_cut() == cut
    assert store.holding().next.tolist() == [ROWS * (cut + 1)] * len(USERS)
    assert_same_states(store, plain, USERS)


if __name__ == "__main__":
    what = sys.argv[1]
    {"write": write, "read": read, "look": look}[what](open_store(sys.argv[2], LAYOUT, Path(), what != "write"))
