"""The stages of a cut, measured on a log that they do not learn from: the catalogue is the cut's, as a server at it has it."""

from dataclasses import replace

from marm.engine.batches import Asked
from marm.engine.engine import Attended
from marm.engine.exposures import Exposures
from marm.stages.stages import Stages
from marm.types import F32, Bool


class MeasuredStages(Stages):
    """Counts anew, and learns nothing; items that the cut does not know are new to every order."""

    def begin(self, events: int) -> None:
        """Before an evaluation of so many events; after ``load``. Events are numbered on from the end of the log."""
        late = len(self.log) + 4 * events // 5
        if self.retrieval:
            self.retrieval.begin_anew(late)
        if self.cascading:
            self.cascading.begin_anew(late)

    def scored(self, seen: Exposures, asked: Asked, attended: Attended, new: Bool, step: int, measured: bool) -> None:
        """A pass that scored exposures."""
        del measured
        self.measure(replace(seen, number=seen.number + len(self.log)), asked, attended, new, step)

    def learn(self, seen: Exposures, asked: Asked, attended: Attended, label_QT: F32) -> None:
        """Nothing."""
