"""The section about serving."""

from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from marm.config.base import Settings


class ServeConfig(Settings):
    """How a trained run answers requests: see ``marm serve``."""

    score: str | None = None
    """The final order, a formula over tasks: ``click * (1 + 2 * long_view)``; the first task, if not given."""

    retrieval_share: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """Share that retrieval's order has in that of a recommendation, by reciprocal ranks; 0: ``score`` alone."""

    diversity: dict[str, PositiveInt] = Field(default_factory=dict)
    """Most items of one value of an item category among the answers (``category = 2``)."""

    topic: str | None = None
    """Topic that events go to before they are acknowledged; else the one that ``marm follow`` reads, if it reads one."""

    topic_wait: PositiveFloat = 5.0
    """Seconds in which the broker must have events; then they are answered with 503, and are to be told again."""

    popular: PositiveInt = 500
    """Candidates of a recommendation where no retrieval stage was trained: the most popular items of late ..."""

    popular_events: PositiveInt = 100_000
    """... among this many of the newest events."""

    most_candidates: PositiveInt = 2_000
    """Candidates in one request."""

    most_k: PositiveInt = 1_000
    """Items asked for in one request."""

    most_events: PositiveInt = 1_000
    """Events, or items, told in one request."""

    most_body: PositiveInt = 2**20
    """Bytes of a request's body; a larger one is refused unread."""

    tls_certificate: str | None = None
    """File of the certificate, and of those between it and its root, to answer by TLS alone; read when the server starts."""

    tls_key: str | None = None
    """File of its private key, without a password."""

    time_budget: PositiveFloat = 1.0
    """Seconds that a request waits for its turn; then it is answered with 503."""

    queue: PositiveInt = 128
    """Requests that wait; more are answered with 503 at once."""

    together: PositiveInt = 8
    """Waiting requests that are scored in one pass."""

    look: PositiveFloat = 0.5
    """Seconds between two looks for a new cut."""

    hot: PositiveInt = 256 * 1024**2
    """Bytes of remembered rows kept at hand, in front of the store."""

    near: NonNegativeInt = 0
    """Bytes of rows read from Redis that are kept over cuts, until their user changes, which every reading asks; 0: none."""

    tail: PositiveInt = 256
    """Newest events of a user since the cut that are kept; a pass shows ``train.live`` of them."""

    facts: NonNegativeInt = 64 * 1024**2
    """Bytes of raw history kept at hand, to answer from while the store cannot be read."""

    ids: PositiveInt = 200_000
    """Newest event ids by which an event that comes twice is known."""

    inspected: PositiveInt = 4_000_000
    """Newest events whose users the inspector finds by a part of their id; by the whole id it finds any."""
