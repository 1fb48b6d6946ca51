"""How users are read from Redis: many in one round trip, and again where their sums are wrong."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from marm.store.base import Facts, Layout
from marm.store.redis_link import Link
from marm.store.redis_rows import CHUNK, FROM, NEXT, Pieces, dealt, lay_out, metas_of, slices_of
from marm.store.redis_scripts import FACTS_SHA
from marm.store.redis_slots import slot_of
from marm.store.redis_talk import Command
from marm.store.rings import Bounds, starts, state_windows
from marm.store.sums import sealed_width, unseal
from marm.types import I64, U8, U64, Bool

_FACTS, _STATES = 0, 1
AT_ONCE = 1 << 25
"""Bytes in one round trip."""
_READINGS = 3
"""Of rows whose sums are wrong, before their user is called damaged."""
Metas = list[bytes | None]
_Facts = tuple[Facts, Metas]
_States = tuple[U8, Bool, Metas]
"""With users' metas as they were then."""


class Reads:
    """The reading half of ``RedisStore``."""

    layout: Layout
    damaged: set[int]
    _link: Link
    _prefix: bytes
    """Before the keys of users."""

    def _ask(self, commands: list[Command], confirm: bool = False) -> list[Any]:
        """Answers to commands; the first key stands after the name, or as EVALSHA has it."""
        keys = [command[3] if command[0] == "EVALSHA" else command[1] for command in commands]
        return self._link.ask(commands, [slot_of(key) for key in keys], confirm)

    def _keys(self, users: U64, prefix: bytes = b"") -> list[bytes]:
        return [b"%b{%016x}" % (prefix or self._prefix, user) for user in users.tolist()]

    def read_facts(self, users: U64, count: int, before: I64 | None = None) -> Facts:
        """The newest ``count`` facts of each user, strictly before its time ``before`` (B,) where given."""
        return self.facts_and_metas(users, count, before)[0]

    def facts_and_metas(self, users: U64, count: int, before: I64 | None = None) -> _Facts:
        """The same, and each user's meta as it was then."""
        width = sealed_width(self.layout.facts_bytes) * min(count, self.layout.facts_kept)
        parts: list[_Facts] = []
        for some in slices_of(np.full(len(users), width), AT_ONCE):
            times = before if before is None else before[some]
            parts.append(self._steadily(users[some], partial(self._facts, users[some], count, times)))
        return _facts_joined(parts)

    def _facts(self, users: U64, count: int, before: I64 | None) -> tuple[_Facts, Bool]:
        return self._facts_told(users, count, self._ask(self._facts_asked(users, count, before)))

    def _facts_asked(self, users: U64, count: int, before: I64 | None = None) -> list[Command]:
        about = (count, self.layout.facts_kept, sealed_width(self.layout.facts_bytes), CHUNK)
        times = [()] * len(users) if before is None else [(time,) for time in before.tolist()]
        return [
            ("EVALSHA", FACTS_SHA, 1, key, *about, *time) for key, time in zip(self._keys(users), times, strict=True)
        ]

    def _facts_told(self, users: U64, count: int, answers: list[Any]) -> tuple[_Facts, Bool]:
        layout, width = self.layout, sealed_width(self.layout.facts_bytes)
        raw = [answer[0] if answer else None for answer in answers]
        meta, _, wrong = self._parsed(users, raw)
        next_ = meta[:, NEXT].copy()
        upto = np.minimum(np.array([answer[1] if answer else 0 for answer in answers], np.int64), next_)
        first = np.maximum(np.maximum(upto - count, next_ - layout.facts_kept), 0)
        last = np.minimum(upto + 1, next_)
        row, sizes = starts(last - first), last - first
        sealed = np.zeros((int(sizes.sum()), width), np.uint8)
        flat = sealed.reshape(-1).data
        for answer, at, size in zip(answers, (row * width).tolist(), (sizes * width).tolist(), strict=True):
            if size:
                rows = answer[2][:size]
                flat[at : at + len(rows)] = rows
        out = np.empty((len(sealed), layout.facts_bytes), np.uint8)
        wrong |= unseal(users, _FACTS, first, last, row, sealed, out)
        asked_for = np.arange(len(out)) - np.repeat(row, sizes) < np.repeat(upto - first, sizes)
        return (Facts(next_, meta[:, FROM].copy(), first, upto - first, out[asked_for]), raw), wrong

    def read_states(self, users: U64, first: I64, counts: I64) -> tuple[U8, Bool]:
        """States at consecutive positions (R, state_bytes), and whether each is there (R,); absent ones are zero."""
        rows, there, _ = self.states_and_metas(users, first, counts)
        return rows, there

    def states_and_metas(self, users: U64, first: I64, counts: I64) -> _States:
        """The same, and each user's meta as it was then."""
        parts: list[_States] = []
        for some in slices_of(counts * self.layout.state_bytes, AT_ONCE):
            read = partial(self._states, users[some], first[some], counts[some])
            parts.append(self._steadily(users[some], read))
        return _states_joined(parts)

    def _states(self, users: U64, first: I64, counts: I64) -> tuple[_States, Bool]:
        pieces = self._pieces(first, counts)
        return self._states_told(users, first, counts, pieces, self._ask(self._states_asked(users, pieces)))

    def _pieces(self, first: I64, counts: I64) -> Pieces:
        return Pieces.of(first, first + counts if self.layout.state_bytes else first)

    def _states_asked(self, users: U64, pieces: Pieces) -> list[Command]:
        asked = zip(self._keys(users), dealt(pieces.fields("s"), pieces.counts), strict=True)
        return [("HMGET", key, "m", *fields) for key, fields in asked]

    def _states_told(
        self, users: U64, first: I64, counts: I64, pieces: Pieces, answers: list[Any]
    ) -> tuple[_States, Bool]:
        width = sealed_width(self.layout.state_bytes)
        raw = [answer[0] for answer in answers]
        meta, _, wrong = self._parsed(users, raw)
        bounds = Bounds(meta[:, NEXT].copy(), meta[:, FROM].copy())
        row, low, upto, there = state_windows(bounds, self.layout, first, counts)
        sealed = np.zeros((len(there), width), np.uint8)
        out = np.zeros((len(there), self.layout.state_bytes), np.uint8)
        lay_out([chunk for answer in answers for chunk in answer[1:]], pieces, low, upto, row, sealed)
        wrong |= unseal(users, _STATES, low, upto, row, sealed, out)
        return (out, there, raw), wrong

    def read_both(self, users: U64, count: int, first: I64, counts: I64) -> tuple[Facts, U8, Bool]:
        """The newest ``count`` facts, and states at these positions, by one round trip."""
        (found, _), (rows, there, _) = self.both_and_metas(users, count, first, counts)
        return found, rows, there

    def both_and_metas(self, users: U64, count: int, first: I64, counts: I64) -> tuple[_Facts, _States]:
        """The same, each with users' metas as they were then."""
        width = sealed_width(self.layout.facts_bytes) * min(count, self.layout.facts_kept)
        parts = []
        # By the larger of the two, so that users who are one reading of states are not two because of their facts.
        for some in slices_of(np.maximum(counts * self.layout.state_bytes, width), AT_ONCE):
            read = partial(self._both, users[some], count, first[some], counts[some])
            parts.append(self._steadily(users[some], read))
        return _facts_joined([facts for facts, _ in parts]), _states_joined([states for _, states in parts])

    def _both(self, users: U64, count: int, first: I64, counts: I64) -> tuple[tuple[_Facts, _States], Bool]:
        pieces = self._pieces(first, counts)
        answers = self._ask(self._facts_asked(users, count) + self._states_asked(users, pieces))
        facts, wrong = self._facts_told(users, count, answers[: len(users)])
        states, also = self._states_told(users, first, counts, pieces, answers[len(users) :])
        return (facts, states), wrong | also

    def metas(self, users: U64) -> Metas:
        """What says in which state each user is, as it is now: another one after whatever changed it; None: not there."""
        return self._ask([("HGET", key, "m") for key in self._keys(users)])

    def _parsed(self, users: U64, raw: Metas) -> tuple[I64, Bool, Bool]:
        """Metas, who has one, and whose is newly found wrong; zero for those damaged."""
        meta, there, wrong = metas_of(users, raw)
        if self.damaged:
            known = np.isin(users, np.fromiter(self.damaged, np.uint64))
            meta[known], there[known], wrong[known] = 0, False, False
        return meta, there, wrong

    def _steadily(self, users: U64, read: Callable[[], tuple[Any, Bool]]) -> Any:
        """Read until all sums are right; users whose are not after some readings are damaged, and read as never seen."""
        readings = 0
        while True:
            found, wrong = read()
            if not wrong.any():
                return found
            readings += 1
            if readings % _READINGS == 0:
                self.damaged |= set(users[wrong].tolist())


def _facts_joined(parts: list[_Facts]) -> _Facts:
    columns = zip(*(vars(facts).values() for facts, _ in parts), strict=True)
    return Facts(*(np.concatenate(column) for column in columns)), [meta for _, raw in parts for meta in raw]


def _states_joined(parts: list[_States]) -> _States:
    rows, there, metas = zip(*parts, strict=True)
    return np.concatenate(rows), np.concatenate(there), [meta for raw in metas for meta in raw]
