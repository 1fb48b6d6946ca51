"""The hot arena (`marm/memory/hot.py`, `marm/memory/memory.py`) without its rows: who is in it, who leaves, what is written."""

from typing import NamedTuple

import numba as nb
import numpy as np

from marm.types import I64, Bool


class Played(NamedTuple):
    """What became of each admission."""

    hit: Bool
    """(R,) whether the user was there."""
    written: I64
    """(cuts,) users written at each cut."""
    forced: int
    """Cuts made because no room was left."""


def play(user: I64, step: I64, cut: I64, slots: int, *, writes: bool) -> Played:
    """Admit users (R,), dense from 0, in steps (R,) that rise; ``cut`` (R,) rises by one with every cut before a step.

    ``writes``: a trainer's, whose users are dirty until a cut and stay; else a server's, that begins anew with each cut.
    """
    if not len(user):
        return Played(np.zeros(0, bool), np.zeros(0, np.int64), 0)
    first = np.flatnonzero(np.diff(step, prepend=step[0] - 1))
    hit, written, forced = _play(user, np.append(first, len(user)), cut - cut[0], slots, int(user.max()) + 1, writes)
    return Played(hit, written, int(forced))


@nb.njit(cache=True, nogil=True)
def _play(user: I64, first: I64, cut: I64, slots: int, users: int, writes: bool) -> tuple[Bool, I64, int]:
    at, owner = np.full(users, -1, np.int64), np.full(slots, -1, np.int64)
    used, dirty = np.zeros(slots, np.int64), np.zeros(slots, np.bool_)
    free = np.arange(slots)[::-1].copy()
    left = slots
    hit, written, forced = np.zeros(len(user), np.bool_), np.zeros(cut[-1] + 1, np.int64), 0
    now = 0
    for step in range(len(first) - 1):
        low, high = first[step], first[step + 1]
        while now < cut[low]:
            if writes:
                written[now] += dirty.sum()
                dirty[:] = False
            else:
                left = _empty(at, owner, free)
            now += 1
        for i in range(low, high):
            hit[i] = at[user[i]] >= 0
            if hit[i]:
                used[at[user[i]]] = step + 1
        new = np.unique(user[low:high][~hit[low:high]])
        if len(new) > left:
            short = len(new) - left
            if _idle(owner, used, dirty, step + 1) < short:
                written[now] += dirty.sum()
                dirty[:] = False
                forced += 1
            left = _release(at, owner, used, dirty, free, left, max(short, slots // 16), step + 1)
        if len(new) > left:
            raise ValueError("one step needs more users than the arena holds")
        for one in new:
            left -= 1
            slot = free[left]
            at[one], owner[slot], used[slot] = slot, one, step + 1
        if writes:
            for i in range(low, high):
                dirty[at[user[i]]] = True
    written[now] += dirty.sum() if writes else 0
    return hit, written, forced


@nb.njit(cache=True, nogil=True)
def _empty(at: I64, owner: I64, free: I64) -> int:
    for slot in range(len(owner)):
        if owner[slot] >= 0:
            at[owner[slot]] = -1
            owner[slot] = -1
        free[slot] = len(owner) - 1 - slot
    return len(owner)


@nb.njit(cache=True, nogil=True)
def _idle(owner: I64, used: I64, dirty: Bool, step: int) -> int:
    idle = 0
    for slot in range(len(owner)):
        idle += owner[slot] >= 0 and used[slot] < step and not dirty[slot]
    return idle


@nb.njit(cache=True, nogil=True)
def _release(at: I64, owner: I64, used: I64, dirty: Bool, free: I64, left: int, count: int, step: int) -> int:
    """Let the longest unused go, the lowest slot first among equals, as a stable sort has them."""
    clean = np.flatnonzero((owner >= 0) & (used < step) & ~dirty)
    for slot in clean[np.argsort(used[clean], kind="mergesort")][:count]:
        at[owner[slot]] = -1
        owner[slot] = -1
        free[left] = slot
        left += 1
    return left
