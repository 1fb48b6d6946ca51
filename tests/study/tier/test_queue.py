"""Queues wait as formulas say, and calls go the way that a few worked out by hand go."""

import numpy as np
import pytest

from marm.study.tier.queue import Calls, Site, simulate


def single(at: np.ndarray, work: np.ndarray) -> Calls:
    """A call of one part to one node for each moment."""
    none = np.zeros(len(at))
    return Calls(at, np.full(len(at), -1), none, np.arange(len(at) + 1), np.zeros(len(at), np.int64), work, none)


@pytest.mark.parametrize("busy", [0.3, 0.8])
@pytest.mark.parametrize("even", [True, False])
def test_one_node_waits_as_the_formulas_of_m_d_1_and_m_m_1_say(busy: float, even: bool) -> None:
    draw = np.random.default_rng(3)
    count = 400_000
    work = np.ones(count) if even else draw.exponential(1.0, count)
    began, done = simulate(single(np.cumsum(draw.exponential(1 / busy, count)), work), Site(np.zeros(1, np.int64), 0.0))
    # Pollaczek and Khinchine: the mean wait is busy E[s^2] / (2 E[s] (1 - busy)).
    waits = busy * (1.0 if even else 2.0) / (2 * (1 - busy))
    assert (done - began - work).mean() == pytest.approx(waits, rel=0.05)
    if not even:  # how long a call takes in M/M/1 is exponential
        assert np.quantile(done - began, 0.99) == pytest.approx(np.log(100) / (1 - busy), rel=0.07)


def test_a_call_is_done_when_its_last_part_is_there() -> None:
    """Two nodes behind one network: worked at once, sent one after the other."""
    calls = Calls(
        at=np.array([0.0, 0.5]), client=np.array([-1, -1]), after=np.array([0.25, 0.0]), first=np.array([0, 2, 3]),
        node=np.array([0, 1, 0]), work=np.array([1.0, 2.0, 1.5]), send=np.array([3.0, 1.0, 1.0]),
    )  # fmt: skip
    began, done = simulate(calls, Site(np.zeros(2, np.int64), 0.2))
    # Node 0 works 0.1 to 1.1 and 1.1 to 2.6, node 1 0.1 to 2.1; the network sends 1.1 to 4.1, to 5.1, to 6.1.
    assert began.tolist() == [0.0, 0.5]
    assert done.tolist() == pytest.approx([5.1 + 0.1 + 0.25, 6.1 + 0.1])


def test_a_client_asks_again_when_it_has_its_answer_and_not_before_its_time() -> None:
    calls = Calls(
        at=np.array([0.0, 0.0, 10.0]), client=np.zeros(3, np.int64), after=np.full(3, 0.5), first=np.arange(4),
        node=np.zeros(3, np.int64), work=np.ones(3), send=np.zeros(3),
    )  # fmt: skip
    began, done = simulate(calls, Site(np.zeros(1, np.int64), 0.2))
    assert began.tolist() == pytest.approx([0.0, 1.7, 10.0]) and done.tolist() == pytest.approx([1.7, 3.4, 11.7])


def test_a_node_that_was_idle_works_longer_and_one_that_has_work_does_not() -> None:
    none = np.zeros(4)
    calls = Calls(
        at=np.array([1.0, 1.5, 3.0, 9.0]), client=np.full(4, -1), after=none, first=np.arange(5),
        node=np.zeros(4, np.int64), work=np.ones(4), send=none,
    )  # fmt: skip
    _, done = simulate(calls, Site(np.zeros(1, np.int64), 0.0, wake=0.5))
    # Worked 1 to 2.5, its successors at once: to 3.5, to 4.5. At 9 nobody has asked for long.
    assert done.tolist() == pytest.approx([2.5, 3.5, 4.5, 10.5])
