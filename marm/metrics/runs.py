"""Scores in rising order, equal ones together: what every metric of order rests on.

A score and its label are packed into one integer, since sorting integers is ten times as fast as sorting indices:

    bits 63..33  group (a user, an event)   bits 32..1  the score, in an order-keeping code   bit 0  label
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from marm.types import F32, F64, I64, U64, Bool

SIGN = np.uint32(0x8000_0000)
U32 = NDArray[np.uint32]


@dataclass(frozen=True)
class Runs:
    """Distinct scores in rising order, with how many positives and negatives have each."""

    codes: U32
    """Order-keeping codes of the scores."""
    positives: I64
    negatives: I64

    def __len__(self) -> int:
        return len(self.codes)

    def scores(self) -> F64:
        """The scores themselves."""
        flipped = np.where(self.codes >= SIGN, self.codes ^ SIGN, ~self.codes)
        return flipped.astype(np.uint32).view(np.float32).astype(np.float64)

    def wins2(self, negatives_below: int = 0) -> int:
        """Twice the number of (positive, negative) pairs in order, ties counting half; negatives may lie below all."""
        below = np.cumsum(self.negatives) - self.negatives + negatives_below
        return int(np.sum(self.positives * (2 * below + self.negatives)))


def labelled(labels: F32 | F64) -> Bool:
    """Where an outcome was observed: NaN is left out of every metric."""
    return ~np.isnan(labels)


def score_codes(scores: F32 | F64) -> U32:
    """Integers in the order of the scores; float64 scores are coded by rank, so that no two distinct ones tie."""
    if scores.dtype == np.float32:
        bits = (scores + np.float32(0.0)).view(np.uint32)  # + 0: minus zero equals zero
        return np.where(bits >= SIGN, ~bits, bits | SIGN).astype(np.uint32)
    return np.unique(scores, return_inverse=True)[1].reshape(-1).astype(np.uint32)


def sorted_keys(codes: U32, positive: Bool, groups: I64 | None = None) -> U64:
    """Packed keys in rising order; groups are below 2^31."""
    keys = codes.astype(np.uint64) << np.uint64(1)
    keys |= positive
    if groups is not None:
        keys |= groups.astype(np.uint64) << np.uint64(33)
    keys.sort()
    return keys


def runs_of(keys: U64) -> Runs:
    """Runs of sorted keys that carry no group."""
    begin, positives, negatives = count_runs(keys)
    return Runs((keys[begin] >> np.uint64(1)).astype(np.uint32), positives, negatives)


def count_runs(keys: U64) -> tuple[I64, I64, I64]:
    """Where each run of equal group and score begins in sorted keys, and its positives and negatives."""
    pairs = keys >> np.uint64(1)
    first = np.ones(len(keys), np.bool_)
    np.not_equal(pairs[1:], pairs[:-1], out=first[1:])
    begin = np.flatnonzero(first)
    counts = np.diff(begin, append=len(keys))
    labels = (keys & np.uint64(1)).astype(np.int64)
    positives = np.add.reduceat(labels, begin) if len(begin) else np.zeros(0, np.int64)
    return begin, positives, counts - positives


def merge(parts: Sequence[Runs]) -> Runs:
    """Runs of several sets of scores together."""
    if len(parts) == 1:
        return parts[0]
    codes, at = np.unique(np.concatenate([part.codes for part in parts]), return_inverse=True)
    positives, negatives = np.zeros(len(codes), np.int64), np.zeros(len(codes), np.int64)
    np.add.at(positives, at, np.concatenate([part.positives for part in parts]))
    np.add.at(negatives, at, np.concatenate([part.negatives for part in parts]))
    return Runs(codes, positives, negatives)
