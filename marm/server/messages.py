"""What is said over HTTP, with examples."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StrictBool, StrictFloat, StrictInt, StrictStr

_Int = Annotated[StrictInt, Field(ge=-(2**63), lt=2**63)]
_Float = Annotated[StrictFloat, Field(allow_inf_nan=False)]
Count = Annotated[StrictInt, Field(ge=1, lt=2**63)]
_Text = Annotated[StrictStr, Field(max_length=1000)]
_IntId = Annotated[StrictInt, Field(ge=-(2**63), lt=2**64)]
# Beyond, an integer would be taken for a float, and be the id of another.
_FloatId = Annotated[StrictFloat, Field(allow_inf_nan=False, gt=-(2.0**63), lt=2.0**63)]
Id = Annotated[StrictStr, Field(min_length=1, max_length=1000)] | _IntId | _FloatId
"""As in the log; ids compare as text, so 7 and "7" are one."""
At = _Int | _Float | _Text
"""As the log writes times: a number, or ISO text."""
Scalar = _Text | StrictBool | _Int | _Float | None
Value = Scalar | list[Scalar]
Values = Annotated[dict[_Text, Value], Field(max_length=1000)]


_KINDS = {"string_type": "text", "int_type": "a whole number", "float_type": "a number", "bool_type": "true or false",
          "list_type": "a list"}  # fmt: skip


def what_is_wrong(errors: Sequence[Any], body: Any) -> str:
    """Of pydantic's errors the first place in a body, and what may stand there."""
    first = errors[0]
    if first["type"] == "json_invalid":
        return f"the body is not JSON: {first['ctx']['error']} at character {first['loc'][-1]}"
    place = _place(first, body)
    kinds = [_KINDS.get(one["type"]) for one in errors if _place(one, body) == place]
    says = first["msg"] if None in kinds else f"give {' or '.join(dict.fromkeys(map(str, kinds)))}"
    return f"{place}: {says}" if place else str(says)


def _place(error: Any, body: Any) -> str:
    """Where in the body; without the names of the kinds that were tried there."""
    parts: list[str] = []
    for part, after in pairwise([*error["loc"], error["type"]]):
        inside = isinstance(body, list) if isinstance(part, int) else isinstance(body, dict) and part in body
        if inside:
            body = body[part]
        if inside or after in ("missing", "[key]"):
            parts.append(str(part))
    return ".".join(parts)


