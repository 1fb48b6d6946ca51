from pathlib import Path

import pytest

from marm.errors import SettingError
from marm.store import ArenaStore, LmdbStore, open_store
from tests.store.rings import LAYOUT


def test_a_relative_place_lies_below_the_base_and_an_absolute_one_does_not(tmp_path: Path) -> None:
    for url, place in (("lmdb://memory", "run/memory"), (f"lmdb://{tmp_path}/else/where", "else/where")):
        store = open_store(url, LAYOUT, tmp_path / "run")
        assert isinstance(store, LmdbStore) and store.durable
        assert (tmp_path / place / "00000000" / "data.mdb").is_file()
        store.close()


def test_arena_is_in_this_process(tmp_path: Path) -> None:
    store = open_store("arena://", LAYOUT, tmp_path)
    assert isinstance(store, ArenaStore) and not store.durable
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["rocks://x", "memory", "lmdb:/memory", "LMDB://memory"])
def test_an_unknown_kind_names_the_setting_and_the_known_ones(url: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError) as raised:
        open_store(url, LAYOUT, tmp_path)
    assert (
        str(raised.value)
        == f'memory.url = "{url}": no such store; known are arena://, lmdb://, redis://, rediss://, valkey://'
    )


@pytest.mark.parametrize(
    ("url", "wanted"), [("arena://here", "give arena://"), ("lmdb://", "give lmdb://folder or lmdb:///absolute/folder")]
)
def test_a_place_where_none_is_wanted_or_none_where_one_is(url: str, wanted: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=wanted):
        open_store(url, LAYOUT, tmp_path)
