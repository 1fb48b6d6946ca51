"""A small log as a rival sees it, and each rival's formula in plain Python, one pair after the other."""

import math
from dataclasses import replace

import numpy as np
import torch

from marm.engine.batches import Drawn, ask
from marm.nn.blocks import row_norm
from marm.nn.operands import plan_work
from marm.nn.table import single
from marm.rivals import make_reader
from tests.engine.worlds import build, exposures, run_config

CATEGORIES = 3


class Story:
    """One pass over a log in which every event is a query, and what the definitions say that each query sees."""

    def __init__(self, kind, seed=0, events=40, **sections):
        model = {"kind": kind, "layers": 2} | sections.pop("model", {})
        features = {"item": {"cat": "category"}}
        self.run = run_config(model=model, features=features, **sections)
        self.seen = exposures(seed, events=events, users=3, items=9, delay=4)
        plain = {"layers": 1, "width": self.run.model.width}
        engine = build(run_config(model=plain, memory={"window": self.run.memory.window}))
        engine.threads = 1
        asked = ask(self.seen, Drawn.none(0))
        engine.memory.admit(asked.batch.users, 1)
        share = engine.attend(asked.batch).shares[0]
        item_U = share.items.astype(np.int64)
        named = {"cat": single((1 + item_U % CATEGORIES).astype(np.uint64)[:, None])}
        self.passed = replace(share.passed, items=replace(share.passed.items, named=named))
        self.query = asked.query_of_exposure
        torch.manual_seed(seed)
        self.reader = make_reader(self.run)
        for parameter in self.reader.parameters():
            torch.nn.init.normal_(parameter, std=0.4)
        self.item_UD = share.output.item_UD.detach()
        of_event = self.passed.item_of_query[self.query]
        self.e, self.u = self.item_UD[of_event], row_norm(self.item_UD)[of_event]

    def of(self, events):
        """The pass with these events alone as queries."""
        at, p = self.query[events], self.passed
        views, segment = p.views.of(at), p.segment_of_query[at]
        work = plan_work(views, segment, p.work.rows_at)
        asked = {"item_of_query": p.item_of_query[at], "context_of_query": p.context_of_query[at]}
        return replace(
            p, views=views, work=work, segment_of_query=segment, state_of_row=np.full_like(p.state_of_row, -1), **asked
        )

    def made(self):
        """What the tower is told and what was heard, of every event."""
        with torch.no_grad():
            made = self.reader(self.item_UD, self.passed)
        return [told[self.query] for told in made.told], [heard[self.query] for heard in made.heard]

    def view(self, k):
        """The last n events of the user before event k, oldest first."""
        own = np.flatnonzero((self.seen.user == self.seen.user[k]) & (self.seen.time < self.seen.time[k]))
        return own[-self.run.memory.window :].tolist()

    def category(self, k):
        return int(self.seen.item[k]) % CATEGORIES

    def parts(self, k, j):
        """Which outcome rows event j has, as k may know it."""
        known = self.seen.known[j] <= self.seen.time[k]
        return self.reader.signals.parts[int(self.seen.outcome[j]) if known else 0]

    def signals(self, k, j):
        """Rows of outcome, gap and rank."""
        rows = self.reader.signals
        view = self.view(k)
        rank = len(view) - view.index(j)
        gap = ((int(self.seen.time[k]) - int(self.seen.time[j])) >> 20).bit_length()
        return self.parts(k, j) @ rows.outcome_rows, rows.other_rows[gap], rows.other_rows[32 + rank - 1]

    def x(self, k, j):
        """u_j with its signals."""
        return self.u[j] + sum(self.signals(k, j))

    def layer(self, k, picked, bias=lambda j, head: 0.0, keys=None, target=None):
        """One layer over the picked events: what it adds to the target, and what was heard, by loops over heads and rows."""
        layer, width = self.reader.layer, self.run.model.width
        one, heads = layer.attention, self.run.model.heads
        target = row_norm(self.e[k]) if target is None else target
        keys = keys or (lambda j: self.x(k, j))
        read, heard = torch.zeros(width), []
        for h in range(heads):
            asked = one.query[h] @ target
            logits = [float(asked @ (one.key[h] @ keys(j))) / math.sqrt(width // heads) + bias(j, h) for j in picked]
            logits.append(float(asked @ (one.key[h] @ one.null)) / math.sqrt(width // heads))
            total = sum(map(math.exp, logits))
            weights = [math.exp(logit) / total for logit in logits]
            values = [one.value[h] @ self.x(k, j) for j in picked] + [one.value[h] @ one.null]
            read = read + sum(w * v for w, v in zip(weights, values, strict=True)) @ one.out[h]
            said = sum((w * self.parts(k, j) for w, j in zip(weights, picked, strict=False)), torch.zeros(self.values))
            heard += [said, torch.tensor([weights[-1]])]
        state = self.e[k] + read
        return read + layer.feed_forward(row_norm(state)[None])[0], torch.cat(heard)

    @property
    def values(self):
        return self.reader.signals.values

    def best(self, k, score):
        """The picked events: the newest, then by score (None: not at all), equal ones by newest; oldest first."""
        rival, view = self.run.rival, self.view(k)
        newest = view[max(len(view) - rival.newest, 0) :]
        others = [j for j in view if j not in newest and score(j) is not None]
        others.sort(key=lambda j: (score(j), view.index(j)), reverse=True)
        kept = set(newest + others[: rival.picked - len(newest)])
        return [j for j in view if j in kept]
