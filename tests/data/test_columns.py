import numpy as np
import polars as pl
import pytest

from marm.data.columns import How, convert, vector_width
from marm.data.ids import hash_feature
from marm.data.trouble import Chunk, Places, TroubleError
from marm.data.values import Converter


def made(series, kind, width=1, separator="|"):
    chunk = Chunk(pl.DataFrame({"x": series}), np.arange(len(series)), Places(["items.csv"], [0]))
    return convert(chunk, "x", How(kind, width, separator))


def hashes(*values):
    return hash_feature("x", pl.Series(values)).tolist()


def test_a_category_is_its_hash_and_null_is_0():
    assert made(pl.Series([3, None]), "category").to_list() == [*hashes("3"), 0]


@pytest.mark.parametrize(
    "series",
    [
        pl.Series([["a", "b"], [], None, ["c", None]]),
        pl.Series(["a|b", "", None, "c|"]),
        pl.Series([["a", "b"], [], None, ["c", None]], dtype=pl.List(pl.Categorical)),
    ],
)
def test_tags_are_ragged_hashes_of_lists_or_of_text_split_at_the_bar(series):
    assert made(series, "tags").to_list() == [hashes("a", "b"), [], [], hashes("c")]


LISTS = ["['Sci-Fi', \"Fi\"]", "[3,9]", "a , b", "a", "[]", "", " , ", "'a' ", "Bars (Sports), Rock 'n'"]


def test_lists_in_text_are_their_parts_whatever_is_around_them():
    """And one value alone, as a request has it, is the same."""
    found = made(pl.Series(LISTS), "tags", separator=",").to_list()
    parts = [["Sci-Fi", "Fi"], ["3", "9"], ["a", "b"], ["a"], [], [], [], ["a"], ["Bars (Sports)", "Rock 'n'"]]
    assert found == [hashes(*one) if one else [] for one in parts]
    one_by_one = [Converter("x", How("tags", separator=","))(text).values.tolist() for text in LISTS]
    assert one_by_one == found


def test_tags_of_integers_hash_as_their_text():
    assert made(pl.Series([[1, 2]]), "tags").to_list() == [hashes("1", "2")]


def test_a_number_that_is_missing_or_infinite_is_nan():
    column = made(pl.Series([1.5, None, float("inf")]), "number")
    assert column.dtype == pl.Float32
    np.testing.assert_array_equal(column.to_numpy(), np.array([1.5, np.nan, np.nan], np.float32))


@pytest.mark.parametrize("dtype", [pl.List(pl.Float64), pl.Array(pl.Float32, 2), pl.List(pl.Int64)])
def test_a_vector_has_one_width_and_null_is_zeros(dtype):
    column = made(pl.Series([[1, 2], None, [3, 4]], dtype=dtype), "vector", 2)
    assert column.dtype == pl.Array(pl.Float32, 2)
    assert column.to_numpy().tolist() == [[1, 2], [0, 0], [3, 4]]


def test_a_vector_of_another_width_names_its_row():
    with pytest.raises(TroubleError, match=r"items.csv row 3: x = \[1.0\] is not 2 wide like the first"):
        made(pl.Series([[1.0, 2.0], None, [1.0]]), "vector", 2)


def test_a_vector_with_a_hole_names_its_row():
    with pytest.raises(TroubleError, match=r"items.csv row 2: x = .* holds null, NaN or infinity"):
        made(pl.Series([[1.0, 2.0], [1.0, None]]), "vector", 2)


def test_the_width_of_a_vector_is_that_of_its_first_value():
    assert vector_width(pl.Series([[1.0, 2.0, 3.0]])) == 3
    with pytest.raises(TroubleError, match="null on every row"):
        vector_width(pl.Series("x", [], dtype=pl.List(pl.Float64)))


def test_a_list_is_no_category():
    with pytest.raises(TroubleError, match='set its kind to "tags" or "vector"'):
        made(pl.Series([["a"]]), "category")
