"""Sections about learning: from the log, and from what comes after it."""

from typing import Annotated

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from marm.config.base import Settings


class TrainConfig(Settings):
    """How the stream is learned from."""

    seed: int = 0
    """Of weights and drawn negatives."""

    sample: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the events that are learned from, drawn by seed; all are scored and remembered."""

    passes: PositiveInt = 1
    """Times through the log; memory is cleared in between."""

    device: str = "auto"
    """``auto``, ``cpu`` or ``cuda``."""

    threads: NonNegativeInt = 0
    """Shares of a step, side by side; 0: one for each core. Results are the same bit for bit only at the same count."""

    micro_batch: PositiveInt = 256
    """Most events of a step."""

    first_batch: PositiveInt = 32
    """Most events of the first steps: each is an update, and a young model needs many."""

    updates: PositiveInt = 400
    """A step takes at most one in this many of the events so far: steps grow as the stream does."""

    segment: NonNegativeInt = 0
    """Learn a user's events together once this many are waiting; 0: as they fall."""

    segment_after: PositiveFloat = 3600.0
    """Seconds of stream time after which a waiting segment is learned all the same."""

    live: PositiveInt = 16
    """Most live events of a user in a pass (m_max)."""

    learning_rate: PositiveFloat = 1e-3
    """Of Adam, for all but the table."""

    table_rate: PositiveFloat = 0.05
    """Of row-wise Adagrad, for the table."""

    average: NonNegativeInt = 0
    """Steps over which the dense weights that score are averaged; 0: those that learn score. Costs a second pass forth
    where outcomes are learned as they fall; else nothing."""

    warmup: NonNegativeInt = 50
    """Steps over which both rates rise."""

    clip: PositiveFloat = 1.0
    """Largest norm of the dense gradient."""

    cut_every: PositiveInt = 500_000
    """Events between cuts."""

    window_events: PositiveInt | None = None
    """Events of a window of the progressive metrics; none given: 10,000, or a tenth of a log that has fewer than 100,000."""


class FollowConfig(Settings):
    """How a trained run goes on learning from what comes: see ``marm follow``."""

    log: str | None = None
    """What to learn from: ``kafka://host:port/topic``, a folder or glob; else ``data.log`` if a topic, or the inbox."""

    wait: NonNegativeFloat = 30.0
    """Seconds after an event came in, in which its outcomes may follow; then they are taken as they are."""

    otherwise: dict[str, bool | int | float | str] = Field(default_factory=dict)
    """Outcome columns and what they are where nothing was heard in time (``click = 0``); null, not observed, for others."""

    gather: NonNegativeFloat = 30.0
    """Seconds that fewer events than ``train.micro_batch`` wait for more: an update from few is a noisy one."""

    cut_every: PositiveFloat = 60.0
    """Seconds between cuts, if anything was learned."""

    ahead: NonNegativeFloat = 3600.0
    """Seconds by which an event's time may be ahead of the clock; one from the far future would make all others late."""

    ids: PositiveInt = 1_000_000
    """Newest event ids by which an event that comes twice is known."""

    keep: NonNegativeFloat = 30 * 86_400.0
    """Seconds that files of the inbox stay after their last line, once all they hold is in every kept cut; then they go."""
