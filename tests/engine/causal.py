"""A full causal pass over whole histories, event by event and pair by pair: the second way of the golden test.

Nothing is remembered, batched, folded or cached here; it follows the definitions of what a target sees, one line each.
"""

import math

import torch

from marm.model.features import FeatureEncoder
from marm.model.ranker import LOUD
from marm.nn.blocks import row_norm
from marm.nn.signs import planes
from marm.nn.views import GAPS, RANKS


def embed(engine, ids, scope, logged=None):
    """Embeddings, and a bias for each task."""
    features = engine.run.features.item if scope == "item" else {}
    encoder = FeatureEncoder(scope, features, True)
    columns = {name: logged[:, c] for c, name in enumerate(features)}
    looked_up = engine.table.lookup(encoder.encode(ids, columns).bags, len(ids))
    return looked_up.split([engine.table.width, len(engine.run.tasks)], 1)


class CausalPass:
    """Scores of every event of a log, and of items beside it, from the definitions."""

    def __init__(self, engine, seen):
        self.model, self.run, self.seen = engine.model, engine.run, seen
        self.item, self.item_bias = embed(engine, seen.item, "item", seen.item_columns)
        self.user, self.user_bias = embed(engine, seen.user, "user")
        self.engine = engine
        self.history = [j for j in range(len(seen)) if seen.history[j]]
        self.enter = self._enter()
        self.states = {}

    def _enter(self):
        """When each exposure enters histories: at its time, or, if a filter reads its outcome, when that is known."""
        enter, last = {}, {}
        for j in self.history:
            user = int(self.seen.user[j])
            last[user] = max(last.get(user, -(1 << 60)), int(self.seen.known[j]))
            enter[j] = last[user] if self.run.data.history else int(self.seen.time[j])
        return enter

    def scores(self, drawn=None):
        shelf = self.seen.item_columns
        ids = self.seen.item
        out = [self.score(k, self.item[k], self.item_bias[k], (ids[k], *shelf[k])) for k in range(len(self.seen))]
        if drawn is None:
            return torch.stack(out)
        rows, bias = embed(self.engine, drawn.item, "item", drawn.item_columns)
        ids, shelf = drawn.item, drawn.item_columns
        beside = [
            self.score(int(k), rows[i], bias[i], (ids[i], *shelf[i]), own=False) for i, k in enumerate(drawn.exposure)
        ]
        return torch.stack(out), torch.stack(beside)

    def score(self, k, item, bias, ids, own=True):
        self.ids, self.shared = ids, None
        made, aside, heard = self.stack(k, item)
        if own:
            self.states[k] = made
        sides = [self.user[k], torch.zeros_like(item)]
        shown = made if self.run.model.all_states else made[-1:]
        told = [row_norm(state - item) / (len(shown) if depth else 1) for depth, state in enumerate(shown)]
        parts = [*told, *map(row_norm, sides)]
        crossed = [row_norm(item) * part for part in parts[:-1]]
        pace = self.pace(k)
        bias = bias + self.user_bias[k] + (pace[len(item) :] if len(pace) else 0)
        mixed = self.model.experts(torch.cat([row_norm(item), *parts, *crossed, *heard, pace[: len(item)]])[None])
        if aside:
            mixed = torch.cat([mixed, torch.stack([row_norm(a - item) for a in aside])[None]], 2)
        loud = [(LOUD / len(heard) if depth else LOUD) * one for depth, one in enumerate(heard)]
        return self.model.heads(mixed)[0] + bias + torch.cat([*loud, item[:0]]) @ self.model.hear

    def pace(self, k):
        """The time since the newest, the second, fourth, eighth and sixteenth newest event."""
        if not self.model.pace:
            return torch.zeros(0)
        view, total = self.view(k)[1], 0
        for i, place in enumerate((1, 2, 4, 8, 16)):
            gap = (int(self.seen.time[k]) - int(self.seen.time[view[-place]])) >> 20 if place <= len(view) else None
            total = total + self.model.pace.rows[33 * i + (32 if gap is None else min(gap.bit_length(), 31))]
        return total

    def view(self, k):
        seen, t = self.seen, self.seen.time[k]
        known = [j for j in self.history if seen.user[j] == seen.user[k] and seen.time[j] < t]
        if self.run.data.history:
            known = [j for j in known if self.enter[j] <= t]
        return known, known[-self.run.memory.window :]

    def stack(self, k, item):
        state, made, aside, heard = item, [], [], []
        layers = self.model.stack.layers
        for depth, layer in enumerate(layers):
            state, outcomes = self.layer(layer, depth, state, k)
            made.append(state)
            heard.append(outcomes)
        for layer in self.model.stack.top:
            aside.append(self.layer(layer, len(layers), state, k)[0])
        return made, aside, heard

    def written(self, j, view):
        """Whose state is read for event j: its own, or the last write of its item among those seen."""
        if self.run.memory.keys == "event":
            return j
        return max(i for i in view if self.seen.item[i] == self.seen.item[j])

    def row(self, j, depth):
        """u_j: what is stored of event j at a depth."""
        if depth == 0 or not self.run.model.memory_reads:
            return row_norm(self.item[j])
        return row_norm(self.states[j][depth - 1])

    def picked(self, attention, depth, state, every):
        """The most relevant of the events before the window, oldest first; newest first among equals."""
        search, window = self.run.memory.search, self.run.memory.window
        if search is None:
            return []
        if search.shared and self.shared is not None:
            return self.shared
        before = every[:-window][-search.history :]
        liking = {j: self.liking(attention, depth, state, j) for j in before}
        liked = sorted(before, key=lambda j: (-liking[j], -every.index(j)))[: search.picked]
        self.shared = sorted((j for j in liked if liking[j] > -math.inf), key=every.index)
        return self.shared

    def liking(self, attention, depth, state, j):
        search = self.run.memory.search
        if search.rule == "category":
            return 0 if self.ids[1] and self.seen.item_columns[j, 0] == self.ids[1] else -math.inf
        sought = torch.einsum("hkd,hke,d->e", attention.query, attention.key, row_norm(state))
        sought = sought / math.sqrt(attention.query.shape[1])
        if search.rule == "dot":
            return float((self.row(j, depth) * sought).sum())
        normals = torch.from_numpy(planes(len(sought), search.bits))
        return -int(((self.row(j, depth) @ normals > 0) != (sought @ normals > 0)).sum())

    def outcome(self, attention, k, j):
        return self.parts(attention, k, j) @ attention.outcome_rows

    def parts(self, attention, k, j):
        """Which learned rows the outcome of j is the sum of, as k may know it."""
        return attention.outcome_parts[self.outcome_code(k, j)]

    def outcome_code(self, k, j):
        return int(self.seen.outcome[j]) if self.known(j) <= self.seen.time[k] else 0

    def leans(self, attention, codes, outcome=None):
        """What the codes of a row add in each head, whatever the target."""
        rows = attention.other_rows[codes].sum(0)
        if outcome is not None:
            rows = rows + attention.outcome_parts[outcome] @ attention.outcome_rows
        own = attention.own @ rows
        if self.run.model.equal_ids:
            # Every other head looks for the newest, and has nothing of its own beside.
            own = torch.where(torch.arange(len(own)) % 2 == 1, 0.0, own)
        return own - 4 * sum(self.fades(attention.fading.power, code) for code in codes)

    def fades(self, power, code):
        """What each head takes away for a gap or a rank."""
        if code < GAPS:
            return power[:, 0] * code / 2 * self.run.model.time_gap
        if code < GAPS + RANKS:
            bucket = code - GAPS
            doublings = math.log2(bucket + 1) if bucket < 8 else 3 + (bucket - 7.5) / 4
            return power[:, 1] * doublings * self.run.model.rank
        return 0 * power[:, 0]

    def idle(self, power, newest):
        """What the age of the newest row takes from the null row: as much as from it, and what was learned, at most 2."""
        learned = 2 * torch.tanh(power[:, 2] * newest * self.run.model.time_gap)
        return 4 * self.fades(power, newest) + learned

    def alike(self, attention, j, stream):
        """What it adds that the items of the target and j are the same or have the same categories."""
        if not self.run.model.equal_ids:
            return torch.zeros(attention.heads)
        of_row = (self.seen.item[j], *self.seen.item_columns[j])
        same = [int(a) == int(b) != 0 for a, b in zip(of_row, self.ids, strict=True)]
        return attention.equal[stream] @ torch.tensor(same, dtype=torch.float32)

    def known(self, j):
        return self.enter[j] if self.run.data.history else self.seen.known[j]

    def layer(self, layer, depth, state, k):
        attention, seen = layer.attention, self.seen
        gaps, ranks, null = (int(s - attention.spans[0]) for s in attention.spans[:3])
        every, view = self.view(k)
        view = [*self.picked(attention, depth, state, every), *view]
        keys, values = attention._keys(), attention._values()
        nothing = torch.zeros_like(state)
        gap_of = {j: min(((int(seen.time[k]) - int(seen.time[j])) >> 20).bit_length(), 31) for j in view}
        idle = self.idle(attention.fading.power, gap_of[max(view)]) if view else 0
        x, added = [[attention.other_rows[null], *[nothing] * (len(keys) - 1)]], [self.leans(attention, [null]) - idle]
        for j in view:
            rank = len(every) - every.index(j)
            far = 8 + math.floor(4 * math.log2(max(rank, 8) / 8))
            codes = [gaps + gap_of[j], ranks + (rank - 1 if rank <= 8 else min(far, 31))]
            streams = [
                self.row(self.written(j, view), depth)
                + self.outcome(attention, k, j)
                + attention.other_rows[codes].sum(0)
            ]
            adds = self.leans(attention, codes, self.outcome_code(k, j)) + self.alike(attention, j, 0)
            if self.run.model.token_shift:
                before = every[every.index(j) - 1] if every.index(j) > 0 else None
                streams.append(
                    nothing if before is None else row_norm(self.item[before]) + self.outcome(attention, k, before)
                )
                adds = adds + (0 if before is None else self.alike(attention, before, 1))
            if len(streams) < len(keys):
                streams.append(row_norm(self.item[j]))
            x.append(streams)
            added.append(adds)
        x_SND = torch.stack([torch.stack(stream) for stream in zip(*x, strict=True)])
        query = torch.einsum("hkd,d->hk", attention.query, row_norm(state))
        key = torch.einsum("shkd,snd->hnk", torch.stack(keys), x_SND)
        value = torch.einsum("shkd,snd->hnk", torch.stack(values), x_SND)
        for place, j in enumerate(view, 1):
            more = attention.worth @ self.parts(attention, k, j)
            row = self.row(self.written(j, view), depth)
            value[:, place] += more[:, None] * torch.einsum("hkd,d->hk", attention.value, row)
        logit = torch.einsum("hk,hnk->hn", query, key) / math.sqrt(key.shape[2])
        weight = (logit + torch.stack(added, 1)).softmax(1)
        state = state + torch.einsum("hn,hnk,hkd->d", weight, value, attention.out)
        parts = [self.parts(attention, k, j) for j in view]
        spread = torch.stack([torch.zeros(attention.outcome_parts.shape[1]), *parts])
        heard = torch.cat([torch.einsum("hn,nf->hf", weight, spread), weight[:, :1]], 1).flatten()
        return state + layer.feed_forward(row_norm(state)[None])[0], heard
