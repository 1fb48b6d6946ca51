"""`marm study codecs`: what coarser states cost in quality and save in bytes, against float32.

Trainings differ from each other by more than a codec: a bit in the first step moves all that follow. So the drift of scores
is that of one set of weights, a float32 training's last, over the whole log with states made anew in either codec.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from marm.config import RunConfig
from marm.metrics.probability import CLIP
from marm.nn.codec import CODECS
from marm.report.text import size
from marm.study.compare import Compared
from marm.study.models import laid_over
from marm.study.runs import Show, Training, kept
from marm.study.variants import Design, Figures
from marm.train.replay import rescored
from marm.types import F64

BASE = "float32"


def codecs() -> Design:
    """Every codec."""
    note = (
        "States a user: of a full window, all depths. Drift: mean change of the log odds, and what one event in a hundred is "
        "above, where the same weights read states in this codec instead of float32."
    )
    variants = {name: {"memory": {"codec": name}} for name in CODECS}
    told = {"states a user": size, "drift": _told, "drift p99": _told}
    return Design("What coarser states cost", BASE, variants, note, _measured, told)


def state_bytes(run: RunConfig) -> int:
    """Bytes of one user's states, the window full, and what is searched before it."""
    rows = run.memory.window + (run.memory.search.history if run.memory.search else 0)
    return run.depths * rows * CODECS[run.memory.codec].bytes(run.model.width)


def _measured(model: Compared, out: Path, show: Show) -> Figures:
    run = model.trained[0].training.run
    changes = [_drift(one.training.run, out, show) for one in model.trained]
    drift = {name: float(np.mean([change[name] for change in changes])) for name in changes[0]}
    return {"states a user": state_bytes(run), **drift}


def _drift(run: RunConfig, out: Path, show: Show) -> dict[str, float]:
    """Of the weights that the same seed learned in float32."""
    exact = laid_over(run, {"memory": {"codec": BASE}})
    folder = Training(BASE, exact).folder(out)
    if run.memory.codec == BASE:
        return {"drift": 0.0, "drift p99": 0.0}

    def measure() -> dict[str, float]:
        odds = [_log_odds(folder, one, show) for one in (exact, run)]
        change = np.abs(odds[1] - odds[0])
        return {"drift": float(change.mean()), "drift p99": float(np.quantile(change, 0.99))}

    return kept(out / "drift" / f"{folder.name}-{run.memory.codec}.json", measure)


def _log_odds(folder: Path, run: RunConfig, show: Show) -> F64:
    """Of the binary tasks, over the last fifth of what was scored."""
    binary = [at for at, task in enumerate(run.tasks.values()) if task.kind == "binary"]
    with TemporaryDirectory(prefix="marm-") as scratch, show(f"{folder.name} in {run.memory.codec}") as progress:
        spool = rescored(folder, run, Path(scratch), progress)
        scores = spool.read(len(spool) * 4 // 5, len(spool))["scores"][:, binary].astype(np.float64)
        spool.close()
    likely = np.clip(scores, CLIP, 1 - CLIP)
    odds: F64 = np.log(likely) - np.log1p(-likely)
    return odds


def _told(value: float) -> str:
    return f"{value:.2g}"
