"""What a first look takes for users, outcomes and files beside a log, and what it doubts."""

import numpy as np
import polars as pl
import pytest

from marm.config import load_run
from marm.data.init import init
from marm.data.validate import validate
from marm.errors import DataError
from tests.data.logs import write
from tests.data.test_init import ROWS, binary, guessed, log_of
from tests.data.test_shapes import unsure

RNG = np.random.default_rng(7)


@pytest.mark.parametrize(
    "name",
    ["skipped", "disliked", "not_interested", "is_hidden", "reported", "unsubscribed", "skips", "removed_from_list"],
)
def test_what_went_badly_is_no_first_task(tmp_path, name):
    run = guessed(tmp_path, log_of(**{name: binary(), "completed": binary(0.5)}))
    assert list(run.tasks) == ["completed", name.removeprefix("is_")]
    assert unsure(tmp_path) == []


@pytest.mark.parametrize(
    ("values", "equals"),
    [(binary(), 0), (binary().astype(bool), False), (binary().astype(float), 0), (["Yes", "No"], "No"), ([0, 1, 3], 0)],
)
def test_an_outcome_that_is_negative_and_alone_is_turned_round(tmp_path, values, equals):
    run = guessed(tmp_path, log_of(skipped=np.resize(values, ROWS)))
    assert [(name, task.column, task.equals) for name, task in run.tasks.items()] == [
        ("not_skipped", "skipped", equals)
    ]
    assert "all outcomes found are negative (skipped): not_skipped is what is wished for" in unsure(tmp_path)


def test_of_several_negative_outcomes_the_most_frequent_is_turned_round(tmp_path):
    run = guessed(tmp_path, log_of(reported=binary(0.1), skipped=binary(0.6)))
    assert list(run.tasks) == ["not_skipped", "reported"]
    assert (
        "all outcomes found are negative (skipped, reported): not_skipped is what is wished for; "
        'serve.score = "not_skipped - reported" takes reported into account'
    ) in unsure(tmp_path)


def test_rows_that_are_each_of_a_negative_kind_are_put_in_order_by_what_is_least_likely(tmp_path):
    run = guessed(tmp_path, log_of(event_type=RNG.choice(["hide", "report"], ROWS, p=[0.7, 0.3])))
    assert (list(run.tasks), run.serve.score) == (["hide", "report"], "-hide - report")
    assert any(
        line.startswith("all outcomes found are negative (hide, report): serve.score") for line in unsure(tmp_path)
    )


def test_what_was_not_skipped_went_well(tmp_path):
    run = guessed(tmp_path, log_of(not_skipped=binary(), hated=binary(0.1)))
    assert list(run.tasks) == ["not_skipped", "hated"]


def test_watching_to_the_end_is_what_is_wished_for_beside_a_negative_outcome(tmp_path):
    watched = {"play_ms": RNG.integers(0, 9000, ROWS), "duration_ms": RNG.integers(5000, 9000, ROWS)}
    assert next(iter(guessed(tmp_path, log_of(skipped=binary(), **watched)).tasks)) == "watch_ratio"
    assert "[tasks.long_watch]" in (tmp_path / "run.toml").read_text()


@pytest.mark.parametrize("name", ["user_agent", "user_agent_id", "customer_segment", "account_type", "device_os"])
def test_what_says_something_of_a_user_is_none(tmp_path, name):
    frame = log_of(**{name: RNG.integers(0, 9, ROWS)}, is_click=binary()).rename({"user_id": "visit"})
    assert guessed(tmp_path, frame.select(name, pl.exclude(name))).data.user == "visit"
    write(frame.drop("visit"), tmp_path / "none.parquet")
    with pytest.raises(DataError, match="no column looks like the user"):
        init(tmp_path / "none.parquet", tmp_path / "none.toml")


def test_a_column_of_one_value_is_no_user_and_few_values_are_doubted(tmp_path):
    frame = log_of(account=["web"] * ROWS, is_click=binary())
    assert guessed(tmp_path, frame).data.user == "user_id"
    write(frame.drop("user_id"), tmp_path / "one.parquet")
    with pytest.raises(
        DataError, match=r"like the user among .* \(account is web on all rows seen\): name it with --user"
    ):
        init(tmp_path / "one.parquet", tmp_path / "one.toml")
    assert init(tmp_path / "one.parquet", tmp_path / "one.toml", given={"user": "account"}).user == "account"
    doubt = "account has 2 values on the 2,000 rows seen: if those are no people, name the user with --user COLUMN"
    write(
        pl.concat([frame.drop("user_id").with_columns(account=pl.lit(by)) for by in "ab" * 3][:5]),
        tmp_path / "two.parquet",
    )
    init(tmp_path / "two.parquet", tmp_path / "two.toml")
    assert f"# unsure: {doubt}\n" in (tmp_path / "two.toml").read_text()


@pytest.mark.parametrize(("again", "said"), [([7], "7"), ([7, 7, 9], "7 and 1 more")])
def test_a_file_beside_the_log_with_an_id_twice_is_said_to_be_left_out(tmp_path, again, said):
    write(pl.DataFrame({"item_id": [*range(60), *again], "genre": "a"}), tmp_path / "items.csv")
    write(log_of(user_id=RNG.integers(0, 30, ROWS), is_click=binary()), tmp_path / "purchases.parquet")
    run = guessed(tmp_path, log_of(is_click=binary()))
    doubt = f"items.csv has item_id {said} more than once: left out; keep one row for each, then run this again"
    assert (run.data.items, unsure(tmp_path)) == (None, [doubt])
    text = (tmp_path / "run.toml").read_text()
    assert (
        '# [data.items]\n# file = "items.csv"  # left out: item_id 7 is there more than once\n# id = "item_id"' in text
    )


