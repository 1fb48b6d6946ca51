"""Exposures on their way through the engine: columns of events that can be picked and put together in any order."""

from dataclasses import dataclass

import numpy as np

from marm.data.events import Column, Events, join_columns, take
from marm.types import F32, I16, I64, U64, Bool


@dataclass(frozen=True)
class Exposures:
    """Events, not necessarily consecutive ones (E of them)."""

    number: I64
    """(E,) place in the stream."""
    user: U64
    item: U64
    time: I64
    known: I64
    history: Bool
    outcome: I16
    labels: F32
    """(E, T)."""
    item_columns: U64
    """(E, C) logged categories of the item."""
    user_columns: dict[str, Column]
    context: dict[str, Column]

    def __len__(self) -> int:
        return len(self.number)

    def pick(self, at: I64) -> "Exposures":
        """The exposures at these places."""
        return Exposures(
            **{name: getattr(self, name)[at] for name in _ARRAYS},
            user_columns={name: take(column, at) for name, column in self.user_columns.items()},
            context={name: take(column, at) for name, column in self.context.items()},
        )


_ARRAYS = ("number", "user", "item", "time", "known", "history", "outcome", "labels", "item_columns")


def from_events(events: Events, outcome: I16) -> Exposures:
    """Events of the stream with their outcome codes."""
    columns = list(events.item_columns.values())
    return Exposures(
        events.start + np.arange(len(events)),
        events.user,
        events.item,
        events.time,
        events.known,
        events.history,
        outcome,
        events.labels,
        np.stack(columns, 1) if columns else np.zeros((len(events), 0), np.uint64),
        events.user_columns,
        events.context,
    )


def join(*parts: Exposures) -> Exposures:
    """One after the other."""
    first = parts[0]
    return Exposures(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS},
        user_columns={name: join_columns([part.user_columns[name] for part in parts]) for name in first.user_columns},
        context={name: join_columns([part.context[name] for part in parts]) for name in first.context},
    )
