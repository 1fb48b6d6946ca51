"""Processes that train one run together: each owns its users and its rows of the table."""

from marm.ranks.gloo import Gloo, asked_for, joined
from marm.ranks.group import ALONE, Group, RankError, on_all, own, owners
from marm.ranks.sums import over_ranks

__all__ = ["ALONE", "Gloo", "Group", "RankError", "asked_for", "joined", "on_all", "over_ranks", "own", "owners"]
