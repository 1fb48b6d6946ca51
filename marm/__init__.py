"""MARM: recommenders that remember what each attention layer made of a user's past (arXiv 2411.09425).

>>> result = marm.train("run.toml", "runs/first")
>>> marm.open("runs/first").score("user 7", ["item 1", "item 2"], at=1_700_000_000)
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from marm.config import RunConfig
    from marm.train.score import Scorer

__all__ = ["open", "train"]

# Loaded now, while it is empty: loaded later, the package would take the place of the function of the same name.
import_module("marm.train")


def train(run: "RunConfig | str | Path", out: str | Path, sets: Sequence[str] = ()) -> dict[str, Any]:
    """Train a run file (or settings) into a new folder; returns what ``result.json`` holds. Errors: ``MarmError``."""
    from marm.config import RunConfig, load_run
    from marm.train import run as commands

    config = run if isinstance(run, RunConfig) else load_run(Path(run), sets)
    return commands.train(config, Path(out))


def open(folder: str | Path) -> "Scorer":
    """Open the newest cut of a run folder for scoring. Errors: ``FolderError``."""
    from marm.train.score import Scorer

    return Scorer(Path(folder))
