"""What the inspector is told over HTTP."""

from typing import Annotated, Any, Literal

from pydantic import Field, FiniteFloat

from marm.server.messages import At, Id, Message, Values, _like

Name = int | float | str
"""An id as the log has it."""
Outcome = Literal["unknown"] | int | list[float | None] | None
"""Of a binary task 0 or 1; of a regression the edges that it lies between; null: not observed; unknown: not known then."""


class UserFound(Message):
    """A user, and how much is remembered."""

    user: Name
    events: int
    """Remembered, and since the cut."""


class UsersAnswer(Message):
    """Users whose id holds what was searched for, or random ones."""

    model_config = _like(users=[{"user": 7, "events": 120}])
    users: list[UserFound]


class Row(Message):
    """An event of a user's history."""

    item: Name | None
    """As in the log; null where neither the log nor feedback names it."""
    features: dict[str, Any]
    """What the item file says of it."""
    time: Name
    """As the log writes times."""
    utc: str
    outcomes: dict[str, Outcome]
    """Of the tasks that histories carry, as a target at the time asked may know them."""
    state: Literal["held", "missing", "live", "facts"]
    """What its layers made of it: remembered; no longer there, so that a learned fall-back stands in; made anew in each answer;
    or nothing any more, where the ring has no room for it and only facts are kept."""
    age_steps: int | None
    """Steps of learning since a remembered row was made; null for a live one."""


class TimelineRow(Row):
    """The same, with whether targets see it."""

    seen: bool
    """Whether a target at that time attends to it."""


class Depth(Message):
    """What is remembered of one depth."""

    depth: int
    rows: int
    """With a state."""
    missing: int
    """In the ring without one."""
    bytes: int
    age_steps: list[int] | None
    """Of the newest, the median and the oldest row."""


class Held(Message):
    """A user's memory, as of the cut."""

    events: int
    """Ever remembered."""
    facts: int
    """Of them, those of which item, time and outcomes are kept."""
    capacity: int
    """Rows of the ring: states are kept of at most so many."""
    window: int
    """Rows that a target attends to."""
    fill: float
    """Share of the ring that holds states."""
    bytes: int
    tail: int
    """Events since the cut, seen live."""
    depths: list[Depth]


class TimelineAnswer(Message):
    """A user's history as of a time, newest first."""

    user: Id
    at: Name
    cut: int
    steps: int
    """Completed steps of that cut's weights."""
    rows: list[TimelineRow]
    memory: Held
    degraded: bool
    """The store could not be read: only what came since the cut is shown."""


class ExplainRequest(Message):
    """A candidate, for a user at a time."""

    model_config = _like(user=7, item=14, at=1_700_700_000, context={"page": "home"})
    user: Id
    item: Id
    at: At | None = None
    context: Values = Field(default_factory=dict)


class HeadWeights(Message):
    """What one head attends to: ``weights``, one for each row, and ``null`` add up to 1."""

    null: float
    """Weight on the learned row that stands for no history."""
    weights: list[float]


class LayerWeights(Message):
    """One layer's heads."""

    layer: int
    task: str | None
    """Of the last layers, where each task has its own."""
    reads: str
    """What the layer reads of each row."""
    heads: list[HeadWeights]


class ExplainAnswer(Message):
    """What every layer and head attends to when it scores a candidate, and what is predicted; rows are oldest first."""

    user: Id
    item: Id
    features: dict[str, Any]
    """What the item file says of the item."""
    at: Name
    cut: int
    score: FiniteFloat
    tasks: dict[str, FiniteFloat]
    rows: list[Row]
    layers: list[LayerWeights]
    degraded: bool


class PathStatus(Message):
    """Requests of one endpoint since the start, and milliseconds of the last ones."""

    path: str
    requests: int
    failed: int
    """Answered with 4xx or 5xx."""
    recent: int
    """Requests that the percentiles are of."""
    p50_ms: float
    p90_ms: float
    p99_ms: float


class StoreStatus(Message):
    """The store as of the cut."""

    kind: str
    state: Literal["ready", "unreadable"]
    users: int
    rows: int
    """Events with states."""
    facts_rows: int
    bytes: int
    hot_users: int
    """Users at hand in front of the store."""
    hot_slots: int


class ModelStatus(Message):
    """What answers."""

    layers: int
    heads: int
    width: int
    window: int
    tasks: list[str]


class StatusAnswer(Message):
    """How the server does."""

    cut: int
    steps: int
    events: int
    """Of the log, as of the cut."""
    tail: int
    """Events since."""
    uptime_s: Annotated[float, Field(ge=0)]
    waiting: int
    """Requests that wait for their turn."""
    model: ModelStatus
    store: StoreStatus
    paths: list[PathStatus]
