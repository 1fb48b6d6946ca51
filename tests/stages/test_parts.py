"""The parts of the stages against plain ways of computing the same."""

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from torch import nn

from marm.nn.table import HashTable
from marm.stages.fused import fused
from marm.stages.history import History
from marm.stages.hits import Hits, rank_of, sampled
from marm.stages.items import Items, Ring
from marm.stages.kept import Kept
from marm.stages.orders import Asked, Known, firsts, ranks
from marm.stages.retriever import look, own_history, own_items, softmax_loss
from marm.stages.rivals import CoOccurrence, Popularity
from marm.stages.weights import Weights


def hashed(*places: int) -> np.ndarray:
    return np.array(places, np.uint64) + np.uint64(1000)


def test_frequencies_follow_how_often_items_come() -> None:
    rng = np.random.default_rng(0)
    chance = np.array([0.6, 0.3, 0.08, 0.02])
    items = Items(0.02)
    items.see(hashed(0, 1, 2, 3), np.arange(4))
    for _ in range(200):
        items.receive(rng.choice(4, 50, p=chance))
    assert np.exp(items.log_frequency(np.arange(len(items)))) == pytest.approx(chance, rel=0.5)
    assert np.argsort(-items.log_frequency(np.arange(len(items)))).tolist() == [0, 1, 2, 3]
    # What no longer comes fades.
    for _ in range(200):
        items.receive(rng.choice([1, 2, 3], 50))
    assert items.log_frequency(np.arange(len(items)))[0] < items.log_frequency(np.arange(len(items)))[1:].min()


def test_items_and_counts_come_back_from_a_cut() -> None:
    rng = np.random.default_rng(1)
    items, popular, beside, ring = Items(0.1), Popularity(7), CoOccurrence(3), Ring(5)
    items.see(hashed(*range(6)), np.arange(6))
    popular.grow(6)
    beside.grow(6)
    at = rng.integers(0, 6, 20)
    items.receive(at)
    popular.add(at)
    ring.add(at.astype(np.uint64), at)
    beside.add(at[3:], at, np.arange(17), np.arange(17) + 3)
    others = Items(0.1), Popularity(7), CoOccurrence(3), Ring(5)
    others[0].load(items.state())
    others[1].load(popular.state(), 6)
    others[2].load(beside.state())
    others[3].load(ring.state())
    assert others[0].find(hashed(4, 77)).tolist() == [4, -1]
    assert np.array_equal(others[0].log_frequency(np.arange(6)), items.log_frequency(np.arange(len(items))))
    assert np.array_equal(others[1].counts, np.bincount(at[-7:], minlength=6))
    assert all(np.array_equal(a, b) for a, b in zip(others[2].tables, beside.tables, strict=True))
    one, other = (r.draw(np.random.default_rng(2), 9) for r in (ring, others[3]))
    assert np.array_equal(one, other) and set(one[1].tolist()) <= set(at[-5:].tolist())


def test_popularity_counts_the_newest_events_and_breaks_ties_by_what_was_seen_last() -> None:
    popular = Popularity(4)
    popular.grow(4)
    popular.add(np.array([0, 0, 0, 1, 2, 2, 1]))
    assert popular.counts.tolist() == [0, 2, 2, 0]
    assert np.argsort(-popular.scores(np.array([9, 5, 6, 1]))).tolist() == [2, 1, 0, 3]
    at, event = np.array([3, 1, 2]), np.array([1, 5, 6])
    assert np.argsort(-popular.log_share(at, event, 9)).tolist() == [2, 1, 0]