@pytest.mark.parametrize("spoil", ["N/A", "\\N", "?"])
def test_an_outcome_that_one_value_makes_text_is_said_to_be_one(tmp_path, spoil):
    like, play, stars = (
        values.astype(str) for values in (binary(), RNG.integers(0, 9000, ROWS), RNG.integers(1, 6, ROWS))
    )
    like[7] = play[3] = play[4] = stars[5] = spoil
    more = {"is_click": binary(), "duration_ms": RNG.integers(5000, 9000, ROWS)}
    more |= {"order_number": [f"00{at}" for at in range(ROWS)], "share": ["a", "b", "7", "c", "d"] * (ROWS // 5)}
    guessed(tmp_path, log_of(like=like, play_ms=play, stars=stars, **more), "log.csv")
    wanted = "looks like an outcome, but holds"
    assert unsure(tmp_path) == [
        f"{column} {wanted} '{spoil}' ({count} of 400 values seen): make it empty or null, then run this again"
        for column, count in (("like", 1), ("play_ms", 2), ("stars", 1))
    ]


def test_an_outcome_that_is_text_for_no_reason_seen_is_doubted_too(tmp_path):
    guessed(tmp_path, log_of(play_ms=RNG.integers(0, 9000, ROWS).astype(str), is_click=binary()))
    assert unsure(tmp_path) == ["play_ms looks like an outcome, but is text: write it as numbers, then run this again"]


@pytest.mark.parametrize("first", [True, False])
def test_a_day_of_nothing_but_names_tells_no_types(tmp_path, first):
    (tmp_path / "days").mkdir()
    log = log_of(like=binary(), play_ms=RNG.integers(0, 9000, ROWS), duration_ms=RNG.integers(5000, 9000, ROWS))
    for name, rows in (("1.csv", 0 if first else ROWS), ("2.csv", ROWS if first else 0)):
        write(log.head(rows), tmp_path / "days" / name)
    init(tmp_path / "days", tmp_path / "run.toml")
    run = load_run(tmp_path / "run.toml")
    assert (set(run.tasks), unsure(tmp_path)) == ({"like", "watch_ratio"}, [])
    assert validate(run).summary.rows == ROWS


def test_all_records_that_hold_an_id_are_named_and_what_to_do_gives_a_log_that_can_be_read(tmp_path):
    log = log_of(is_click=binary())
    user = log["user_id"].alias("id").to_frame().to_struct("customer")
    item = log["item_id"].alias("id").to_frame().to_struct("product")
    where = pl.DataFrame({"city": ["a"] * ROWS}).to_struct("where")
    frame = log.select("timestamp", "is_click").with_columns(where, user, item)
    write(frame, tmp_path / "log.parquet")
    with pytest.raises(DataError, match="make columns of what customer and product hold") as error:
        init(tmp_path / "log.parquet", tmp_path / "run.toml")
    step = str(error.value).rpartition("hold: ")[2]
    assert step == 'frame.unnest("customer", separator="_").unnest("product", separator="_")'
    flat = frame.unnest("customer", separator="_").unnest("product", separator="_")
    run = guessed(tmp_path, flat.drop("where"), "flat.parquet")
    assert (run.data.user, run.data.item) == ("customer_id", "product_id")


@pytest.mark.parametrize(
    "kinds",
    [
        ["purchase", "checkout", "add_to_cart", "favourite", "click", "view", "remove_from_cart"],
        ["transaction", "addtocart", "view"],
        ["order", "cart", "like", "click", "not_interested"],
    ],
)
def test_the_kind_that_is_worth_most_is_the_first_task(tmp_path, kinds):
    assert list(guessed(tmp_path, log_of(event=RNG.choice(kinds, ROWS))).tasks) == kinds
    assert "# The first task says which rows went well" in (tmp_path / "run.toml").read_text()


def test_columns_that_stand_alike_have_the_order_of_the_log(tmp_path):
    run = guessed(tmp_path, log_of(**{f"is_{name}": binary() for name in ("click", "like", "add_to_cart", "purchase")}))
    assert list(run.tasks) == ["purchase", "add_to_cart", "click", "like"]


@pytest.mark.parametrize("name", ["username", "domain_userid", "anonymousId", "distinct_id"])
def test_a_user_is_named_in_one_word_with_what_follows_or_as_nobody_in_particular(tmp_path, name):
    run = guessed(tmp_path, log_of(click=binary(), domain=1).rename({"user_id": name}))
    assert (run.data.user, run.data.item) == (name, "item_id")


def test_a_column_of_one_value_is_no_item(tmp_path):
    frame = log_of(app_id=["web"] * ROWS, click=binary())
    assert guessed(tmp_path, frame.rename({"item_id": "thing_item"})).data.item == "thing_item"
    write(frame.drop("item_id"), tmp_path / "one.parquet")
    with pytest.raises(DataError, match="no column looks like the item among user_id"):
        init(tmp_path / "one.parquet", tmp_path / "one.toml")
