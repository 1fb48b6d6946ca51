"""A simulated short-video app: a log whose truth is known, to see what a model finds of it."""

from marm.world.config import EFFECTS, WorldConfig, parse_effects
from marm.world.folder import check_free, read_world, run_file, write
from marm.world.log import Simulation, simulate
from marm.world.make import World, make_world

__all__ = [
    "EFFECTS",
    "Simulation",
    "World",
    "WorldConfig",
    "check_free",
    "make_world",
    "parse_effects",
    "read_world",
    "run_file",
    "simulate",
    "write",
]
