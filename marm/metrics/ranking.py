"""How well scores order outcomes: over all, within each user, within each event."""

import math
from dataclasses import dataclass

import numpy as np

from marm.metrics.runs import count_runs, labelled, runs_of, score_codes, sorted_keys
from marm.types import F32, F64, I64, U64


@dataclass(frozen=True)
class GaucResult:
    """GAUC, and whom it is about."""

    value: float
    """NaN where no user has both classes."""
    users_used: int
    users_left_out: int
    """Users whose labels are all alike: their order says nothing."""
    events_used: int


@dataclass(frozen=True)
class GroupAucs:
    """AUC of each group that has both classes."""

    aucs: F64
    sizes: I64
    """Scored rows of the group: its weight in GAUC."""
    left_out: int
    groups: U64
    """Their ids."""

    def weighted(self) -> float:
        """Sum of AUCs times sizes; not a dot product, whose last bits depend on the number of threads."""
        return float(np.sum(self.aucs * self.sizes))


def auc(scores: F32 | F64, labels: F32) -> float:
    """AUC = (pairs in order + ties / 2) / (positives x negatives); NaN for one class or a NaN score.

    Mann and Whitney 1947 (the U statistic); Fawcett 2006, "An introduction to ROC analysis". (n,), labels above 1/2 are
    positive, NaN labels are left out.
    """
    here = labelled(labels)
    scores, labels = scores[here], labels[here]
    if np.isnan(scores).any():
        return math.nan
    runs = runs_of(sorted_keys(score_codes(scores), labels > 0.5))
    pairs = 2 * int(runs.positives.sum()) * int(runs.negatives.sum())
    return runs.wins2() / pairs if pairs else math.nan


def gauc(users: U64, scores: F32 | F64, labels: F32) -> GaucResult:
    """GAUC = sum_u n_u AUC_u / sum_u n_u over users u with both classes, n_u their labelled rows.

    Zhou et al. 2018, "Deep Interest Network for Click-Through Rate Prediction", section 6.1, with events as weights.
    """
    groups = group_aucs(users, scores, labels)
    used = int(groups.sizes.sum())
    value = groups.weighted() / used if used else math.nan
    return GaucResult(value, len(groups.aucs), groups.left_out, used)


def per_event_auc(events: I64, scores: F32 | F64, labels: F32) -> float:
    """Mean over events of the share of an event's drawn negatives that score below its positive, ties counting half.

    ``events`` (n,): number of the event a row belongs to; those without both classes are left out; NaN if none is left.
    """
    aucs = group_aucs(events.view(np.uint64), scores, labels).aucs
    return float(aucs.mean()) if len(aucs) else math.nan


def gauc_interval(
    users: U64, scores: F32 | F64, labels: F32, seed: int, times: int = 200, share: float = 0.95
) -> tuple[float, float]:
    """Interval that holds ``share`` of the GAUCs of users drawn with replacement; NaN where GAUC has no value.

    Percentile bootstrap over users (Efron 1979): a user's events are not independent, so users are drawn, not events.
    """
    groups = group_aucs(users, scores, labels)
    if not len(groups.aucs):
        return math.nan, math.nan
    draw = np.random.default_rng(seed)
    weighted, values = groups.aucs * groups.sizes, np.empty(times)
    for i in range(times):
        chosen = draw.integers(len(weighted), size=len(weighted))
        values[i] = weighted[chosen].sum() / groups.sizes[chosen].sum()
    low, high = np.quantile(values, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


def group_aucs(groups: U64, scores: F32 | F64, labels: F32) -> GroupAucs:
    """AUC of each group (in rising order of its id) that has both classes; a NaN score makes its group's AUC NaN."""
    here = labelled(labels)
    names, group = np.unique(groups[here], return_inverse=True)
    scores, positive = scores[here], labels[here] > 0.5
    keys = sorted_keys(score_codes(scores), positive, group)
    begin, positives, negatives = count_runs(keys)
    owner = (keys[begin] >> np.uint64(33)).astype(np.int64)
    # Negatives below a run within its group: all below it, less those of the groups before.
    n_pos, n_neg = _sums(owner, positives, len(names)), _sums(owner, negatives, len(names))
    below = np.cumsum(negatives) - negatives - (np.cumsum(n_neg) - n_neg)[owner]
    wins2 = _sums(owner, (positives * (2 * below + negatives)).astype(np.int64), len(names))
    both = (n_pos > 0) & (n_neg > 0)
    aucs = wins2[both] / (2 * n_pos[both] * n_neg[both])
    lost = np.bincount(group[np.isnan(scores)], minlength=len(names)) > 0
    aucs[lost[both]] = math.nan
    return GroupAucs(aucs, (n_pos + n_neg)[both], int(len(names) - both.sum()), names[both])


def _sums(owner: I64, values: I64, groups: int) -> I64:
    """Sum of each group's runs; every group has one, and they stand in its order."""
    if not groups:
        return np.zeros(0, np.int64)
    return np.add.reduceat(values, np.searchsorted(owner, np.arange(groups)))
