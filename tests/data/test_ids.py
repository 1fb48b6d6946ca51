from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marm.data.ids import as_text, hash_feature, hash_text
from marm.data.lookup import Lookup
from marm.errors import DataError


def test_seven_as_integer_float_and_text_is_one_id():
    dtypes = [pl.Int16, pl.UInt64, pl.Float32, pl.Float64, pl.Decimal(10, 2)]
    hashes = {int(hash_text(pl.Series([7], dtype=dtype))[0]) for dtype in dtypes}
    assert hashes == {int(hash_text(pl.Series(["7"]))[0])}


def test_floats_that_are_not_whole_keep_their_digits():
    assert as_text(pl.Series([7.0, 7.5, -0.25])).to_list() == ["7", "7.5", "-0.25"]


def test_null_and_nan_hash_to_0_and_empty_text_does_not():
    assert hash_text(pl.Series([None, 1.0, float("nan")])).tolist()[::2] == [0, 0]
    assert hash_text(pl.Series(["", None]))[0] != 0


def test_hashes_are_the_same_in_every_process_and_release():
    assert hash_text(pl.Series(["7", "x-länger-als-acht"])).tolist() == [13850710935479194603, 9501397906104639643]


@given(st.lists(st.text(max_size=20), max_size=30))
def test_equal_texts_hash_alike_wherever_they_stand_and_others_differ(texts):
    hashes = hash_text(pl.Series(texts, dtype=pl.String))
    alone = [int(hash_text(pl.Series([text]))[0]) for text in texts]
    assert hashes.tolist() == alone
    assert len(set(alone)) == len(set(texts))


def test_hashes_of_running_numbers_use_every_bit_evenly():
    hashes = hash_text(pl.Series(np.arange(100_000)))
    assert len(np.unique(hashes)) == 100_000
    ones = [float(((hashes >> np.uint64(bit)) & np.uint64(1)).mean()) for bit in range(64)]
    assert max(abs(share - 0.5) for share in ones) < 0.01


def test_the_same_value_of_two_features_is_two_numbers():
    values = pl.Series(["de"])
    assert hash_feature("language", values)[0] != hash_feature("country", values)[0]


@pytest.mark.parametrize(("value", "kind"), [(["a"], "List"), (timedelta(seconds=1), "Duration"), (b"a", "Binary")])
def test_a_list_a_duration_and_bytes_are_no_id(value, kind):
    with pytest.raises(DataError, match=f"column tags is a {kind}"):
        hash_text(pl.Series("tags", [value]))


@given(st.sets(st.integers(1, 2**64 - 1), max_size=200), st.lists(st.integers(1, 2**64 - 1), max_size=20))
def test_a_lookup_finds_what_is_there_and_nothing_else(ids, others):
    held = np.array(sorted(ids), np.uint64)
    asked = np.array([*sorted(ids), *others], np.uint64)
    expected = [{int(key): row for row, key in enumerate(held)}.get(int(key), -1) for key in asked]
    assert Lookup(held).find(asked).tolist() == expected
