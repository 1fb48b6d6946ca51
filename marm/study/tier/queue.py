"""Calls that wait: each asks one node or several, a node answers one at a time and sends through its machine's network.

    asked -> (half a trip) -> node: first come, first served -> network: the same -> (half a trip) -> all parts there -> done

Events stand on a heap in order of time; nothing is rounded to ticks.
"""

from heapq import heappop, heappush
from typing import NamedTuple

import numba as nb
import numpy as np

from marm.types import F64, I64

_ARRIVES, _WORKED, _SENT, _DONE = range(4)


class Calls(NamedTuple):
    """C calls of P parts in all, a call's parts next to each other."""

    at: F64
    """(C,) second at which it may begin."""
    client: I64
    """(C,) who asks, one call after the other; -1: nobody else waits for it."""
    after: F64
    """(C,) seconds of the asking side's own work once all parts are there."""
    first: I64
    """(C + 1,) first part of each call."""
    node: I64
    """(P,)."""
    work: F64
    """(P,) seconds of the node."""
    send: F64
    """(P,) seconds of the network."""


class Site(NamedTuple):
    """Where they go."""

    network: I64
    """(nodes,) network of each node."""
    trip: float
    """Seconds there and back."""
    wake: float = 0.0
    """Seconds that a node works longer on a part that finds it idle."""


def simulate(calls: Calls, site: Site) -> tuple[F64, F64]:
    """Second at which each call began (C,) and was done (C,)."""
    clients = int(calls.client.max(initial=-1)) + 1
    order = np.argsort(calls.client, kind="stable")
    line = order[calls.client[order] >= 0]
    first = np.searchsorted(calls.client[line], np.arange(clients + 1))
    networks = int(site.network.max(initial=-1)) + 1
    began, done = _run(*calls, site.network, networks, site.trip / 2, site.wake, line, first)
    return began, done


@nb.njit(cache=True, nogil=True)
def _run(at, client, after, first, node, work, send, network, networks, half, wake, line, line_first):  # type: ignore[no-untyped-def]
    began, done = np.full(len(at), np.nan), np.full(len(at), np.nan)
    node_free, network_free = np.zeros(len(network)), np.zeros(networks)
    waits, next_of = np.diff(first), line_first[:-1].copy()
    call_of = np.repeat(np.arange(len(at)), np.diff(first))
    heap = [(np.inf, _DONE, -1)]
    for call in range(len(at)):
        if client[call] < 0 or line[line_first[client[call]]] == call:
            _begin(heap, began, call, at[call], first, half)
    while heap[0][2] >= 0:
        time, kind, one = heappop(heap)
        if kind == _ARRIVES:
            idle = node_free[node[one]] < time
            node_free[node[one]] = max(node_free[node[one]], time) + work[one] + (wake if idle else 0.0)
            heappush(heap, (node_free[node[one]], _WORKED, one))
        elif kind == _WORKED:
            by = network[node[one]]
            network_free[by] = max(network_free[by], time) + send[one]
            heappush(heap, (network_free[by] + half, _SENT, one))
        elif kind == _SENT:
            waits[call_of[one]] -= 1
            if waits[call_of[one]] == 0:
                heappush(heap, (time + after[call_of[one]], _DONE, call_of[one]))
        else:
            done[one] = time
            who = client[one]
            if who >= 0:
                next_of[who] += 1
                if next_of[who] < line_first[who + 1]:
                    call = line[next_of[who]]
                    _begin(heap, began, call, max(time, at[call]), first, half)
    return began, done


@nb.njit(cache=True, nogil=True)
def _begin(heap, began, call, time, first, half):  # type: ignore[no-untyped-def]
    began[call] = time
    for part in range(first[call], first[call + 1]):
        heappush(heap, (time + half, _ARRIVES, part))
