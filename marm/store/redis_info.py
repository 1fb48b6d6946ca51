"""What servers tell of their memory (`INFO memory`)."""

from marm.store.base import Space


def told(about: bytes, name: bytes) -> bytes:
    """One of the figures; empty where a server does not tell it."""
    found = [line.partition(b":")[2] for line in about.split() if line.startswith(name + b":")]
    return found[0] if found else b""


def space_of(nodes: list[bytes]) -> Space:
    """Of all nodes together."""
    used = sum(int(told(about, b"used_memory") or 0) for about in nodes)
    taken = sum(int(told(about, b"used_memory_rss") or 0) for about in nodes)
    return Space(used, taken, max(float(told(about, b"mem_fragmentation_ratio") or 1) for about in nodes))
