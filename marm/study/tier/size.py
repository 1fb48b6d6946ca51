"""How many of each there must be, by arithmetic alone: what is stored, what is asked in the busiest hour, what that takes."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from marm.study.tier.settings import Tier

_DAY = 86_400.0


class Found(NamedTuple):
    """What only a trace tells (`marm/study/tier/hits.py`)."""

    server_hit: float
    """Share of requests whose user is in the server's arena."""
    trainer_hit: float
    """Share of requests whose user is in the trainer's arena when their events are learned from."""
    written: float
    """Share of requests whose user is written to the store anew: several within one cut are one."""


@dataclass(frozen=True)
class Load:
    """A second of the busiest hour."""

    events: float
    requests: float
    server_reads: float
    trainer_reads: float
    written_users: float
    read_bytes: float
    """Of all readings."""
    written_bytes: float
    """Of all rows, once."""

    @property
    def reads(self) -> float:
        """Users read from the store."""
        return self.server_reads + self.trainer_reads


@dataclass(frozen=True)
class Needs:
    """What carries a load. Nodes are processes of the store, replicas included; machines run them, or train, or serve."""

    load: Load
    row: int
    user_bytes: float
    stored: float
    """Bytes of rows, once."""
    taken: float
    """Bytes of memory, with what keys, fragmentation and replicas add."""
    nodes_by_memory: int
    nodes_by_cores: int
    store_by_memory: int
    store_by_cores: int
    store_by_network: int
    trainers: int
    servers: int
    fan_out: float
    """Nodes that one call of a trainer asks, on average."""
    writing: float
    """Seconds that one cut's writing takes its writers, in seconds between two cuts: above 1 they fall behind."""
    cost: float
    """Of a day."""
    rebuild: float
    """Seconds to make all states anew on the machines that train."""
    refill: float
    """Seconds until a lost machine's nodes have replicas again."""
    unremembered: float
    """Requests that are answered without memory until replicas serve for a lost machine."""

    @property
    def nodes(self) -> int:
        """Processes of the store."""
        return max(self.nodes_by_memory, self.nodes_by_cores)

    @property
    def store(self) -> int:
        """Machines of the store."""
        return max(self.store_by_memory, self.store_by_cores, self.store_by_network)

    @property
    def machines(self) -> int:
        """All of them."""
        return self.store + self.trainers + self.servers


def load_of(tier: Tier, found: Found) -> Load:
    """What the busiest hour asks of the store."""
    people, ring = tier.people, tier.ring
    events, requests = people.events_per_s * people.peak, people.requests_per_s * people.peak
    server, trainer = requests * (1 - found.server_hit), requests * (1 - found.trainer_hit)
    return Load(
        events, requests, server, trainer, requests * found.written, (server + trainer) * ring.bytes, events * ring.row
    )


def asking(tier: Tier, users: int, nodes: float) -> float:
    """A core's seconds on the asking side for a user read, in a call of so many that goes to so many nodes."""
    costs = tier.costs
    return (costs.ask_call + costs.ask_node * nodes) / users + costs.ask_user + costs.ask_byte * tier.ring.bytes


def reading(tier: Tier) -> float:
    """A node's seconds for a call of one user."""
    return tier.costs.read_call + tier.costs.read_user + tier.costs.read_byte * tier.ring.bytes


def appending(tier: Tier, load: Load) -> tuple[float, float]:
    """Seconds of a node, and of a writer, for a user's rows of one cut."""
    bytes_ = load.written_bytes / load.written_users
    costs = tier.costs
    return costs.append_user + costs.append_byte * bytes_, costs.write_user + costs.write_byte * bytes_


def trainers_of(tier: Tier) -> int:
    """Machines that learn from the busiest hour's events."""
    events = tier.people.events_per_s * tier.people.peak
    return max(1, math.ceil(events * tier.costs.learn / (tier.machines.cores * tier.machines.busy)))


def servers_of(tier: Tier) -> int:
    """Machines that answer the busiest hour's requests."""
    requests = tier.people.requests_per_s * tier.people.peak
    return max(1, math.ceil(requests * tier.costs.answer / (tier.machines.cores * tier.machines.busy)))


def needs_of(tier: Tier, found: Found) -> Needs:
    """What there must be."""
    people, ring, has, load = tier.people, tier.ring, tier.machines, load_of(tier, found)
    copies, (append, write) = 1 + has.replicas, appending(tier, load)
    stored = people.users * ring.bytes
    taken = stored * has.overhead * copies
    nodes_by_memory = math.ceil(taken / (has.node_memory * has.full))
    # Each reading is taken for a call of its own: few users of a call are together on a node.
    work = load.reads * reading(tier) + load.written_users * append
    nodes_by_cores = math.ceil(work / has.busy) * copies
    nodes = max(nodes_by_memory, nodes_by_cores)
    partitions = max(1, nodes // copies)
    fan_out = partitions * (1 - (1 - 1 / partitions) ** has.together)
    # A primary sends what it wrote to each replica, and a replica takes it in.
    moved = load.read_bytes + load.written_bytes * (1 + 2 * has.replicas)
    store = (
        math.ceil(nodes * has.node_memory / has.memory),
        math.ceil(nodes / has.cores),
        math.ceil(moved / (has.network * has.busy)),
    )
    core = 1 / (has.cores * has.busy)
    trainers = trainers_of(tier) + math.ceil(load.trainer_reads * asking(tier, has.together, fan_out) * core)
    servers = servers_of(tier) + math.ceil(load.server_reads * asking(tier, 1, 1) * core)
    return Needs(
        load=load,
        row=ring.row,
        user_bytes=ring.bytes,
        stored=stored,
        taken=taken,
        nodes_by_memory=nodes_by_memory,
        nodes_by_cores=nodes_by_cores,
        store_by_memory=store[0],
        store_by_cores=store[1],
        store_by_network=store[2],
        trainers=trainers,
        servers=servers,
        fan_out=fan_out,
        writing=load.written_users * write / has.writers,
        cost=(max(store) + trainers + servers) * 24 * tier.prices.machine_hour,
        rebuild=people.users * ring.rows * ring.filled * tier.costs.remake / (trainers * has.cores),
        refill=taken / max(store) / (has.network * has.busy),
        unremembered=load.server_reads / max(store) * has.promotion,
    )
