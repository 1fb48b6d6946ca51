"""A cut's rows and its store: a store holds what its newest cut says, or is brought there."""

from marm.errors import FolderError
from marm.store import ArenaStore, Rows, Store
from marm.train.cut import Cut


def apply(store: Store, number: int, rows: Rows, cleared: bool) -> None:
    """Put what a cut gained into the store."""
    if cleared:
        store.clear()
    store.append(rows, number)


def catch_up(store: Store, cut: Cut, url: str) -> None:
    """Bring a store to a cut whose rows it may have missed. Errors: ``FolderError`` where it is another run's, or older."""
    if isinstance(store, ArenaStore):
        store.load(cut.path / "store")
        return
    last, cleared = store.last_cut(), cut.state["cleared"]
    if last > cut.number:
        raise FolderError(f"{url}: is ahead of {_run(cut)}, so another run wrote to it: train into a new store")
    if last < cut.number - 1 and not cleared:
        raise FolderError(
            f"{url}: holds cut {last}, {_run(cut)} cut {cut.number}: what lies between is in no other place: "
            "put the store back, or train into a new folder"
        )
    if last < cut.number:
        apply(store, cut.number, cut.rows(), cleared)


def _run(cut: Cut) -> str:
    return str(cut.path.parent.parent)
