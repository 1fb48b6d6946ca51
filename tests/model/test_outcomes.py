import numpy as np
import pytest
import torch

from marm.config import TaskConfig
from marm.config.data import check_outcomes
from marm.model.outcomes import OutcomeCodes

NAN = float("nan")
CLICK = TaskConfig(column="click")
WATCH = TaskConfig(column="watch", kind="regression", edges=[1.0, 2.0])


def rows(*values: list[float]) -> np.ndarray:
    return np.array(values, np.float32)


def test_each_combination_of_outcomes_has_a_code_of_its_own_and_unknown_is_none_of_them() -> None:
    codes = OutcomeCodes({"click": CLICK, "watch": WATCH})
    every = rows(*([click, watch] for click in (NAN, 0, 1) for watch in (NAN, 0.5, 1.5, 2.5)))
    assert codes.encode(every).tolist() == list(range(1, 13)) and len(codes) == 13


def test_a_number_on_an_edge_is_in_the_upper_bucket() -> None:
    codes = OutcomeCodes({"watch": WATCH})
    assert codes.encode(rows([0.99], [1.0], [1.99], [2.0], [-5.0])).tolist() == [2, 3, 3, 4, 2]


def test_a_code_is_read_back_as_what_each_task_was() -> None:
    codes = OutcomeCodes({"click": CLICK, "seen": TaskConfig(every_row=True), "watch": WATCH})
    labels = rows([NAN, 1, 0.5], [0, 1, 1.0], [1, 1, 2.5], [1, 1, NAN])
    assert codes.names == ["click", "watch"]
    assert codes.decode(codes.encode(labels)).tolist() == [[-1, 0], [0, 1], [1, 2], [1, -1]]
    assert codes.decode(np.zeros(1, np.int16)).tolist() == [[-2, -2]]
    full = OutcomeCodes({"watch": TaskConfig(column="watch", kind="regression", edges=[float(i) for i in range(255)])})
    assert full.decode(full.encode(rows([-1.0], [300.0]))).tolist() == [[0], [255]]


def test_the_sign_of_an_outcome_is_that_of_the_first_task_that_rows_carry() -> None:
    seen = TaskConfig(every_row=True)
    assert OutcomeCodes({"seen": seen, "watch": WATCH, "click": CLICK}).worth().tolist() == [-1, -1, -2, -1, 0, 0, 0, 0]
    assert OutcomeCodes({"seen": seen}).worth().tolist() == [0]
    full = OutcomeCodes({"watch": TaskConfig(column="watch", kind="regression", edges=[float(i) for i in range(255)])})
    assert full.worth()[[0, 1, -1]].tolist() == [-1, -2, 0]


def test_a_codes_parts_are_one_row_for_each_task_and_unknown_has_its_own() -> None:
    codes = OutcomeCodes({"click": CLICK, "watch": WATCH})
    parts = codes.parts()
    assert parts.shape == (13, 1 + 3 + 4)
    assert parts[0].nonzero().flatten().tolist() == [0]
    assert parts[1:, 0].sum() == 0 and torch.equal(parts[1:].sum(1), torch.full((12,), 2.0))
    click_1_watch_high = int(codes.encode(rows([1, 2.5]))[0])
    assert parts[click_1_watch_high].nonzero().flatten().tolist() == [1 + 2, 1 + 3 + 3]
    click_0_watch_nan = int(codes.encode(rows([0, NAN]))[0])
    assert parts[click_0_watch_nan].nonzero().flatten().tolist() == [1 + 1, 1 + 3 + 0]


def test_tasks_left_out_of_histories_do_not_move_the_code() -> None:
    tasks = {"click": CLICK, "like": TaskConfig(column="like", history=False), "buy": TaskConfig(every_row=True)}
    codes = OutcomeCodes(tasks)
    assert codes.encode(rows([1, 0, 1], [1, 1, 0], [1, NAN, NAN])).tolist() == [3, 3, 3]
    assert len(OutcomeCodes(tasks, used=False)) == 2


def test_not_observed_counts_as_the_lowest_where_codes_run_out() -> None:
    edges = [float(i) for i in range(255)]
    codes = OutcomeCodes({"watch": TaskConfig(column="watch", kind="regression", edges=edges)})
    assert len(codes) == 257
    assert codes.encode(rows([NAN], [-1.0], [300.0])).tolist() == [1, 1, 256]


def test_too_many_combinations_name_the_settings() -> None:
    tasks = {f"t{i}": TaskConfig(column="c") for i in range(9)}
    with pytest.raises(ValueError, match=r"t0, .*t8 have 512 combinations .* 256 fit: set tasks\.t8\.history = false"):
        check_outcomes(tasks)
    check_outcomes({**tasks, "t8": TaskConfig(column="c", history=False)})
