"""Rings in this process's memory: the reference store, gone with the process unless a cut carries a dump of it."""

import json
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np

from marm.errors import DiskError, FolderError, LayoutError
from marm.store.base import Facts, Holding, Layout, Rows, Space, StoreStats, space_of
from marm.store.pages import Pages, fitted, spans
from marm.store.rings import Bounds, difference, starts, state_windows, stats_of
from marm.store.slots import SlotMap
from marm.store.sums import block_sums
from marm.types import I64, U8, U64, Bool

_NEXT, _FROM, _SEEN = range(3)


class ArenaStore:
    """The contract of ``Store`` over pages in memory; one thread writes, none reads meanwhile."""

    durable, generation = False, ""

    def __init__(self, layout: Layout, budget: int = 0) -> None:
        """Room for ``budget`` bytes of states is set aside at once (pages of it cost nothing until used)."""
        self.layout, self.damaged, self.gone = layout, set[int](), set[int]()
        self._start(budget)

    def _start(self, budget: int = 0) -> None:
        layout = self.layout
        self._users = SlotMap()
        self._meta = np.zeros((1, 3), np.int64)
        self._facts = Pages(layout.facts_bytes, layout.facts_kept)
        self._states = Pages(layout.state_bytes, layout.states_kept, budget // max(layout.state_bytes, 1))
        self._cut = -1

    def serving(self) -> str:
        """Itself."""
        return self.generation

    def _bounds(self, slots: I64) -> Bounds:
        # The last row of the table is nobody's and zero: slot -1, a user never seen, finds it.
        meta = self._meta[slots]
        return Bounds(meta[:, _NEXT].copy(), meta[:, _FROM].copy())

    def read_facts(self, users: U64, count: int, before: I64 | None = None) -> Facts:
        """The newest ``count`` facts of each user, strictly before its time ``before`` (B,) where given."""
        slots = self._users.find(users)
        bounds = self._bounds(slots)
        floor, upto = bounds.facts_floor(self.layout), bounds.next
        if before is not None:
            upto = self._facts.first_not_before(slots, floor, upto, before)
        first = np.maximum(upto - count, floor)
        out = np.empty((int((upto - first).sum()), self.layout.facts_bytes), np.uint8)
        self._facts.read(spans(slots, first, upto, starts(upto - first)), out)
        return Facts(bounds.next, bounds.states_from, first, upto - first, out)

    def read_states(self, users: U64, first: I64, counts: I64) -> tuple[U8, Bool]:
        """States at consecutive positions (R, state_bytes), and whether each is there (R,); absent ones are zero."""
        slots = self._users.find(users)
        row, low, upto, there = state_windows(self._bounds(slots), self.layout, first, counts)
        out = np.empty((len(there), self.layout.state_bytes), np.uint8)
        if not there.all():
            out[~there] = 0
        self._states.read(spans(slots, low, upto, row), out)
        return out, there

    def append(self, rows: Rows, cut: int) -> None:
        """Append all rows or none; a cut number not above the last one applied is ignored (a replay)."""
        if cut <= self._cut:
            return
        stay = np.where(np.isin(rows.users, rows.forgotten), -1, self._users.find(rows.users))
        old = self._bounds(stay)
        new = old.after(rows, self.layout)
        upto = rows.first + rows.counts
        columns = (
            (self._facts, rows.facts, old.facts_floor(self.layout), new.facts_floor(self.layout)),
            (self._states, rows.states, old.states_floor(self.layout), new.states_floor(self.layout)),
        )
        most = self._users.top + len(rows.users)
        self._meta = fitted(self._meta, most + 1)
        for pages, _, _, floor in columns:
            pages.reserve(most, np.maximum(rows.first, floor), upto)
        # From here on nothing asks for much memory, so all is appended or none.
        self.forget(rows.forgotten)
        slots = self._users.insert(rows.users)
        for pages, column, old_floor, floor in columns:
            low = np.maximum(rows.first, floor)
            pages.release(slots, old_floor, floor)
            pages.write(spans(slots, low, upto, starts(rows.counts) + low - rows.first), column)
        self._meta[slots] = np.stack([new.next, new.states_from, rows.seen], axis=1)
        self._cut = cut

    def forget(self, users: U64) -> None:
        """Forget users wholly, now; their bytes are overwritten."""
        slots = self._users.remove(np.unique(users))
        slots = slots[slots >= 0]
        self._meta[slots] = 0
        for pages in (self._facts, self._states):
            pages.wipe(slots)
        self.damaged -= set(users.tolist())

    def last_cut(self) -> int:
        """Number of the last append; -1 before the first."""
        return self._cut

    def stamp(self, cut: int) -> None:
        """Hold what a cut holds."""
        self._cut = cut

    def holding(self) -> Holding:
        """Every user in the store."""
        users, slots = self._users.entries()
        meta = self._meta[slots]
        return Holding(users, meta[:, _NEXT].copy(), meta[:, _FROM].copy(), meta[:, _SEEN].copy())

    def stats(self) -> StoreStats:
        """Users, rows and bytes."""
        return stats_of(self.holding(), self.layout)

    def space(self) -> Space:
        """Bytes of pages that users were lent, and of all blocks set aside."""
        used, taken = self._meta.nbytes, self._meta.nbytes
        for pages in (self._facts, self._states):
            used, taken = used + pages.table.nbytes + pages.bytes_lent, taken + pages.bytes_held
        return space_of(used, taken)

    def clear(self) -> None:
        """Forget every user; the next cut number may be any."""
        self._start()

    def close(self) -> None:
        """Give back the memory; the store is not used after."""
        self._start()

    def dump(self, path: Path) -> None:
        """Write all that it holds to a file; DiskError where that fails."""
        users, slots = self._users.entries()
        arrays: dict[str, Any] = {"users": users, "slots": slots, "meta": self._meta[: self._users.top]}
        for name, pages in (("facts", self._facts), ("states", self._states)):
            arrays |= {f"{name}_{key}": array for key, array in pages.arrays().items()}
        for name, pages in (("facts", self._facts), ("states", self._states)):
            arrays[f"{name}_sums"] = block_sums(arrays[f"{name}_data"], pages.page_bytes)
        about = {"cut": self._cut, "layout": asdict(self.layout), "arrays": list(arrays), "sum": _sum_of(arrays)}
        try:
            with path.open("wb") as file:
                file.write(json.dumps(about).encode() + b"\n")
                for array in arrays.values():
                    np.save(file, array, allow_pickle=False)
        except OSError as error:
            raise DiskError(path, error) from None

    def load(self, path: Path) -> None:
        """Hold what a dump holds; users of pages whose bytes are wrong are forgotten, and named in ``damaged``.

        LayoutError for another layout's, FolderError for a file that is none or damaged where it names its users.
        """
        try:
            with path.open("rb") as file:
                about, arrays = _read_dump(file)
            held = Layout(**about["layout"])
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            raise FolderError(f"{path}: not a whole dump of an arena ({error}): resume from an older cut") from None
        differ = difference(held, self.layout)
        if differ:
            raise LayoutError(str(path), *differ)
        self._start()
        order = arrays["slots"]
        self._users.insert(arrays["users"])
        self._meta = np.concatenate([arrays["meta"][order], np.zeros((1, 3), np.int64)])
        wrong = [np.zeros(0, np.int64)]
        for name, pages in (("facts", self._facts), ("states", self._states)):
            pages.restore({key: arrays[f"{name}_{key}"] for key in pages.arrays()}, order)
            sums = block_sums(arrays[f"{name}_data"], pages.page_bytes)
            wrong.append(pages.slots_of(np.flatnonzero(sums != arrays[f"{name}_sums"])))
        self._cut = about["cut"]
        users: U64 = arrays["users"][np.unique(np.concatenate(wrong))]
        self.forget(users)
        self.damaged.clear()
        self.damaged.update(users.tolist())


def _read_dump(file: IO[bytes]) -> tuple[dict[str, Any], dict[str, Any]]:
    about = json.loads(file.readline())
    arrays = {name: np.load(file, allow_pickle=False) for name in about["arrays"]}
    if _sum_of(arrays) != about["sum"]:
        raise ValueError("its tables are damaged")
    return about, arrays


def _sum_of(arrays: dict[str, Any]) -> int:
    """Of all but the pages, which have sums of their own."""
    total = 0
    for name, array in arrays.items():
        if not name.endswith("_data"):
            total = zlib.crc32(np.ascontiguousarray(array).view(np.uint8).reshape(-1).data, total)
    return total
