"""With a search, remembering in any segmentation still equals one causal pass that searches plainly, and leaks nothing."""

import numpy as np
import pytest
import torch

from marm.engine import fresh
from marm.engine.batches import Drawn, ask
from marm.engine.heed import heed
from marm.memory.ages import Ages
from marm.nn import attention
from marm.nn.dense import steady_rows
from marm.nn.table import HashTable
from tests.engine.causal import CausalPass
from tests.engine.worlds import SECOND, build, exposures, run_config, segment_through, shelves, tie_groups, with_column

RULES = {
    "dot": ({"rule": "dot"}, {}),
    "dot, delay": ({"rule": "dot"}, {"token_shift": True, "raw_rows": True}),
    "dot, filtered": ({"rule": "dot"}, {"task_layers": True}),
    "hash": ({"rule": "hash"}, {"task_layers": True}),
    "hash of 128 bits, delay": ({"rule": "hash", "bits": 128}, {"token_shift": True}),
    "hash, no memory": ({"rule": "hash"}, {"memory_reads": False}),
    "category, delay, filtered": ({"rule": "category", "category": "shelf"}, {"token_shift": True}),
    "one search for all layers": ({"rule": "dot", "shared": True}, {"raw_rows": True}),
    "dot, equal ids": ({"rule": "dot"}, {"equal_ids": True}),
    "hash, equal ids, delay, filtered": ({"rule": "hash"}, {"equal_ids": True, "token_shift": True, "raw_rows": True}),
    "category, equal ids": ({"rule": "category", "category": "shelf"}, {"equal_ids": True, "token_shift": True}),
}
"""Settings of the search and of the model; of the log by name."""


def searching(rule, model, **sections):
    search = {"picked": 3, "history": 9, **rule}
    memory = {"window": 4, "search": search, **sections.pop("memory", {})}
    features = {"item": {"shelf": "category"}}
    return run_config(model=model, memory=memory, features=features, train={"live": 3, "micro_batch": 8}, **sections)


def shelved(seed, **kind):
    """No item twice at one time: what is equal but for rounding would be picked by chance."""
    seen = exposures(seed, events=40, users=2, **kind)
    at = np.repeat(tie_groups(seen)[:-1], np.diff(tie_groups(seen)))
    item = (1 + (seen.item[at] + (np.arange(len(seen)) - at).astype(np.uint64)) % 15).astype(np.uint64)
    return with_column(with_column(seen, "item", item), "item_columns", shelves(item))


def drawer(seed):
    def draw(part):
        exposure = np.flatnonzero(part.number % 2)
        item = (1 + (part.number[exposure] * 7 + seed) % 15).astype(np.uint64)
        return Drawn(exposure, part.number[exposure], item, shelves(item))

    return draw