def test_co_occurrence_is_exact_while_partners_fit_and_keeps_the_frequent_ones_where_they_do_not() -> None:
    rng = np.random.default_rng(3)
    at = rng.choice(12, 400, p=np.arange(12, 0, -1) / 78)
    begin, end = np.maximum(np.arange(400) - 3, 0), np.arange(400)
    plain = np.zeros((12, 12))
    for i in range(400):
        for j in range(begin[i], end[i]):
            if at[i] != at[j]:
                plain[at[i], at[j]] += 1
                plain[at[j], at[i]] += 1
    full, short = CoOccurrence(12), CoOccurrence(4)
    for counted in (full, short):
        counted.grow(12)
        counted.add(at, at, begin, end)
    partner, count, total = full.tables
    dense = np.zeros((12, 12))
    for one in range(12):
        there = partner[one] >= 0
        dense[one, partner[one][there]] = count[one][there]
    assert np.array_equal(dense, plain) and np.array_equal(total, plain.sum(1))
    assert np.argmax(plain[11]) in short.tables[0][11]


def test_ranks_and_firsts_are_those_of_sorted_scores() -> None:
    rng = np.random.default_rng(4)
    items, users = 60, 5
    vectors = rng.normal(size=(items, 6)).astype(np.float32)
    queries = rng.normal(size=(users, 2, 6)).astype(np.float32)
    seen, last = rng.integers(0, items, 40), rng.integers(0, items, 15)
    seen_at, last_at = np.arange(users + 1) * 8, np.arange(users + 1) * 3
    popular = rng.permutation(items).astype(np.float32) / items
    beside = CoOccurrence(8)
    beside.grow(items)
    beside.add(seen, seen, np.zeros(40, np.int64), np.arange(40))
    asked, known = Asked(queries, seen, seen_at, last, last_at), Known(vectors, popular, beside.tables)
    target = rng.integers(0, items, users)
    found, best = ranks(asked, known, target), firsts(asked, known, 70)
    partner, count, total = beside.tables
    for p in range(users):
        co = 1e-6 * popular.astype(np.float64)
        for one in last[last_at[p] : last_at[p + 1]]:
            for other, times in zip(partner[one], count[one], strict=True):
                if other >= 0:
                    co[other] += times / np.sqrt(total[one] * total[other])
        hidden = np.isin(np.arange(items), seen[seen_at[p] : seen_at[p + 1]])
        for order, score in enumerate(((vectors @ queries[p].T).max(1), popular, co)):
            wanted = 1 + int(((score > score[target[p]]) & ~hidden).sum())
            assert found[order, p] == (0 if hidden[target[p]] else wanted)
        score = np.where(hidden, -np.inf, (vectors @ queries[p].T).max(1))
        expected = np.argsort(-score, kind="stable")[: (~hidden).sum()]
        assert best[p][best[p] >= 0].tolist() == expected.tolist()


def test_equal_scores_are_ranked_by_place() -> None:
    scores, none = np.array([1, 2, 2, 1], np.float32), np.zeros(4, bool)
    assert [rank_of(scores, j, none) for j in range(4)] == [3, 1, 2, 4]


def test_the_softmax_is_over_the_target_and_what_is_not_the_users_own() -> None:
    torch.manual_seed(0)
    score, frequency = torch.randn(3, 5), torch.rand(5).log()
    counts = torch.tensor([1.0, 2.0, 1.0, 3.0, 1.0])
    users = np.array([7, 8, 7, 9, 8], np.uint64)
    at, asked = np.array([0, 1, 2, 3, 4]), np.array([7, 8, 9], np.uint64)
    own = own_items(users, at, asked, 5)
    assert own.tolist() == [[1, 0, 1, 0, 0], [0, 1, 0, 0, 1], [0, 0, 0, 1, 0]]
    target = torch.tensor([2, 1, 3])
    plain = 0.0
    for p in range(3):
        corrected = (score[p] - frequency).exp()
        rest = sum(float(counts[k] * corrected[k]) for k in range(5) if not own[p, k])
        plain -= np.log(float(corrected[target[p]]) / (float(corrected[target[p]]) + rest))
    assert float(softmax_loss(score, frequency, counts, own, target)) == pytest.approx(plain, rel=1e-5)


