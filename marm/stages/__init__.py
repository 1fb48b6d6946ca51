"""The stages before ranking: they read what ranking made, and move none of it."""

from marm.stages.measured import MeasuredStages
from marm.stages.ready import Ready
from marm.stages.shown import Shown
from marm.stages.stages import Saved, Stages

__all__ = ["MeasuredStages", "Ready", "Saved", "Shown", "Stages"]
