"""Rows that tell whose they are, and the plainest model of a store, for the tests of this folder."""

from dataclasses import dataclass, field

import numpy as np

from marm.store.base import Layout, Rows, Store, offsets

LAYOUT = Layout(facts_bytes=24, state_bytes=20, facts_kept=150, states_kept=70, model="a test")
Given = tuple[int, int, list[int], int, int]
"""user, first, stamps of the rows, states_from, seen."""


def facts_row(user: int, position: int, stamp: int) -> bytes:
    """Time (every third position a new one), user, then position and stamp."""
    words = np.array([position // 3, np.uint64(user).astype(np.int64), position * 1000 + stamp], np.int64)
    return words.tobytes()


def state_row(user: int, position: int, stamp: int) -> bytes:
    return np.uint64(user).tobytes() + np.array([position, stamp, 77], np.int32).tobytes()


def rows_of(given: list[Given]) -> Rows:
    """Rows to append, each stamped with its user and position."""
    facts = [facts_row(u, first + i, s) for u, first, stamps, _, _ in given for i, s in enumerate(stamps)]
    states = [state_row(u, first + i, s) for u, first, stamps, _, _ in given for i, s in enumerate(stamps)]
    return Rows(
        users=np.array([g[0] for g in given], np.uint64),
        first=np.array([g[1] for g in given], np.int64),
        counts=np.array([len(g[2]) for g in given], np.int64),
        facts=np.frombuffer(b"".join(facts), np.uint8).reshape(-1, LAYOUT.facts_bytes),
        states=np.frombuffer(b"".join(states), np.uint8).reshape(-1, LAYOUT.state_bytes),
        states_from=np.array([g[3] for g in given], np.int64),
        seen=np.array([g[4] for g in given], np.int64),
    )


@dataclass
class Ring:
    stamps: list[int] = field(default_factory=list)
    states_from: int = 0
    seen: int = 0


@dataclass
class PlainStore:
    """Lists of stamps that grow for ever; what is kept is worked out when read."""

    rings: dict[int, Ring] = field(default_factory=dict)
    cut: int = -1

    def append(self, given: list[Given], cut: int) -> None:
        if cut <= self.cut:
            return
        for user, first, stamps, states_from, seen in given:
            ring = self.rings.setdefault(user, Ring())
            ring.stamps[first : first + len(stamps)] = stamps
            ring.states_from = max(ring.states_from, states_from)
            ring.seen = seen
        self.cut = cut

    def forget(self, users: list[int]) -> None:
        for user in users:
            self.rings.pop(user, None)

    def facts(self, user: int, count: int, before: int | None) -> tuple[int, int, int, list[bytes]]:
        ring = self.rings.get(user, Ring())
        size = len(ring.stamps)
        floor = max(0, size - LAYOUT.facts_kept)
        seen = [p for p in range(floor, size) if before is None or p // 3 < before][-count:]
        return size, ring.states_from, len(seen), [facts_row(user, p, ring.stamps[p]) for p in seen]

    def state(self, user: int, position: int) -> bytes | None:
        ring = self.rings.get(user, Ring())
        if max(ring.states_from, len(ring.stamps) - LAYOUT.states_kept) <= position < len(ring.stamps):
            return state_row(user, position, ring.stamps[position])
        return None


def assert_same(store: Store, plain: PlainStore, users: list[int]) -> None:
    """Everything that can be asked of the store is what the plain one says."""
    keys = np.array(users, np.uint64)
    assert store.last_cut() == plain.cut
    for count in (1, 7, 64, 1000):
        for time in (None, 0, 1, 20, 10**9):
            before = None if time is None else np.full(len(users), time, np.int64)
            got = store.read_facts(keys, count, before)
            at = offsets(got.counts)
            for i, user in enumerate(users):
                size, states_from, rows, facts = plain.facts(user, count, time)
                assert (got.next[i], got.states_from[i], got.counts[i]) == (size, states_from, rows)
                assert got.facts[at[i] : at[i + 1]].tobytes() == b"".join(facts)
                if rows:
                    assert got.facts[at[i], 16:].view(np.int64)[0] // 1000 == got.first[i]
    assert_same_states(store, plain, users)
    assert_same_holding(store, plain)


def assert_same_states(store: Store, plain: PlainStore, users: list[int]) -> None:
    lengths = np.array([len(plain.rings[u].stamps) if u in plain.rings else 0 for u in users], np.int64)
    first = np.maximum(lengths - 80, 0)
    counts = lengths - first + 3
    rows, there = store.read_states(np.array(users, np.uint64), first, counts)
    row = 0
    for user, begin, count in zip(users, first.tolist(), counts.tolist(), strict=True):
        for position in range(begin, begin + count):
            wanted = plain.state(user, position)
            assert there[row] == (wanted is not None)
            assert rows[row].tobytes() == (wanted or bytes(LAYOUT.state_bytes))
            row += 1


def assert_same_holding(store: Store, plain: PlainStore) -> None:
    held = store.holding()
    got = zip(held.users.tolist(), held.next.tolist(), held.states_from.tolist(), held.seen.tolist(), strict=True)
    wanted = [(user, len(ring.stamps), ring.states_from, ring.seen) for user, ring in plain.rings.items()]
    assert sorted(got) == sorted(wanted)
    stats = store.stats()
    kept = [sum(plain.state(u, p) is not None for p in range(len(r.stamps))) for u, r in plain.rings.items()]
    facts = [min(len(ring.stamps), LAYOUT.facts_kept) for ring in plain.rings.values()]
    assert (stats.users, stats.rows, stats.facts_rows) == (len(wanted), sum(kept), sum(facts))
    assert stats.bytes == sum(kept) * LAYOUT.state_bytes + sum(facts) * LAYOUT.facts_bytes
