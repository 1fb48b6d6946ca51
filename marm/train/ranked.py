"""Training on many processes: what they must have in common, and how what each has becomes one."""

import socket
from collections.abc import Sequence
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from marm.config import RunConfig, to_toml
from marm.errors import SettingError
from marm.ranks import Group
from marm.store import Rows, Store


def check(run: RunConfig, ranks: int) -> None:
    """Whether so many ranks can train this run. Errors: ``SettingError``."""
    if ranks == 1:
        return
    if run.train.device not in ("auto", "cpu"):
        raise SettingError(f'train.device = {run.train.device!r}: ranks train on CPUs: set train.device = "cpu"')


def check_alike(run: RunConfig, group: Group) -> None:
    """Whether all ranks were given the same, and can reach the store. Errors: ``SettingError``, on all of them."""
    if group.size == 1:
        return
    settings, machine = crc32(to_toml(run).encode()), crc32(socket.gethostname().encode())
    # All hear all, so that all stop, and rank 0 before it has written anything.
    alike = group.agree(settings) == settings, group.agree(machine) == machine
    other_settings, elsewhere = (group.any(not same) for same in alike)
    if other_settings:
        raise SettingError("ranks were given different run files or --set: give all the same")
    if elsewhere and run.memory.url.startswith("lmdb:"):
        raise SettingError(
            f'memory.url = "{run.memory.url}": lies on one machine, ranks run on several: set redis://host:port'
        )


def in_order(group: Group, columns: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """What all ranks scored in a pass, on rank 0, in order of the first column; nothing elsewhere."""
    if group.size == 1:
        return list(columns)
    together = group.gather(columns)
    order = np.argsort(together[0], kind="stable")
    return [column[order] for column in together]


def gathered(group: Group, rows: Rows) -> Rows:
    """All ranks' rows, on rank 0; none elsewhere."""
    if group.size == 1:
        return rows
    names = ("users", "first", "counts", "states_from", "seen")
    columns = dict(zip(names, group.gather([getattr(rows, name) for name in names]), strict=True))
    facts, states = group.gather([rows.facts, rows.states])
    (forgotten,) = group.gather([rows.forgotten])
    return Rows(**columns, facts=facts, states=states, forgotten=forgotten)


def share_losses(group: Group, store: Store, rows: Rows) -> None:
    """After rank 0 has appended: all learn whom it found damaged or gone, and who begins anew, forgotten with ``rows``."""
    if group.size == 1:
        return
    store.damaged.difference_update(rows.forgotten.tolist() if group.rank else [])
    for lost in (store.damaged, store.gone):
        found = np.fromiter(lost, np.uint64) if group.rank == 0 else np.zeros(0, np.uint64)
        (told,), _ = group.exchange([np.tile(found, group.size)], np.full(group.size, len(found)))
        if group.rank:
            lost.update(told.tolist())
