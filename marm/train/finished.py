"""A run's newest cut, put together to be scored with: weights, items as they were known, memory as of that cut."""

from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

from marm.config import RunConfig
from marm.data.journal import ItemJournal
from marm.data.parts import Manifest
from marm.data.stream import EventLog
from marm.data.told import Told
from marm.errors import FolderError
from marm.store import ArenaStore, LmdbStore, Store
from marm.store.above import Above
from marm.train.cut import Cut, load_weights
from marm.train.reading import CutReader
from marm.train.setup import Parts, Wraps, build, set_threads, threads_of

AS_IT_IS = Wraps()


def open_run(
    out: Path,
    scratch: Path,
    log: EventLog,
    run: RunConfig,
    copy: bool,
    wraps: Wraps = AS_IT_IS,
    told: Told | None = None,
    hot: int | None = None,
) -> Parts:
    """The newest cut of a run folder, its memory copied to ``scratch``, or read where it lies, as of that cut.

    ``wraps``: what stands before a store that is read where it lies; ``told``: items as they are known, if not as of the cut;
    ``hot``: bytes of the hot arena, if other than the run's.
    """
    cut = Cut(out)
    make = partial(
        build,
        run,
        log,
        threads=set_threads(run, threads_of(cut.state)),
        outstanding=Manifest.read(out / "events").outstanding,
        hot=hot,
    )
    if run.memory.url.startswith("arena:"):
        parts = make(scratch, wrap=partial(_filled, cut, wraps))
    elif copy and run.memory.url.startswith("lmdb:"):
        original = make(out, readonly=True).store
        assert isinstance(original, LmdbStore)
        with closing(original):
            original.copy(scratch / "memory")
        parts = make(scratch, url="lmdb://memory")
    else:
        # A store on other machines is not copied: who is appended to is, and lies in the scratch folder from then on.
        reader = CutReader(out, Wraps(above=partial(_above, scratch)) if copy else wraps)
        parts = make(out, readonly=True, wrap=reader)
        cut = reader.cut or cut
    try:
        load_weights(parts.engine.model, parts.engine.table, cut)
        parts.engine.show_items(told or ItemJournal(out, log).at(cut.state.get("items", 0)))
    except FolderError:
        parts.store.close()
        raise
    parts.engine.model.eval()
    parts.engine.memory.adopt()
    parts.engine.version = cut.state["steps"]
    return replace(parts, cut=cut.number)


def _above(scratch: Path, store: Store) -> Store:
    return Above(store, LmdbStore(scratch / "memory", store.layout))


def _filled(cut: Cut, wraps: Wraps, store: Store) -> Store:
    assert isinstance(store, ArenaStore)
    store.load(cut.path / "store")
    return wraps.above(store)
