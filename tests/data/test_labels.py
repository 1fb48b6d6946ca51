import numpy as np
import polars as pl
import pytest

from marm.config import TaskConfig
from marm.data.labels import label
from marm.data.trouble import Chunk, Places, TroubleError

NAN = np.nan


def labels_of(column, by=None, **task):
    frame = pl.DataFrame({"x": column, **({"by": by} if by else {})}, strict=False)
    settings = TaskConfig.model_validate({"column": "x", **task})
    return label(Chunk(frame, np.arange(frame.height), Places(["log.csv"], [0])), "click", settings)


@pytest.mark.parametrize(
    ("column", "task", "expected"),
    [
        ([1, 0, None], {}, [1, 0, NAN]),
        ([True, False, None], {}, [1, 0, NAN]),
        ([4.5, 3.0, None], {"at_least": 4}, [1, 0, NAN]),
        (["buy", "pv", None], {"equals": "buy"}, [1, 0, NAN]),
        ([2, 1, None], {"equals": "2"}, [1, 0, NAN]),
        ([2.0, 1.5, NAN], {"equals": 2}, [1, 0, NAN]),
        ([True, False], {"equals": 1}, [1, 0]),
        ([1, 0], {"equals": True}, [1, 0]),
        ([2.5, None], {"kind": "regression"}, [2.5, NAN]),
        ([1e39, -1e300, 3.0], {"kind": "regression"}, [NAN, NAN, 3]),
        (["x", None], {"every_row": True}, [1, NAN]),
    ],
)
def test_an_outcome_becomes_its_label_and_null_stays_unknown(column, task, expected):
    made = labels_of(column, **task)
    assert made.dtype == np.float32
    np.testing.assert_array_equal(made, np.array(expected, np.float32))


def test_a_ratio_that_no_number_holds_is_unknown():
    made = labels_of([1e300, 6], by=[1e-300, 3], divide_by="by", kind="regression")
    np.testing.assert_array_equal(made, np.array([NAN, 2], np.float32))


def test_division_by_zero_or_null_is_unknown():
    made = labels_of([6, 6, 6, None], by=[3, 0, None, 3], divide_by="by", kind="regression")
    np.testing.assert_array_equal(made, np.array([2, NAN, NAN, NAN], np.float32))


def test_a_plain_binary_column_with_another_value_names_row_and_value():
    with pytest.raises(
        TroubleError, match=r"log.csv row 3: x = 2 is neither 0 nor 1: set tasks.click.at_least"
    ) as error:
        labels_of([0, 1, 2, 2])
    assert error.value.count == 2


@pytest.mark.parametrize(
    ("task", "text"),
    [({"at_least": 4}, True), ({}, True), ({"kind": "regression"}, False), ({"divide_by": "x"}, False)],
)
def test_text_where_a_number_was_wanted_names_its_row_and_what_can_be_done(task, text):
    with pytest.raises(TroubleError) as error:
        labels_of(["1", "high"], **task)
    equals = "; where it is text, set tasks.click.equals to the one that is positive" if text else ""
    assert str(error.value) == (
        "log.csv row 2: x = 'high' is not a number: "
        f"write null where nothing was observed, or leave such rows out with data.where{equals}"
    )