def test_what_a_user_received_before_is_no_negative_either() -> None:
    views = SimpleNamespace(begin=np.array([0, 1, 4]), end=np.array([3, 4, 4]))
    history = cast(History, SimpleNamespace(views=views, item_of_row=np.array([0, 1, 0, 2])))
    # Items of the rows, by place: 5, 9, 5 and one that is not known; asked about are 3, 5 and 9.
    own = own_history(history, np.array([5, 9, -1]), np.array([3, 5, 9]))
    assert own.tolist() == [[0, 1, 1], [0, 1, 1], [0, 0, 0]]


def test_the_final_order_gives_retrieval_its_share_by_ranks() -> None:
    score, found = np.array([0.1, 0.9, 0.5, -np.inf]), np.array([1, 4, 2, 3])
    assert fused(score, found, 0.0) is score and fused(score, None, 0.5) is score
    alone = fused(score, found, 1.0)
    assert np.argsort(-alone).tolist() == [0, 2, 1, 3] and alone[3] == -np.inf
    half = fused(np.stack([score, score]), np.stack([found, found]), 0.5)
    plain = [0.5 / (60 + own) + 0.5 / (60 + other) for own, other in ((3, 1), (1, 4), (2, 2))]
    assert half[:, :3].tolist() == [pytest.approx(plain), pytest.approx(plain)]


def test_the_sample_is_its_share_and_hangs_on_the_number_alone() -> None:
    numbers = np.arange(100_000)
    chosen = sampled(numbers, 0.1, 5)
    assert chosen.mean() == pytest.approx(0.1, abs=0.005)
    assert np.array_equal(sampled(numbers[::7], 0.1, 5), chosen[::7])
    assert not np.array_equal(sampled(numbers, 0.1, 6), chosen)
    assert sampled(numbers, 1.0, 5).all() and not sampled(numbers, 0.0, 5).any()


def test_hits_count_recall_and_gain_of_the_last_part_and_of_all() -> None:
    hits = Hits(["one", "other"], [1, 10], last_from=2)
    hits.add(np.arange(4), np.array([True, False, False, False]), np.array([[0, 1, 3, 11], [0, 10, 1, 1]]))
    whole, last = hits.summary("whole"), hits.summary("last")
    assert whole["events"] == 4 and whole["new_items"] == 0.25
    assert whole["one"] == {"recall@1": 0.25, "recall@10": 0.5}
    assert last["other"] == {"recall@1": 1.0, "recall@10": 1.0}
    assert hits.summary("whole", "ndcg")["one"]["ndcg@10"] == pytest.approx((1 + 0.5) / 4)
    again = Hits(["one", "other"], [1, 10], last_from=2)
    again.load(hits.state())
    again.close_window()
    assert again.summary("whole") == whole and again.summary("window")["one"]["recall@1"] is None


def test_kept_is_the_share_of_rankings_first_that_is_given_on() -> None:
    kept = Kept(["cascading", "popularity"], [2], last_from=0)
    rank = np.array([[1, 2, 3, 4]])
    there = np.ones((1, 4), bool)
    kept.add(np.array([0]), rank, there, {"cascading": rank <= 2, "popularity": np.array([[1, 0, 0, 1]], bool)})
    told = kept.summary("whole")
    assert told["cascading"] == {"kept_of_top_2": 1.0} and told["popularity"] == {"kept_of_top_2": 0.5}
    assert (told["candidates"], told["given"]) == (4, 2)


def test_biases_are_told_how_many_queries_are_about_each_item() -> None:
    class Some:
        users, items = hashed(1, 1, 2), hashed(5, 6, 7, 8)

    weights = Weights(nn.Linear(1, 1), HashTable(64, 4, 0, torch.device("cpu"), biases=1), (0.1, 0.1), 0, 1.0)
    users, items = look(weights, Some(), np.array([2, 0, 2]))  # type: ignore[arg-type]
    assert users.asked.tolist() == [1, 1, 1] and items.asked.tolist() == [1, 0, 2, 0]
    assert users.embedded.shape == (3, 5) and torch.equal(users.embedded[0], users.embedded[1])
    assert items.embedded.requires_grad
