"""A cut's rows and its store: a store holds what its newest cut says, or is brought there."""

from marm.errors import FolderError
from marm.store import ArenaStore, Rows, Store
from marm.train.cut import Cut, cut_numbers


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
    last = store.last_cut()
    if last > cut.number:
        raise FolderError(f"{url}: is ahead of {_run(cut)}, so another run wrote to it: train into a new store")
    # Servers may have lost more than one cut that they had acknowledged: what the folder keeps is applied again.
    folder = cut.path.parent.parent
    missed = [Cut(folder, number) for number in cut_numbers(folder) if last < number <= cut.number]
    begin = max((i for i, one in enumerate(missed) if one.state["cleared"]), default=0)
    if missed and missed[begin].number > last + 1 and not missed[begin].state["cleared"]:
        raise FolderError(
            f"{url}: holds cut {last}, {_run(cut)} cut {cut.number}: what lies between is in no other place: "
            "put the store back, or train into a new folder"
        )
    for one in missed[begin:]:
        apply(store, one.number, one.rows(), one.state["cleared"])


def _run(cut: Cut) -> str:
    return str(cut.path.parent.parent)
