"""In which of a cluster's slots a key lies."""

from binascii import crc_hqx
from functools import cache

_SLOTS, _MARKED = 16384, 256


def slot_of(key: bytes) -> int:
    """The slot of a key: of what stands in its braces, where it has some."""
    tag = key.partition(b"{")[2].partition(b"}")[0]
    return crc_hqx(tag or key, 0) % _SLOTS


@cache
def tags() -> list[bytes]:
    """For each 256 slots something that hashes into the middle of them: every node that holds a range has one."""
    wanted, number = {slot + _MARKED // 2: b"" for slot in range(0, _SLOTS, _MARKED)}, 0
    while not all(wanted.values()):
        tag = b"%d" % number
        number += 1
        slot = crc_hqx(tag, 0) % _SLOTS
        if wanted.get(slot) == b"":
            wanted[slot] = tag
    return list(wanted.values())
