"""Each rule finds what a plain sort finds, newest first among equals, wherever the ring has turned to."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from marm.memory.scores import Lines, exact_alone, exact_together
from marm.memory.search import Found, Ranges, largest, nearest, same
from marm.nn.codec import CODECS
from marm.types import F32, I64

USERS, CAPACITY, WIDTH = 3, 16, 8


def ranges_of(rng: np.random.Generator, queries: int) -> Ranges:
    """Ranges anywhere in rings that have turned, some of them empty."""
    low = rng.integers(0, 60, queries)
    return Ranges(np.sort(rng.integers(0, USERS, queries)), low, low + rng.integers(0, CAPACITY + 1, queries))


def plain(score: list[F32], ranges: Ranges, most: int) -> list[list[int]]:
    """Positions of the highest scores of each range, rising."""
    out = []
    for mine, low in zip(score, ranges.low.tolist(), strict=True):
        liked = sorted((-s, -(low + i)) for i, s in enumerate(mine.tolist()) if s > -np.inf)[:most]
        out.append(sorted(-position for _, position in liked))
    return out


def listed(found: Found) -> list[list[int]]:
    return [part.tolist() for part in np.split(found.position, found.at[1:-1])]


def of_ring(column: np.ndarray, ranges: Ranges) -> list[np.ndarray]:
    """What each query searches, in order of positions."""
    bounds = zip(*(bound.tolist() for bound in ranges), strict=True)
    return [column[slot, np.arange(low, high) % CAPACITY] for slot, low, high in bounds]


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 20), st.sampled_from([1, 2]))
def test_the_nearest_signatures_and_the_same_keys(seed: int, most: int, words: int) -> None:
    rng = np.random.default_rng(seed)
    # Few distinct values, so that many are equally far.
    pool = np.append(rng.integers(0, 2**64, (2, words), np.uint64), np.zeros((1, words), np.uint64), 0)
    keys = pool[rng.integers(0, 3, (USERS, CAPACITY))].transpose(2, 0, 1).copy()
    ranges, wanted = ranges_of(rng, 6), pool[rng.integers(0, 3, 6)]
    bits = sum(np.bitwise_count(keys[w][None] ^ wanted[:, w, None, None]).astype(np.float32) for w in range(words))
    one = [Ranges(*(bound[k : k + 1] for bound in ranges)) for k in range(6)]
    near = [of_ring(-bits[k], one[k])[0] for k in range(6)]
    assert listed(nearest(keys, wanted, ranges, most)) == plain(near, ranges, most)
    alike = np.where((keys[0][None] == wanted[:, :1, None]) & (wanted[:, :1, None] != 0), 0.0, -np.inf)
    equal = [of_ring(alike[k], one[k])[0] for k in range(6)]
    assert listed(same(keys[:1], wanted[:, :1], ranges, most)) == plain(equal, ranges, most)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 20))
def test_the_largest_scores(seed: int, most: int) -> None:
    rng = np.random.default_rng(seed)
    ranges = ranges_of(rng, 5)
    counts = ranges.high - ranges.low
    few = np.array([-np.inf, -3e9, -1.5, -1.25, 0.0, 1e-30, 1.0, 2.5], np.float32)
    score = rng.choice(few, counts.sum()) if seed % 2 else rng.normal(size=counts.sum()).astype(np.float32)
    first = np.cumsum(counts) - counts
    assert listed(largest(score, first, ranges, most)) == plain(np.split(score, first[1:]), ranges, most)


def lines_of(rng: np.random.Generator, ranges: Ranges, rows: int) -> Lines:
    """Rows of a block for all positions below 80; some have no state."""
    row: I64 = np.where(rng.random(USERS * 80) < 0.2, -1, rng.integers(0, rows, USERS * 80))
    return Lines(row, 80 * np.arange(USERS + 1), np.zeros(USERS, np.int64))


@pytest.mark.parametrize("name", list(CODECS))
@pytest.mark.parametrize("at_once", [30, 1 << 20])
def test_the_exact_search_alone_and_together_finds_the_highest_products(
    name: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marm.memory.scores._AT_ONCE", at_once)
    rng = np.random.default_rng(3)
    codec, state_RKD = CODECS[name], torch.from_numpy(rng.normal(size=(50, 2, WIDTH)).astype(np.float32))
    block, column = codec.encode(state_RKD).flatten(1), codec.columns(WIDTH)
    ranges, query_QD = ranges_of(rng, 40), torch.from_numpy(rng.normal(size=(40, WIDTH)).astype(np.float32))
    lines = lines_of(rng, ranges, 50)
    product = torch.nn.functional.pad(query_QD @ codec.rounded(state_RKD)[:, 1].T, (0, 1), value=-np.inf).numpy()
    bounds = zip(*(bound.tolist() for bound in ranges), strict=True)
    score = [product[k, lines.rows[80 * slot + low : 80 * slot + high]] for k, (slot, low, high) in enumerate(bounds)]
    wanted = plain(score, ranges, 5)
    for way in (exact_alone, exact_together):
        assert listed(way(block, column, lines, query_QD, ranges.slot, ranges, 5)) == wanted
