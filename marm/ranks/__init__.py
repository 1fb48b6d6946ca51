"""Processes that train one run together: each owns its users and its rows of the table."""

from marm.ranks.gloo import Gloo, asked_for, joined
from marm.ranks.group import ALONE, Group, RankError, own, owners

__all__ = ["ALONE", "Gloo", "Group", "RankError", "asked_for", "joined", "own", "owners"]
