"""What is told of items is on the disk, holds from then on, and comes back whole; what cannot be is refused whole."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marm.config import load_run
from marm.data.ids import hash_texts, salt_of
from marm.data.live import LiveLog
from marm.data.stream import EventLog
from marm.data.values import hashes_of
from marm.errors import DataError, DiskError
from marm.server.catalogue import Catalogue
from marm.server.times import Times

NOW = 1_600_000_000
Open = Callable[[], Catalogue]


@pytest.fixture
def opened(folder: Path) -> Iterator[Open]:
    """Opens the folder's catalogue anew, as often as asked."""
    run, log = load_run(folder / "run.toml"), EventLog(folder / "events")
    times, made = Times(log, LiveLog(run, folder / "events")), list[Catalogue]()

    def begin() -> Catalogue:
        made.append(Catalogue(folder, log, times))
        return made[-1]

    yield begin
    for one in made:
        one.close()


def shown(catalogue: Catalogue, at: int, *items: Any) -> list[bool]:
    return catalogue.available(hashes_of(list(items)), at * 1_000_000).tolist()


def price(catalogue: Catalogue, item: Any) -> float:
    side = catalogue.told.side
    assert side is not None
    (row,) = side.find(hashes_of([item]))
    return float(side.columns["price"][row]) if row >= 0 else float("nan")


def test_an_untouched_catalogue_is_the_item_file(opened: Open) -> None:
    catalogue = opened()
    assert catalogue.told.names == {}
    assert shown(catalogue, NOW, 1, "2", "never told") == [True] * 3
    assert price(catalogue, 3) == 9.0


def test_a_window_opens_and_closes_and_a_withdrawal_ends_it(opened: Open) -> None:
    catalogue = opened()
    catalogue.tell([{"item": 1, "available_from": NOW, "available_until": NOW + 10}, {"item": "x", "withdrawn": True}])
    assert [shown(catalogue, at, 1)[0] for at in (NOW - 1, NOW, NOW + 9, NOW + 10)] == [False, True, True, False]
    assert shown(catalogue, NOW, "x", 2) == [False, True]
    catalogue.tell([{"item": 1, "withdrawn": True}, {"item": "x", "withdrawn": False}])
    assert shown(catalogue, NOW, 1, "x") == [False, True]
    catalogue.tell([{"item": "1", "withdrawn": False}])
    assert shown(catalogue, NOW, 1) == [True] and shown(catalogue, NOW + 10, 1) == [False]


def test_features_are_laid_over_the_file_one_by_one(opened: Open) -> None:
    catalogue = opened()
    before = catalogue.told.side
    assert before is not None
    catalogue.tell([{"item": 3, "features": {"price": 5}}, {"item": "new", "features": {"genres": ["g1", "g2"]}}])
    side = catalogue.told.side
    assert side is not None and len(side.ids) == len(before.ids) + 1 and (np.diff(side.ids.astype(object)) > 0).all()
    assert (price(catalogue, 3), price(catalogue, 4)) == (5.0, 16.0) and np.isnan(price(catalogue, "new"))
    old, new = before.find(hashes_of([3])), side.find(hashes_of([3, "new"]))
    for name in ("genres", "brand", "picture"):
        kept, held = before.columns[name], side.columns[name]
        if name == "genres":
            assert held.take(new[:1]).values.tolist() == kept.take(old).values.tolist()
        else:
            np.testing.assert_array_equal(held[new[:1]], kept[old])
    assert side.columns["genres"].take(new[1:]).values.tolist() == hash_texts(["g1", "g2"], salt_of("genres")).tolist()
    catalogue.tell([{"item": 3, "features": {"price": None}}])
    assert np.isnan(price(catalogue, 3))


def test_a_logged_category_that_was_told_stands_over_the_log(opened: Open) -> None:
    catalogue = opened()
    catalogue.tell([{"item": 1, "features": {"shelf": "s9"}}, {"item": 2, "features": {"price": 1}}])
    columns = catalogue.told.logged.over(hashes_of([1, 2, 3]), np.full((3, 1), 7, np.uint64))
    assert columns[:, 0].tolist() == [int(hash_texts(["s9"], salt_of("shelf"))[0]), 7, 7]


def test_all_of_it_is_there_when_opened_again_and_half_a_line_is_not(opened: Open, folder: Path) -> None:
    first = opened()
    first.tell([{"item": 3, "features": {"price": 5}}])
    first.tell([{"item": "x", "withdrawn": True}, {"item": 3, "features": {"brand": "b9"}}])
    journal = folder / "items.ndjson"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"item": 4, "withd')
    again = opened()
    assert journal.read_bytes() == whole and whole.count(b"\n") == 3
    assert price(again, 3) == 5.0 and shown(again, NOW, "x", 4) == [False, True]
    assert again.told.names == first.told.names


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"features": {"colour": 1}}, r"items\[1\]: no item feature colour; the run has .*price"),
        ({"features": {"price": "dear"}}, r"items\[1\]: price = 'dear' is no number"),
        ({"features": {"picture": [1.0]}}, r"items\[1\]: picture = .* give a list of 4 numbers"),
        ({"features": {"brand": ["b1"]}}, r"items\[1\]: brand = .* is no category"),
        ({"available_from": "soon"}, r"items\[1\]: available_from = 'soon' is no time"),
    ],
)
def test_a_bad_item_is_named_and_nothing_of_its_request_is_taken(
    opened: Open, folder: Path, bad: dict[str, Any], says: str
) -> None:
    catalogue = opened()
    with pytest.raises(DataError, match=says):
        catalogue.tell([{"item": 1, "withdrawn": True}, {"item": 2, **bad}])
    assert catalogue.told.names == {} and (folder / "items.ndjson").read_bytes() == b""
    assert shown(catalogue, NOW, 1) == [True]


def test_a_full_disk_takes_back_what_it_wrote(opened: Open, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = opened()
    catalogue.tell([{"item": 1, "withdrawn": True}])
    before, real, calls = (folder / "items.ndjson").read_bytes(), os.write, list[int]()

    def full(handle: int, data: bytes) -> int:
        calls.append(handle)
        if len(calls) == 1:
            return real(handle, data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(DiskError, match="No space left"):
            catalogue.tell([{"item": 2, "withdrawn": True}])
    assert (folder / "items.ndjson").read_bytes() == before
    assert shown(catalogue, NOW, 1, 2) == [False, True]
    catalogue.tell([{"item": 3, "withdrawn": True}])
    assert shown(opened(), NOW, 1, 2, 3) == [False, True, False]
