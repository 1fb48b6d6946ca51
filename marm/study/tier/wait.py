"""How long a server waits for memory in the busiest hour, beside the trainers' readings and their writing of cuts."""

from dataclasses import dataclass

import numpy as np

from marm.study.tier.queue import Calls, Site, simulate
from marm.study.tier.settings import Tier
from marm.study.tier.size import Needs, appending, asking, reading
from marm.types import F64, I64, Bool

TOGETHER = 16
"""Users' rows that a writer sends a node in one piece."""

_CUTS = 3
"""Cuts that are simulated at least, of which the first is not counted."""


@dataclass(frozen=True)
class Waiting:
    """Seconds that a server's reading takes, in the busiest hour."""

    nodes: int
    """That were simulated, with their share of the load."""
    calls: int
    p50: float
    p99: float
    quiet_p99: float
    """While no cut is written."""
    writing_p99: float
    """While one is."""
    written_in: float
    """Seconds from a cut until a node has its rows of it."""


def waiting_in(tier: Tier, needs: Needs, calls: int, seed: int = 0) -> Waiting:
    """Simulate as many nodes as ``calls`` readings are enough for over some cuts, by whole machines where they are several."""
    has, load = tier.machines, needs.load
    primaries = max(1, needs.nodes // (1 + has.replicas))
    each = max(1, min(primaries, round(needs.nodes / needs.store / (1 + has.replicas))))
    seconds = _CUTS * has.cut
    nodes = int(np.clip(calls / max(load.reads / primaries * seconds, 1e-9), 1, primaries))
    nodes -= nodes % each if nodes > each else 0
    draw = np.random.default_rng(seed)
    asked, wrote = _reads(tier, needs, draw, nodes, primaries, seconds), _writes(tier, needs, nodes, primaries, seconds)
    joined = _joined(asked, wrote)
    # Of less than a machine's nodes each has its share of the network alone.
    joined = joined._replace(send=joined.send * max(1.0, each / nodes))
    site = Site(np.arange(nodes) // each, has.trip, tier.costs.wake)
    began, done = simulate(joined, site)
    return _told(tier, nodes, len(asked.at), began, done)


def _reads(tier: Tier, needs: Needs, draw: np.random.Generator, nodes: int, primaries: int, seconds: float) -> Calls:
    """Servers' and trainers' readings, each of one user: they come when they come."""
    count = draw.poisson(needs.load.reads * nodes / primaries * seconds)
    jitter = draw.choice(np.array(tier.costs.jitter), count)
    send = np.full(count, tier.ring.bytes / tier.machines.network)
    at = np.sort(draw.random(count) * seconds)
    return _single(at, draw.integers(nodes, size=count), reading(tier) * jitter, send, asking(tier, 1, 1))


def _writes(tier: Tier, needs: Needs, nodes: int, primaries: int, seconds: float) -> Calls:
    """Each cut's rows, spread over the nodes as evenly as users are, as fast as its writers send them."""
    has, load = tier.machines, needs.load
    append, _ = appending(tier, load)
    users = load.written_users * has.cut / primaries
    pieces = max(1, round(users / TOGETHER))
    takes = has.cut * min(1.0, max(needs.writing, has.spread))
    cuts = np.arange(int(np.ceil(seconds / has.cut))) * has.cut
    at = (cuts[:, None] + (np.arange(pieces) + 0.5) / pieces * takes).ravel()
    node = np.tile(np.arange(nodes), len(at))
    at = np.repeat(at, nodes)
    bytes_ = load.written_bytes / load.written_users * users / pieces
    size = np.full(len(at), bytes_ * has.replicas / has.network)
    return _single(at, node, np.full(len(at), append * users / pieces), size, 0.0)


def _single(at: F64, node: I64, work: F64, send: F64, after: float) -> Calls:
    count = len(at)
    return Calls(at, np.full(count, -1), np.full(count, after), np.arange(count + 1), node, work, send)


def _joined(one: Calls, other: Calls) -> Calls:
    columns = {
        name: np.concatenate([getattr(one, name), getattr(other, name)]) for name in one._fields if name != "first"
    }
    return Calls(first=np.arange(len(columns["at"]) + 1), **columns)


def _told(tier: Tier, nodes: int, reads: int, began: F64, done: F64) -> Waiting:
    took, since = (done - began)[:reads], began[:reads] % tier.machines.cut
    written = (done % tier.machines.cut)[reads:][began[reads:] >= tier.machines.cut]
    until = float(written.max(initial=0.0))
    late, writing = began[:reads] >= tier.machines.cut, since <= until
    return Waiting(
        nodes, reads, _quantile(took, late, 0.5), _quantile(took, late, 0.99), _quantile(took, late & ~writing, 0.99),
        _quantile(took, late & writing, 0.99), until,
    )  # fmt: skip


def _quantile(took: F64, which: Bool, share: float) -> float:
    return float(np.quantile(took[which], share)) if which.any() else float("nan")