def cut_up(engine, seen, seed):
    """Score a log in passes that end anywhere."""
    groups = np.arange(1, len(tie_groups(seen)) - 1)
    cuts = np.random.default_rng(seed).choice(groups, len(groups) // 2, replace=False)
    return segment_through(engine, seen, np.sort(cuts), drawer(seed))


@pytest.mark.parametrize("rule", RULES)
def test_remembering_in_any_segmentation_equals_one_causal_pass_that_searches(rule):
    search, model = RULES[rule]
    delay, filtered = 3 * ("delay" in rule), "filtered" in rule
    run = searching(search, model, **({"data": {"history": "c = 1"}} if filtered else {}))
    engine, seen = build(run), shelved(1, delay=delay, filtered=filtered)
    exposed, beside = cut_up(engine, seen, 1)
    with torch.no_grad():
        wanted, wanted_beside = CausalPass(engine, seen).scores(drawer(1)(seen))
    torch.testing.assert_close(exposed, wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(beside, wanted_beside, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("at_once", [2, 2048])
def test_what_is_made_anew_of_whole_histories_is_what_was_remembered(rule, at_once, monkeypatch):
    """``at_once``: so few rows a pass that users take turns."""
    monkeypatch.setattr(fresh, "_AT_ONCE", at_once)
    search, model = RULES[rule]
    delay, filtered = 3 * ("delay" in rule), "filtered" in rule
    run = searching(search, model, **({"data": {"history": "c = 1"}} if filtered else {}))
    engine, seen = build(run), shelved(1, delay=delay, filtered=filtered)
    cut_up(engine, seen, 1)
    hot = engine.memory.hot
    counts = hot.head[:2]
    facts, states = (
        np.concatenate([rows.reshape(hot.slots, hot.capacity, -1)[user, : counts[user]] for user in (0, 1)])
        for rows in (hot.facts, hot.states.numpy())
    )
    anew = facts[:, 0].copy()
    if run.search_keys:
        anew["keys"] = 0
    with steady_rows():
        made = fresh.fresh_states(engine, counts, anew)
    np.testing.assert_allclose(made.states, states, rtol=1e-5, atol=1e-6)
    if run.search_keys:
        assert (made.keys == facts[:, 0]["keys"]).all()


@pytest.mark.parametrize("rule", RULES)
def test_candidates_that_share_a_window_read_it_once_beside_their_own_picks(rule, monkeypatch):
    search, model = RULES[rule]
    run = searching(search, model)
    engine, seen = build(run), shelved(1, delay=2)
    segment_through(engine, seen, np.arange(1, len(tie_groups(seen)) - 1), drawer(1))
    # A live event of each user, then twenty candidates of the one and eighteen of the other.
    last = np.array([np.flatnonzero(seen.user == user)[-1] for user in (1, 2)])
    late = with_column(seen.pick(np.repeat(last, 2)), "time", seen.time[-1] + SECOND * np.array([1, 2, 1, 2]))
    exposure = np.repeat([1, 3], [20, 18])
    item = (1 + np.arange(38) % 15).astype(np.uint64)
    batch = ask(late, Drawn(exposure, exposure, item, shelves(item))).batch
    engine.memory.admit(batch.users, 100)
    read, groups = attention.attend_with_choices, []
    monkeypatch.setattr(
        attention, "attend_with_choices", lambda *args: groups.append(len(args[3].queries)) or read(*args)
    )
    with torch.no_grad():
        shared = engine.attend(batch)
        with steady_rows():
            alone = engine.attend(batch)
    layers = 3 + model.get("task_layers", 0) * (len(run.tasks) - 1)
    assert sorted(groups) == [18] * layers + [20] * layers
    torch.testing.assert_close(shared.logit_QT, alone.logit_QT, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(shared.state_QKD, alone.state_QKD, rtol=1e-4, atol=1e-4)


def test_what_is_explained_names_what_each_layer_picked_and_how_it_weighs_it():
    engine, seen = build(searching({"rule": "dot"}, {})), shelved(1)
    segment_through(engine, seen, np.arange(1, len(tie_groups(seen)) - 1), drawer(1))
    late = with_column(seen.pick(np.array([39])), "time", seen.time[-1:] + SECOND)
    batch = ask(late, Drawn.none(1)).batch
    engine.memory.admit(batch.users, 100)
    with torch.no_grad():
        told, attended = heed(engine, batch, 0), engine.attend(batch)
    assert torch.equal(told.logit_QT, attended.logit_QT)
    search = attended.shares[0].search
    query, version, there = search.versions()
    assert search.deep == 2 and not query.any() and there.all()
    assert version.tolist() == [v for layer in search.picked(0)[1:] for v in search.facts(0, layer)[0]["version"]]
    theirs = np.flatnonzero(seen.user == late.user[0])
    window, before = theirs[-4:], theirs[:-4]
    assert (told.past.item[-4:] == seen.item[window]).all()
    assert (
        set(told.past.time[:-4].tolist()) <= set(seen.time[before[-9:]].tolist())
        and (np.diff(told.past.time) >= 0).all()
    )
    for weight_HN in told.weight:
        np.testing.assert_allclose(weight_HN.sum(1), 1, rtol=1e-5)
        assert ((weight_HN[:, :-5] > 0).sum(1) == 3).all()


@pytest.mark.parametrize("rule", RULES)
def test_a_pass_looks_up_as_often_whatever_is_in_it(rule, monkeypatch):
    search, model = RULES[rule]
    engine, seen = build(searching(search, model)), shelved(1)
    engine.threads, counts, real = 1, [], HashTable.lookup
    monkeypatch.setattr(HashTable, "lookup", lambda self, *about: counts.append(1) or real(self, *about))
    passes = len(segment_through(engine, seen, np.arange(4, len(tie_groups(seen)) - 1, 4), drawer(1))[0])
    assert passes and len(counts) % engine.looks == 0
    engine.memory.admit(seen.user[:1], 1000)
    for part in (seen.pick(np.zeros(0, np.int64)), seen.pick(np.array([len(seen) - 1]))):
        counts.clear()
        engine.attend(ask(part, Drawn.none(1)).batch)
        assert len(counts) == engine.looks


def test_a_pick_too_old_to_be_read_is_read_as_one_without_a_state():
    engine, seen = build(searching({"rule": "hash"}, {})), shelved(1)
    segment_through(engine, seen, np.arange(1, len(tie_groups(seen)) - 1), drawer(1))
    late = with_column(seen.pick(np.array([39])), "time", seen.time[-1:] + SECOND)
    batch = ask(late, Drawn.none(1)).batch
    engine.memory.admit(batch.users, 100)
    oldest_of_window = seen.time[np.flatnonzero(seen.user == late.user[0])[-4]]
    with torch.no_grad():
        whole = heed(engine, batch, 0)
        engine.memory.ages = Ages(0, int(late.time[0] - oldest_of_window), 0)
        aged = heed(engine, batch, 0)
    assert whole.past.there.all() and len(aged.past.there) > 4
    assert (aged.past.there == (aged.past.time >= oldest_of_window)).all() and not aged.past.there.all()
    assert not torch.equal(whole.logit_QT, aged.logit_QT)
