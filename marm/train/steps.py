"""Where a step ends: a function of the log alone, so that a resumed run takes the same steps."""

import numba as nb
import numpy as np

from marm.config import TrainConfig
from marm.data.events import Events
from marm.data.ids import mix_all
from marm.data.stream import EventLog
from marm.store.slots import SlotMap
from marm.types import I64, U64, Bool


def step_size(events: int, config: TrainConfig) -> int:
    """Events that a step may take after this many of the stream: few at first, so that a short log gives many updates."""
    return min(config.micro_batch, max(config.first_batch, events // config.updates))


def sampled(number: I64, seed: int, share: float) -> Bool:
    """Which events of the stream are learned from: the same ones in whatever pass they are."""
    chance = mix_all(number.astype(np.uint64) ^ mix_all(np.array([seed % 2**64], np.uint64)))
    drawn: Bool = (chance >> np.uint64(11)).astype(np.float64) < share * 2.0**53
    return drawn


def next_events(log: EventLog, position: int, most: int, live: int, end: int) -> Events:
    """The next micro-batch: at most ``most`` events and ``live`` of a user, whole tie groups; one of them may be larger."""
    span = most + 1
    while True:
        high = min(position + span, end)
        events = log.read(position, high)
        user = SlotMap(len(events)).insert(events.user)
        # Where a filter reads an outcome that is not known yet, the event may enter: the outcome must not move the step.
        stop = first_stop(user, events.time, events.history | (events.known > events.time), most, live)
        # A group that fills all that was read may go on.
        if stop < len(events) or high == end:
            return events if stop == len(events) else log.read(position, position + stop)
        span *= 4


@nb.njit(cache=True, nogil=True)
def first_stop(user: I64, time: I64, history: Bool, most: int, live: int) -> int:
    """Events until a limit would be passed; never inside a tie group (one user at one time), never before one whole group."""
    count = np.zeros(len(user), np.int64)
    begin = 0
    while begin < len(user):
        end, entering = begin, 0
        while end < len(user) and user[end] == user[begin] and time[end] == time[begin]:
            entering += history[end]
            end += 1
        if begin > 0 and (end > most or count[user[begin]] + entering > live):
            return begin
        count[user[begin]] += entering
        begin = end
    return begin


def tie_groups(user: U64, time: I64) -> tuple[I64, I64]:
    """First and one past the last event of the tie group of each event, among consecutive ones."""
    if not len(user):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    new = np.concatenate([[True], (user[1:] != user[:-1]) | (time[1:] != time[:-1])])
    begins = np.flatnonzero(new)
    group = np.cumsum(new) - 1
    return begins[group], np.append(begins[1:], len(user))[group]
