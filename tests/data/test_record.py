"""Many lines at once are read as each of them alone."""

import json

from hypothesis import given
from hypothesis import strategies as st

from marm.data.record import Records, _each, _plain, parse_all

_ID = st.integers(-(2**63), 2**63 - 1) | st.text(max_size=3)
_TABLE = st.dictionaries(st.sampled_from(["click", "watch"]), st.integers(0, 3) | st.none(), max_size=2)
_EVENT = st.fixed_dictionaries(
    {"kind": st.just("event"), "event_id": _ID, "user": _ID, "item": _ID, "at": _ID | st.floats(allow_nan=False)},
    optional={"context": _TABLE, "outcomes": _TABLE | st.none(), "received": st.floats(0, 9) | st.integers(0, 9)},
)
_FOLLOW = st.fixed_dictionaries({"kind": st.just("outcomes"), "event_id": _ID}, optional={"outcomes": _TABLE})
_ODD = st.sampled_from(
    [
        b"nothing",
        b"[1]",
        b"{}",
        b'{"kind": "event"}',
        b'{"kind": ["event"], "event_id": 1}',
        b'{"kind": "event", "event_id": true, "user": 1, "item": 1, "at": 1}',
        b'{"kind": "event", "event_id": 1, "user": 1.5, "item": 1, "at": NaN}',
        b'{"kind": "event", "event_id": 1, "user": "\\ud800", "item": 18446744073709551616, "at": 1}',
        b'{"kind": "event", "event_id": 1, "user": 1, "item": 1, "at": 1, "context": [], "received": "now"}',
        b'{"kind": "outcomes", "event_id": 1, "outcomes": [1]}',
        b'{"kind": "outcomes", "event_id": 1.0, "context": [1]}',
        b'{"kind": "outcomes", "event_id": "\xff"}',
    ]
)
_LINES = st.lists((_EVENT | _FOLLOW).map(lambda one: json.dumps(one).encode()), max_size=8)


@given(first=_LINES, odd=st.lists(_ODD, max_size=1), then=_LINES)
def test_lines_at_once_are_as_each_alone(first: list[bytes], odd: list[bytes], then: list[bytes]) -> None:
    lines, alone = [*first, *odd, *then], Records()
    _each(lines, 0, alone)
    assert parse_all(lines) == alone


def test_plain_lines_are_read_at_once_and_odd_ones_are_not() -> None:
    event = b'{"kind": "event", "event_id": "e1", "user": 1, "item": 2, "at": 3}'
    out = Records()
    assert _plain([event], 5, out) and (out.event_line, out.event_id, out.at) == ([5], ["e1"], [3])
    assert not _plain([event, b'{"kind": "event"}'], 0, out) and out.event_line == [5]
