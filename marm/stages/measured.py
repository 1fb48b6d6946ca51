"""The stages of a cut, measured on a log that they do not learn from: the catalogue is the cut's, as a server at it has it."""

from dataclasses import replace

from marm.engine.exposures import Exposures
from marm.stages.shown import Shown
from marm.stages.stages import Stages
from marm.types import F32


class MeasuredStages(Stages):
    """Counts anew, and learns nothing; items that the cut does not know are new to every order."""

    def begin(self, events: int) -> None:
        """Before an evaluation of so many events; after ``load``. Events are numbered on from the end of the log."""
        late = len(self.log) + 4 * events // 5
        if self.retrieval:
            self.retrieval.begin_anew(late)
        if self.cascading:
            self.cascading.begin_anew(late)

    def scored(self, shown: Shown, step: int, measured: bool) -> None:
        """A pass that scored exposures."""
        del measured
        self.measure(replace(shown, seen=self._late(shown.seen), whole=self._late(shown.whole)), step)

    def _late(self, seen: Exposures) -> Exposures:
        return replace(seen, number=seen.number + len(self.log))

    def learn(self, shown: Shown, label_QT: F32) -> None:
        """Nothing."""
