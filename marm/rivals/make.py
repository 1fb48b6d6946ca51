"""Which rival a run file names."""

from collections.abc import Callable

from torch import Tensor

from marm.config import RunConfig
from marm.model.outcomes import OutcomeCodes
from marm.model.ranker import marm_layers
from marm.model.reader import Reader
from marm.rivals.din import Din
from marm.rivals.eta import Eta
from marm.rivals.hstu import Hstu
from marm.rivals.mean import MeanPooling
from marm.rivals.recompute import Recompute
from marm.rivals.sasrec import SasRec
from marm.rivals.sim import SimHard, SimSoft
from marm.rivals.twin import Twin

READERS: dict[str, Callable[[RunConfig, Tensor], Reader]] = {
    "mean": MeanPooling,
    "din": Din,
    "sim_hard": SimHard,
    "sim_soft": SimSoft,
    "twin": Twin,
    "eta": Eta,
    "sasrec": SasRec,
    "hstu": Hstu,
}


def make_reader(run: RunConfig) -> Reader:
    """What reads histories in a run (``model.kind``)."""
    if run.model.kind == "marm":
        return marm_layers(run.model, run.tasks, run.memory.codec, run.compared_ids)
    codes = OutcomeCodes(run.tasks, run.model.outcomes)
    if run.model.kind == "recompute":
        return Recompute(run, codes, len(run.tasks) if run.model.task_layers else 0)
    return READERS[run.model.kind](run, codes.parts())
