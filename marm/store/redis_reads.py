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

    def facts_and_metas(self, users: U64, count: int, before: I64 | None = None) -> tuple[Facts, Metas]:
        """The same, and each user's meta as it was then."""
        width = sealed_width(self.layout.facts_bytes) * min(count, self.layout.facts_kept)
        parts: list[tuple[Facts, Metas]] = []
        for some in slices_of(np.full(len(users), width), AT_ONCE):
            times = before if before is None else before[some]
            parts.append(self._steadily(users[some], partial(self._facts, users[some], count, times)))
        columns = zip(*(vars(facts).values() for facts, _ in parts), strict=True)
        return Facts(*(np.concatenate(column) for column in columns)), [meta for _, raw in parts for meta in raw]

    def _facts(self, users: U64, count: int, before: I64 | None) -> tuple[tuple[Facts, Metas], Bool]:
        layout, width = self.layout, sealed_width(self.layout.facts_bytes)
        about = (count, layout.facts_kept, width, CHUNK)
        times = [()] * len(users) if before is None else [(time,) for time in before.tolist()]
        asked = zip(self._keys(users), times, strict=True)
        answers = self._ask([("EVALSHA", FACTS_SHA, 1, key, *about, *time) for key, time in asked])
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

    def states_and_metas(self, users: U64, first: I64, counts: I64) -> tuple[U8, Bool, Metas]:
        """The same, and each user's meta as it was then."""
        parts: list[tuple[U8, Bool, Metas]] = []
        for some in slices_of(counts * self.layout.state_bytes, AT_ONCE):
            read = partial(self._states, users[some], first[some], counts[some])
            parts.append(self._steadily(users[some], read))
        rows, there, metas = zip(*parts, strict=True)
        return np.concatenate(rows), np.concatenate(there), [meta for raw in metas for meta in raw]

    def _states(self, users: U64, first: I64, counts: I64) -> tuple[tuple[U8, Bool, Metas], Bool]:
        width = sealed_width(self.layout.state_bytes)
        pieces = Pieces.of(first, first + counts if width else first)
        asked = zip(self._keys(users), dealt(pieces.fields("s"), pieces.counts), strict=True)
        answers = self._ask([("HMGET", key, "m", *fields) for key, fields in asked])
        raw = [answer[0] for answer in answers]
        meta, _, wrong = self._parsed(users, raw)
        bounds = Bounds(meta[:, NEXT].copy(), meta[:, FROM].copy())
        row, low, upto, there = state_windows(bounds, self.layout, first, counts)
        sealed = np.zeros((len(there), width), np.uint8)
        out = np.zeros((len(there), self.layout.state_bytes), np.uint8)
        lay_out([chunk for answer in answers for chunk in answer[1:]], pieces, low, upto, row, sealed)
        wrong |= unseal(users, _STATES, low, upto, row, sealed, out)
        return (out, there, raw), wrong

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
