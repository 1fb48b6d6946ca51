"""What is told of items is learned from: as of the part of the stream that it was there for, again the same after a kill."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from marm.data import feedback, inbox
from marm.data.journal import FILE, ItemJournal
from marm.data.stream import EventLog
from marm.data.values import hashes_of
from marm.errors import FolderError
from marm.stages.index import read_index
from marm.train import run as commands
from marm.train.cut import Cut
from marm.train.follow import follow
from marm.train.score import Scorer, open_stages
from tests.train.feeding import assert_same_learning, copy_of, events_of, lines, put, quick
from tests.train.folders import stages, weights
from tests.train.logs import STAGES, log_frame, run_over, write_world
from tests.train.test_follow_kill import FollowReaper
from tests.train.test_kill import Killed

TRAINED, ALL = 100, 160
TOLD = [
    {"item": 3, "features": {"price": 900.0, "brand": "b9"}},
    {"item": "new", "features": {"price": 4.0, "genres": ["g1", "g2"], "shelf": "s1"}},
    {"item": 5, "features": {"shelf": "s2"}},
    {"item": "bare", "features": {"shelf": "s1"}},
    {"item": "gone", "withdrawn": True},
    {"item": 3, "features": {"price": None}},
    {"item": 19, "features": {"picture": [1, 2, 3, 4], "genres": ["g3"]}},
]
pytestmark = pytest.mark.usefixtures("no_report")


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with stages over the first part of a log; the rest waits in its inbox, without the item's own category."""
    folder, whole = tmp_path_factory.mktemp("begun"), log_frame(events=ALL)
    small = {"memory": {"url": "lmdb://memory"}, "train": {"cut_every": 25, "micro_batch": 8}, "stages": STAGES}
    commands.train(run_over(write_world(folder / "world", whole[:TRAINED]), **small), folder / "run")
    records = list(events_of(whole[TRAINED:]))
    for record in records:
        del record["context"]["shelf"]
    put(folder / "run", records)
    return folder / "run"


@pytest.fixture
def told_by_and_by(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Tells a folder of items; of them a line more is there for each ten events that were appended."""
    ends = np.cumsum([0, *(len(line) + 1 for line in lines(TOLD))])
    # A few records at a time, so that there are many parts, and the same ones whoever is killed.
    monkeypatch.setattr(feedback, "MOST_HELD", 5)
    monkeypatch.setattr(inbox, "read", partial(inbox.read, limit_bytes=1000))
    monkeypatch.setattr(ItemJournal, "end", lambda self: int(ends[min((len(self.log) - TRAINED) // 10, len(TOLD))]))

    def tell(folder: Path) -> None:
        (folder / FILE).write_bytes(b"".join(line + b"\n" for line in lines(TOLD)))

    return tell


def test_told_items_are_learned_from_as_of_their_part_and_the_same_after_a_kill(
    begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told_by_and_by: Callable[[Path], None]
) -> None:
    reaper = FollowReaper(monkeypatch)
    whole, broken, plain = (copy_of(begun, tmp_path / name) for name in ("whole", "broken", "plain"))
    told_by_and_by(whole)
    told_by_and_by(broken)
    follow(whole, quick(whole), until_idle=0)
    reaper.arm(int(0.6 * reaper.calls), False)
    with pytest.raises(Killed):
        follow(broken, quick(broken), until_idle=0)
    reaper.arm(-1, True)
    follow(broken, quick(broken), until_idle=0)
    sizes = [part.items for part in EventLog(whole / "events").manifest.growth.parts]
    assert sizes == sorted(sizes) and len(set(sizes)) > 4
    assert_same_learning(whole, broken)
    assert Cut(whole).state["stages"] == Cut(broken).state["stages"]
    assert all(tensor.equal(stages(broken)[name]) for name, tensor in stages(whole).items())
    monkeypatch.setattr(ItemJournal, "end", lambda self: 0)
    follow(plain, quick(plain), until_idle=0)
    assert not weights(whole)["table.weight"].equal(weights(plain)["table.weight"])


def test_the_next_cut_has_told_items_in_its_index_with_their_features(begun: Path, tmp_path: Path) -> None:
    out = copy_of(begun, tmp_path / "run")
    (out / FILE).write_bytes(b"".join(line + b"\n" for line in lines(TOLD)) + b'{"item": "half')
    follow(out, quick(out), until_idle=0)
    scorer, cut = Scorer(out), Cut(out)
    ready = open_stages(scorer, out)
    found, side = ready.items.tolist(), scorer.engine.told.side
    new, gone, third = hashes_of(["new", "gone", 3]).tolist()
    assert new in found and gone not in found and side is not None
    assert float(side.columns["price"][side.find(np.array([new], np.uint64))[0]]) == 4.0  # type: ignore[arg-type]
    assert np.isnan(side.columns["price"][side.find(np.array([third], np.uint64))[0]])  # type: ignore[arg-type]
    retrieval = ready.retrieval
    assert retrieval is not None
    index = read_index(cut.path, cut.state["stages"]["retrieval"]["index"], len(found), retrieval.config.width + 1)
    made = retrieval.item_vectors(np.arange(len(found)))
    assert index.reconstruct_n(0, len(found)) == pytest.approx(made, abs=1e-6)
    as_it_was = scorer.engine.told
    scorer.engine.show_items(ItemJournal(out, scorer.log).at(0))
    other = retrieval.item_vectors(np.arange(len(found)))
    changed = {found[at] for at in np.flatnonzero(np.abs(other - made).max(1) > 1e-6).tolist()}
    assert changed == set(hashes_of(["new", "bare", 3, 19]).tolist())
    assert as_it_was.names[new] == "new"
    # The log's own category of what an event did not say: as told, since that came after it.
    log = scorer.log
    fifth = np.flatnonzero(log.item_hashes(np.arange(TRAINED, ALL)) == hashes_of([5])[0]) + TRAINED
    assert len(fifth)
    assert (log.item_columns(fifth) == as_it_was.logged.over(hashes_of([5]), np.zeros((1, 1), np.uint64))).all()
    scorer.close()


def test_a_journal_that_lost_what_was_learned_from_is_named(begun: Path, tmp_path: Path) -> None:
    out = copy_of(begun, tmp_path / "run")
    (out / FILE).write_bytes(json.dumps(TOLD[0]).encode() + b"\n")
    follow(out, quick(out), until_idle=0)
    (out / FILE).unlink()
    with pytest.raises(FolderError, match=r"items\.ndjson: 0 bytes, \d+ were learned from: put it back"):
        Scorer(out)
