"""Reads damaged Arrow messages in a process that may die of it: `python -m tests.data.damage FIRST COUNT`.

Says how many were refused, for which reasons, and how many bytes the process grew by.
"""

import json
import random
import resource
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from io import BytesIO
from typing import Any

import polars as pl

from marm.data.framing import check_stream
from marm.data.lines import frame_of
from marm.data.payload import Columns, Messages, records_of, rows_of, text_of_message

SLOWEST = 5.0
"""Seconds for one message, on a machine that has much else to do."""
_NUMBERS = [-1, 0, 1, 2**31 - 1, 2**31, 2**40, 2**48, 2**62, 2**63 - 1, -(2**63)]
_COLUMNS = Columns("user", "item", "time", "event_id", "kind", ["page", "click"], frozenset(["click"]), "o/")


def stream_of(frame: pl.DataFrame, packed: Any = "uncompressed", level: Any = None) -> bytes:
    """An Arrow IPC stream."""
    out = BytesIO()
    frame.write_ipc_stream(out, compression=packed, compat_level=level)
    return out.getvalue()


def events(count: int = 40) -> pl.DataFrame:
    """Of one user, whose name is too long to stand in a view."""
    return pl.DataFrame(
        {"user": ["a user with a long name"] * count, "item": range(count), "time": [1_700_000_000] * count}
    )


@cache
def valid() -> list[bytes]:
    """Streams of all kinds of columns, packed and not, with views and with offsets."""
    day = datetime(2024, 1, 1)
    frames = [
        events(),
        pl.DataFrame({"event_id": ["a", "b"], "user": ["u", None], "item": [1, 2], "time": [day, day], "click": [True, None]}),
        pl.DataFrame(
            {
                "user": [1, 2, 3],
                "item": ["x", "y" * 20, None],
                "time": [1.5, 2.5, 3.5],
                "page": pl.Series(["h", "k", "h"], dtype=pl.Categorical),
                "words": [[["q" * 30], ["b"]], [], None],
                "nothing": [None, None, None],
                "both": [{"a": 1, "b": ["x"]}, {"a": None, "b": []}, None],
                "one": pl.Series(["p", "q", "p"], dtype=pl.Enum(["p", "q"])),
                "pair": pl.Series([[1, 2], [3, 4], [5, 6]], dtype=pl.Array(pl.Int32, 2)),
                "bytes": [b"x", b"y" * 20, None],
                "price": pl.Series(["1.5", "2.5", None]).cast(pl.Decimal(10, 2)),
            }
        ),
    ]  # fmt: skip
    levels = (pl.CompatLevel.newest(), pl.CompatLevel.oldest())
    return [
        stream_of(f, packed, level) for f in frames for packed in ("uncompressed", "lz4", "zstd") for level in levels
    ]


def mutation(seed: int) -> bytes:
    """A valid stream in which some bytes are others, gone, too many or of another stream."""
    draw = random.Random(seed)
    found, other = bytearray(draw.choice(valid())), draw.choice(valid())
    for _ in range(draw.choice([1, 1, 1, 2, 4, 8])):
        at = draw.randrange(len(found)) if found else 0
        match draw.randrange(7) if found else None:
            case 0 | 1:
                found[at] ^= 1 << draw.randrange(8)
            case 2:
                found[at] = draw.randrange(256)
            case 3:
                at &= ~7
                number = draw.choice([*_NUMBERS, draw.randrange(200)])
                found[at : at + 8] = number.to_bytes(8, "little", signed=True)
            case 4:
                found[at : at + draw.randrange(1, 16)] = draw.randbytes(draw.randrange(8))
            case 5:
                begin = draw.randrange(len(other))
                size = draw.choice([8, 16, 64, len(other)])
                found[at : at + size] = other[begin : begin + size]
            case 6:
                del found[at:]
    return bytes(found)


def lengths() -> Iterator[bytes]:
    """Streams of which one word is a number that is too large: each word once."""
    for value in (stream_of(events()), stream_of(events(), "zstd")):
        for at in range(0, len(value) - 8, 8):
            yield value[:at] + (2**48).to_bytes(8, "little") + value[at + 8 :]


def hostile() -> Iterator[bytes]:
    """What would use up stack or memory, though each length is borne out."""
    (schema, dictionary, *rest) = _messages(
        stream_of(pl.DataFrame({"page": pl.Series(["a", "b"], dtype=pl.Categorical)}))
    )
    yield schema + dictionary * 30_000 + b"".join(rest)
    deep: Any = pl.Int8
    for _ in range(100):
        deep = pl.List(deep)
    yield stream_of(pl.DataFrame(schema={"user": deep}))
    yield stream_of(pl.DataFrame({"user": pl.Series([None] * 3_000_000, dtype=pl.Null)}))
    yield stream_of(pl.DataFrame({"user": pl.zeros(50_000_000, pl.Int8, eager=True)}), "zstd")
    yield stream_of(pl.DataFrame({"user": pl.Series(["x" * 100_000]).new_from_index(0, 4000)}), "zstd")


def _messages(value: bytes) -> list[bytes]:
    """A stream of Polars in its parts: each begins with the same mark, on a multiple of eight."""
    begins = [at for at in range(0, len(value), 8) if value[at : at + 4] == b"\xff\xff\xff\xff" and value[at + 7] == 0]
    parts = [value[begin:end] for begin, end in zip(begins, [*begins[1:], len(value)], strict=True)]
    check_stream(b"".join(parts))
    return parts


def reason(value: bytes) -> str | None:
    """Why a message is no rows, or nothing; the others of its batch are read whatever it is."""
    rows, refused = rows_of([value]), dict[int, str]()
    records_of(rows, Messages(["t/0"], [3], [1.0], [value]), _COLUMNS)
    text_of_message(value, "t/0", _COLUMNS)
    good = valid()[0]
    frame = frame_of([good, value, good], refused.setdefault)
    assert frame["user"].count() >= 80 and set(refused) <= {1}, refused
    return rows.bad[0][1] if rows.bad else None


def main(first: int, count: int) -> None:
    """Reads all of them."""
    for value in valid():
        assert reason(value) is None
    before, refused = _most(), set()
    for name, some in (
        ("mutation", map(mutation, range(first, first + count))),
        ("length", lengths()),
        ("hostile", hostile()),
    ):
        for number, value in enumerate(some):
            began, why = time.monotonic(), reason(value)
            took = time.monotonic() - began
            assert took < SLOWEST, (name, number, took)
            assert name != "hostile" or why, number
            assert why is None or (why.isprintable() and len(why) < 500), (name, number, why)
            refused |= {why} - {None}
    print(json.dumps({"reasons": sorted(refused), "grew": _most() - before}))


def _most() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
