"""Whether an Arrow IPC stream holds what its lengths say, seen before it is read.

Polars looks at offsets, views, keys and text, and refuses those that lead elsewhere. But it asks for as much memory as a length
says before it looks whether there is that much, and a process that asks for too much ends: that is no exception which could be
caught. So lengths are held here against the message, and against what one message may become.
https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc
"""

from functools import lru_cache
from struct import Struct, error

MOST_ROWS, MOST_BYTES = 1 << 20, 1 << 28
"""Of one message, unpacked."""
_MOST_VALUES = 1 << 23
"""Of all columns and of what lies in them: lists have more of them than rows, and columns of nothing need no bytes."""
_MOST_DICTIONARIES, _MOST_FIELDS, _DEEPEST = 1000, 10_000, 32
"""The reader calls itself for each of them, and a stack that is used up ends a process as well."""
_U8, _U16, _I32, _U32, _I64, _PAIR = Struct("B"), Struct("<H"), Struct("<i"), Struct("<I"), Struct("<q"), Struct("<qq")
_MARK = -1
"""Stands before the length of a message, and where a packed buffer's length would stand if it was not worth packing."""
_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3
"""Kinds of messages; what is here called a batch may be a dictionary's."""


def check_stream(value: bytes) -> None:
    """Errors: ``ValueError`` where lengths are not borne out."""
    try:
        _walk(value)
    except error:
        raise ValueError("damaged") from None


def _walk(value: bytes) -> None:
    begin, size = _metadata(value, 0)
    _check_schema(value[begin : begin + size])
    at, dictionaries, values, unpacked = begin + size, 0, 0, 0
    while at + 4 <= len(value):
        begin, size = _metadata(value, at)
        if size == 0:
            return
        at = begin + size
        kind, body, count, size = _batch(value[begin:at], value, at)
        at, values, unpacked = at + body, values + count, unpacked + size
        dictionaries += kind == _DICTIONARY
        if dictionaries > _MOST_DICTIONARIES or values > _MOST_VALUES or unpacked > MOST_BYTES:
            raise ValueError("too much for one message: send several")


def _metadata(value: bytes, at: int) -> tuple[int, int]:
    """Where a message's metadata begin, and their length; none at the end of a stream."""
    (size,) = _I32.unpack_from(value, at)
    if size == _MARK:
        at += 4
        (size,) = _I32.unpack_from(value, at)
    if not 0 <= size <= len(value) - at - 4:
        raise ValueError("cut off")
    return at + 4, size


def _batch(data: bytes, value: bytes, begin: int) -> tuple[int, int, int, int]:
    """Of a batch whose body begins there: its kind, the body's length, how many values there are, and bytes unpacked."""
    kind, header, body = _message(data)
    if not 0 <= body <= len(value) - begin:
        raise ValueError("cut off")
    if kind == _DICTIONARY:
        header = _held(data, header, 1)
    elif kind != _BATCH:
        raise ValueError("neither rows nor a dictionary")
    columns = [length for length, _ in _pairs(data, header, 1)]
    parts = _pairs(data, header, 2)
    if any(length < 0 for length in columns):
        raise ValueError("a column of no length")
    if any(offset < 0 or length < 0 or offset + length > body for offset, length in parts):
        raise ValueError("a buffer ends beyond its message")
    # Writers let no two buffers share bytes; if they did, a short message could become a long one.
    if sum(length for _, length in parts) > body:
        raise ValueError("buffers lie over each other")
    packed = [begin + offset for offset, length in parts if length] if _at(data, header, 3) else []
    told = [_I64.unpack_from(value, at)[0] for at in packed]
    if any(length < _MARK for length in told):
        raise ValueError("a buffer of no length")
    return kind, body, sum(columns), sum(length for length in told if length > 0)


@lru_cache(64)
def _check_schema(data: bytes) -> None:
    """Kept, as a topic's messages have few."""
    kind, header, body = _message(data)
    if kind != _SCHEMA or body:
        raise ValueError("no schema")
    todo, seen = [(header, 1, 0)], 0
    while todo:
        table, slot, depth = todo.pop()
        at = _at(data, table, slot)
        if not at:
            continue
        first, count = _vector(data, at, 4)
        seen += count
        if seen > _MOST_FIELDS or depth > _DEEPEST:
            raise ValueError("too many columns for one message")
        todo += [(_to(data, first + 4 * number), 5, depth + 1) for number in range(count)]


def _message(data: bytes) -> tuple[int, int, int]:
    """Kind, where its header is, and the length of its body."""
    table = _to(data, 0)
    kind, body = _at(data, table, 1), _at(data, table, 3)
    return (
        _U8.unpack_from(data, kind)[0] if kind else 0,
        _held(data, table, 2),
        _I64.unpack_from(data, body)[0] if body else 0,
    )


# A flatbuffer: tables, of which each says, in a list of its own, how far from its beginning which field stands.
# https://flatbuffers.dev/internals


def _to(data: bytes, at: int) -> int:
    """Where it points."""
    return at + int(_U32.unpack_from(data, at)[0])


def _at(data: bytes, table: int, slot: int) -> int:
    """Where a field of a table stands; 0 for one that is left out."""
    fields = table - _I32.unpack_from(data, table)[0]
    if fields < 0:
        raise ValueError("damaged")
    place = 4 + 2 * slot
    far = _U16.unpack_from(data, fields + place)[0] if place < _U16.unpack_from(data, fields)[0] else 0
    return table + far if far else 0


def _held(data: bytes, table: int, slot: int) -> int:
    """Where a table stands that a field holds."""
    at = _at(data, table, slot)
    if not at:
        raise ValueError("damaged")
    return _to(data, at)


def _vector(data: bytes, at: int, size: int) -> tuple[int, int]:
    """Where the first entry of a vector is, and how many there are."""
    at = _to(data, at)
    (count,) = _U32.unpack_from(data, at)
    if at + 4 + count * size > len(data):
        raise ValueError("damaged")
    return at + 4, count


def _pairs(data: bytes, table: int, slot: int) -> list[tuple[int, int]]:
    """A vector of two numbers each."""
    at = _at(data, table, slot)
    if not at:
        return []
    first, count = _vector(data, at, _PAIR.size)
    return list(_PAIR.iter_unpack(data[first : first + count * _PAIR.size]))
