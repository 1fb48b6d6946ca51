"""A formula is arithmetic over tasks and nothing else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marm.config import Formula, order_by

NAMES = ["click", "watch"]
CLICK, WATCH = np.array([0.5, 0.25, 0.0], np.float32), np.array([2.0, -1.0, 8.0], np.float32)
LOWEST = -np.finfo(np.float64).max


def value(text: str) -> list[float]:
    return Formula(text, NAMES)({"click": CLICK, "watch": WATCH}).tolist()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("click", [0.5, 0.25, 0.0]),
        (" click * (1 + 2 * watch) ", [2.5, -0.25, 0.0]),
        ("-click + +1", [0.5, 0.75, 1.0]),
        ("watch ** 2 / 4 - 1", [0.0, -0.75, 15.0]),
        ("2 ** 3 ** 2", [512.0] * 3),
        ("min(watch, max(click, 1))", [1.0, -1.0, 1.0]),
        ("log1p(click)", np.log1p(CLICK.astype(np.float64)).tolist()),
        ("3", [3.0] * 3),
    ],
)
def test_arithmetic_is_what_it_says(text: str, wanted: list[float]) -> None:
    assert value(text) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize(
    "text", ["watch / 0", "0 / click", "(-1) ** 0.5", "10 ** 400", "log1p(0 - 2)", "1 / 0", "1e308 * 10"]
)
def test_what_is_no_finite_number_is_the_lowest(text: str) -> None:
    assert LOWEST in value(text)
    assert np.isfinite(value(text)).all()


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "click.__class__",
        "click[0]",
        "(lambda: 1)()",
        "[1, 2]",
        "{1: 2}",
        "click if click else 1",
        "click > 1",
        "click and watch",
        "not click",
        "~1",
        "click // 2",
        "click % 2",
        "click @ watch",
        "1 << 99",
        "'text'",
        "f'{click}'",
        "True",
        "None",
        "1j",
        "...",
        "(x := 1)",
        "click; watch",
        "click = 1",
        "print(click)",
        "min(click)",
        "min(click, watch, 1)",
        "min(*[click, watch])",
        "max(click, watch, key=abs)",
        "log1p()",
        "min",
        "clik",
        "",
        "   ",
        "((((",
        "click watch",
        "\0",
    ],
)
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Formula(text, NAMES)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("clik", "no task clik; the tasks are click, watch"),
        ("abs(click)", r"abs\(click\) is none of numbers"),
        ("min(click)", "min takes 2"),
        ("click +", "'click \\+' is no formula: write it of numbers"),
        ("click+" * 200 + "1", "at most 500"),
    ],
)
def test_a_refusal_says_what_and_what_may_be(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Formula(text, NAMES)


def test_nothing_is_computed_while_it_is_read_and_no_number_grows_without_end() -> None:
    assert value("9 ** 9 ** 9 ** 9") == [LOWEST] * 3
    deep = "(" * 90 + "1" + ")" * 90
    assert value(deep) == [1.0] * 3
    assert value("-" * 400 + "1") == [1.0] * 3


def test_nothing_is_scored_of_no_candidates() -> None:
    none = np.zeros(0, np.float32)
    assert Formula("click * 2", NAMES)({"click": none, "watch": none}).tolist() == []


_OPERATIONS = {"+": np.add, "-": np.subtract, "*": np.multiply}
_LEAF = {
    "click": CLICK.astype(np.float64),
    "watch": WATCH.astype(np.float64),
    "2": np.float64(2),
    "0.5": np.float64(0.5),
}
_TREE = st.recursive(
    st.sampled_from(list(_LEAF.items())),
    lambda inner: st.tuples(inner, st.sampled_from(list(_OPERATIONS)), inner).map(
        lambda t: (f"({t[0][0]} {t[1]} {t[2][0]})", _OPERATIONS[t[1]](t[0][1], t[2][1]))
    ),
    max_leaves=8,
)


@given(_TREE)
def test_any_tree_is_what_numpy_makes_of_it(tree: tuple[str, np.ndarray]) -> None:
    text, wanted = tree
    assert value(text) == pytest.approx(np.broadcast_to(wanted, 3).tolist())


@given(st.text(max_size=30))
def test_any_text_is_a_formula_or_a_value_error(text: str) -> None:
    try:
        found = value(text)
    except ValueError:
        return
    assert np.isfinite(found).all()


def test_candidates_are_put_in_order_by_the_formula_or_by_the_first_task() -> None:
    predicted = np.array([[0.1, 0.5], [0.2, 0.25]], np.float32)
    assert order_by(None, ["click", "like"])(predicted) == pytest.approx([0.1, 0.2])
    assert order_by("click * like", ["click", "like"])(predicted) == pytest.approx([0.05, 0.05])
    assert len(order_by("click + 1", ["click", "like"])(predicted[:0])) == 0