class Message(BaseModel):
    """Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


def _like(**fields: Any) -> ConfigDict:
    return ConfigDict(extra="forbid", json_schema_extra={"examples": [fields]})


class RankRequest(Message):
    """Candidates to put in order for a user."""

    model_config = _like(user=7, candidates=[3, 14, 15], at=1_700_700_000, context={"page": "home"}, k=2)
    user: Id
    candidates: list[Id]
    """One that stands here several times is answered once, as it was called first."""
    at: At | None = None
    context: Values = Field(default_factory=dict)
    k: Count | None = None


class RecommendRequest(Message):
    """What to show to a user now, or as of a past time."""

    model_config = _like(user=7, k=10, context={"page": "home"}, exclude=[3], at=1_700_700_000)
    user: Id
    k: Count = 10
    context: Values = Field(default_factory=dict)
    exclude: list[Id] = Field(default_factory=list)
    allow: list[Id] | None = None
    """Only these may be found."""
    at: At | None = None


class RetrieveRequest(Message):
    """What the retrieval stage finds for a user."""

    model_config = _like(user=7, k=100)
    user: Id
    k: Count = 100
    context: Values = Field(default_factory=dict)
    exclude: list[Id] = Field(default_factory=list)
    allow: list[Id] | None = None
    """Only these may be found."""
    at: At | None = None


class Ranked(Message):
    """An item, its place in the order by ``score``, and what each task predicts."""

    item: Id
    score: FiniteFloat
    tasks: dict[str, FiniteFloat]


class StageTrace(Message):
    """What a stage did."""

    stage: str
    taken: int
    """Candidates that it was given."""
    given: int
    """Candidates that it gave on."""
    ms: float


class Trace(Message):
    """How an answer came about."""

    cut: int
    """The cut whose weights and memory answered."""
    stages: list[StageTrace]
    tail: int
    """Events since that cut which were seen live."""
    waited_ms: float
    ms: float


class RankAnswer(Message):
    """Items, best first."""

    model_config = _like(
        items=[{"item": 14, "score": 0.41, "tasks": {"click": 0.41}}],
        trace={
            "cut": 12,
            "stages": [{"stage": "ranking", "taken": 3, "given": 1, "ms": 6.2}],
            "tail": 2,
            "waited_ms": 0.1,
            "ms": 7.0,
        },
        degraded=False,
    )
    items: list[Ranked]
    trace: Trace
    degraded: bool
    """The store could not be read: answered from raw history, or without history."""


class Retrieved(Message):
    """An item and its score: a product of vectors, no probability."""

    item: Id
    score: FiniteFloat


class RetrieveAnswer(Message):
    """Items, best first."""

    model_config = _like(
        items=[{"item": 14, "score": 2.1}],
        trace={
            "cut": 12,
            "stages": [{"stage": "retrieval", "taken": 100000, "given": 1, "ms": 3.4}],
            "tail": 2,
            "waited_ms": 0.1,
            "ms": 4.0,
        },
        degraded=False,
    )
    items: list[Retrieved]
    trace: Trace
    degraded: bool
    """As for ranking."""


class EventIn(Message):
    """Something shown to a user; or, with a known id and without user and item, outcomes that follow."""

    model_config = _like(
        event_id="e7", user=7, item=14, at=1_700_700_060, context={"page": "home"}, outcomes={"click": 1}
    )
    event_id: Id
    user: Id | None = None
    item: Id | None = None
    at: At | None = None
    context: Values = Field(default_factory=dict)
    outcomes: Values = Field(default_factory=dict)


class EventsRequest(Message):
    """Feedback: all of it is taken, or none."""

    model_config = _like(
        events=[{"event_id": "e7", "user": 7, "item": 14, "at": 1_700_700_060, "outcomes": {"click": 1}}]
    )
    events: list[EventIn]


class EventsAnswer(Message):
    """What became of them; everything but duplicates is on the disk."""

    model_config = _like(accepted=1, outcomes=0, duplicates=0, late=0, dropped=0, unknown=0)
    accepted: int
    """New events that count."""
    outcomes: int
    """Outcomes that followed an event."""
    duplicates: int
    """Told before: nothing was done."""
    late: int
    """Older than what is remembered of the user: put aside, not learned from."""
    dropped: int
    """New events that ``data.where`` leaves out as they are told: not shown; outcomes that follow may let them in."""
    unknown: int
    """Outcomes of an event that this server does not know (any more): taken all the same."""


class ItemIn(Message):
    """An item as it is from now on; what is not given stays as it was."""

    model_config = _like(item="new 1", features={"category": 3}, available_from=1_700_000_000, withdrawn=False)
    item: Id
    features: Values = Field(default_factory=dict)
    withdrawn: StrictBool | None = None
    available_from: At | None = None
    available_until: At | None = None


class ItemsRequest(Message):
    """Items to add, change or withdraw: all are taken, or none."""

    model_config = _like(items=[{"item": "new 1", "features": {"category": 3}}, {"item": 14, "withdrawn": True}])
    items: list[ItemIn]


class ItemsAnswer(Message):
    """How many were taken; they are on the disk."""

    model_config = _like(accepted=2)
    accepted: int


class Readiness(Message):
    """``ready``, or why not, and the cut that answers."""

    model_config = _like(status="ready", cut=12)
    status: str
    cut: int


class Fault(Message):
    """Why there is no answer."""

    model_config = _like(error="user: field required")
    error: str
