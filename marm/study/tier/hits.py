"""What a sample of the people finds in arenas of their share: hit rates, users written, and how fast an empty arena fills."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from marm.study.tier.arena import Played, play
from marm.study.tier.people import DAY, Requests, requests_of
from marm.study.tier.settings import Tier
from marm.study.tier.size import Found, servers_of, trainers_of
from marm.types import F64, I64, Bool

STEP = 1024
"""Events of a trainer's step (`train.micro_batch` as it is set by default)."""

FACTORS = (1 / 64, 1 / 16, 1 / 4, 1 / 2, 1, 2, 4, 16)
"""How much of the memory that a machine's arena has."""


@dataclass(frozen=True)
class Sample:
    """Some of the people for a day, and one before it that only fills arenas."""

    users: int
    requests: Requests
    scored: Bool
    """(R,) of the second day."""


class Filling(NamedTuple):
    """Hits after a beginning with nothing in the busiest hour."""

    minutes: F64
    server: F64
    trainer: F64


def sample_of(tier: Tier, users: int, seed: int = 0) -> Sample:
    """``users`` of all, drawn by nothing but chance: their arenas are their share of all arenas."""
    requests = requests_of(tier.people, users, 2.0, seed)
    return Sample(users, requests, requests.time >= DAY)


def server_hits(tier: Tier, sample: Sample, requests: Requests, factor: float = 1.0) -> Bool:
    """(R,) whether a request finds its user in a server's arena, which begins anew with each cut."""
    servers = servers_of(tier)
    slots = _slots(tier, sample, tier.machines.server_arena * servers * factor)
    user, number = requests.user, np.arange(len(requests.user))
    if not tier.machines.sticky:
        at = np.random.default_rng(1).integers(servers, size=len(user))
        user = np.unique(user * servers + at, return_inverse=True)[1]
    return play(user, number, _cuts(tier, requests), slots, writes=False).hit


def trainer_played(tier: Tier, sample: Sample, requests: Requests, factor: float = 1.0) -> Played:
    """What becomes of the users in a trainer's arena, step by step."""
    trainers = trainers_of(tier)
    slots = _slots(tier, sample, tier.machines.trainer_arena * trainers * factor)
    share = max(1.0, STEP * sample.users / (tier.people.users / trainers))
    step = (np.cumsum(requests.events) // share).astype(np.int64)
    # A step's users must all be there at once.
    slots = max(slots, int(np.bincount(step - step[0]).max(initial=1)) if len(step) else 1)
    return play(requests.user, step, _cuts(tier, requests), slots, writes=True)


def found_in(tier: Tier, sample: Sample) -> Found:
    """Of the sample's second day."""
    if not sample.scored.any():
        return Found(0.0, 0.0, 1.0)
    trainer = trainer_played(tier, sample, sample.requests)
    cuts = _cuts(tier, sample.requests)
    written = trainer.written[np.unique(cuts[sample.scored]) - cuts[0]].sum()
    server = server_hits(tier, sample, sample.requests)
    scored = sample.scored
    return Found(float(server[scored].mean()), float(trainer.hit[scored].mean()), float(written / scored.sum()))


def by_memory(tier: Tier, sample: Sample) -> list[dict[str, float]]:
    """Hit rates with arenas of other sizes."""
    out = []
    for factor in FACTORS:
        trainer = trainer_played(tier, sample, sample.requests, factor).hit
        server = server_hits(tier, sample, sample.requests, factor)
        out.append({
            "factor": factor,
            "trainer_arena": tier.machines.trainer_arena * factor,
            "server_arena": tier.machines.server_arena * factor,
            "trainer_hit": float(trainer[sample.scored].mean()),
            "server_hit": float(server[sample.scored].mean()),
        })  # fmt: skip
    return out


def filling(tier: Tier, sample: Sample, minutes: int = 120) -> Filling:
    """From the busiest hour of the second day on, for so many minutes."""
    begin = DAY + int(np.argmax(tier.people.hours)) * 3600
    here = (sample.requests.time >= begin) & (sample.requests.time < begin + minutes * 60)
    time, user, events = sample.requests
    requests = Requests(time[here], user[here], events[here])
    minute = ((requests.time - begin) // 60).astype(np.int64)
    hits = (server_hits(tier, sample, requests), trainer_played(tier, sample, requests).hit)
    counts = np.maximum(np.bincount(minute, minlength=minutes), 1)
    shares = [np.bincount(minute, hit, minutes) / counts for hit in hits]
    return Filling(np.arange(1.0, minutes + 1), *shares)


def _slots(tier: Tier, sample: Sample, arenas: float) -> int:
    """Users that the sample's share of so many bytes of arena holds."""
    ring = tier.ring
    return max(1, round(arenas / (ring.rows * (ring.row - ring.sums)) * sample.users / tier.people.users))


def _cuts(tier: Tier, requests: Requests) -> I64:
    return (requests.time // tier.machines.cut).astype(np.int64)
