import math

import numpy as np
import polars as pl
import pytest

from marm.config import load_run
from marm.data.init import init
from marm.data.prepare import prepare
from marm.data.validate import validate
from marm.errors import DataError, FolderError
from tests.data.logs import START, write

ROWS = 400
RNG = np.random.default_rng(5)


def log_of(**columns):
    base = {
        "user_id": RNG.integers(0, 30, ROWS),
        "item_id": RNG.integers(0, 60, ROWS),
        "timestamp": START + np.arange(ROWS),
    }
    return pl.DataFrame({**base, **columns})


def guessed(folder, frame, name="log.parquet"):
    """The run that is guessed of a log; it loads, validates and can be prepared."""
    write(frame, folder / name)
    init(folder / name, folder / "run.toml")
    run = load_run(folder / "run.toml")
    assert validate(run).ok
    prepare(run, folder / "events")
    return run


def binary(share=0.3):
    return (RNG.permutation(ROWS) < share * ROWS).astype(int)


def test_a_short_video_log_gives_clicks_likes_and_the_share_watched(tmp_path):
    frame = log_of(
        time_ms=(START + np.arange(ROWS)) * 1000,
        date=20220408,
        is_click=binary(),
        is_like=binary(0.1),
        long_view=binary(),
        is_hate=0,
        is_rand=binary(),
        play_time_ms=RNG.integers(0, 9000, ROWS),
        duration_ms=RNG.integers(5000, 9000, ROWS),
        profile_stay_time=RNG.integers(0, 9, ROWS),
        tab=RNG.integers(0, 4, ROWS),
    ).drop("timestamp").rename({"item_id": "video_id"})  # fmt: skip
    run = guessed(tmp_path, frame)
    assert (run.data.user, run.data.item, run.data.time) == ("user_id", "video_id", "time_ms")
    assert set(run.tasks) == {"click", "like", "long_view", "watch_ratio"}
    assert run.tasks["watch_ratio"].divide_by == "duration_ms"
    assert run.data.feedback_delay == 9.0
    assert set(run.features.context) == {"tab"}


def test_the_time_is_when_it_was_shown_and_not_when_the_session_or_the_item_began(tmp_path):
    shown = START + np.arange(ROWS)
    began = {"session_start_time": shown - 5, "logged_time": START + RNG.permutation(ROWS)}
    frame = log_of(is_click=binary(), **began).rename({"timestamp": "shown_time"})
    front = ["logged_time", "session_start_time"]
    assert guessed(tmp_path, frame.select(*front, pl.exclude(front))).data.time == "shown_time"


def test_ratings_are_likes_from_4_of_5(tmp_path):
    frame = log_of(rating=RNG.integers(1, 6, ROWS)).rename({"user_id": "userId", "item_id": "movieId"})
    run = guessed(tmp_path, frame, "ratings.csv")
    assert (run.data.user, run.data.item) == ("userId", "movieId")
    assert (run.tasks["like"].column, run.tasks["like"].at_least) == ("rating", 4)


def test_kinds_of_behaviour_are_a_task_each(tmp_path):
    run = guessed(tmp_path, log_of(event_type=RNG.choice(["view", "cart", "purchase"], ROWS)))
    assert {name: task.equals for name, task in run.tasks.items()} == {v: v for v in ("view", "cart", "purchase")}


def test_a_log_of_purchases_only_gets_drawn_negatives_and_nulls_are_left_out(tmp_path):
    users = [None, *RNG.integers(0, 9, ROWS - 1).tolist()]
    frame = log_of(CustomerID=users, Quantity=RNG.integers(1, 9, ROWS)).drop("user_id").rename({"item_id": "StockCode"})
    run = guessed(tmp_path, frame)
    assert run.data.where == "CustomerID IS NOT NULL"
    assert [task.every_row for task in run.tasks.values()] == [True]
    assert run.negatives.per_event == 4
    assert not run.features.context


def test_a_user_column_that_is_a_word_of_sql_is_quoted(tmp_path):
    run = guessed(tmp_path, log_of(user=[None] + [1, 2, 3] * 133).drop("user_id"))
    assert run.data.where == '"user" IS NOT NULL'


def test_side_files_nearby_are_found_by_their_ids_and_figures_of_the_whole_period_left_out(tmp_path):
    items = pl.DataFrame(
        {
            "item_id": [str(n) for n in range(60)],
            "category": [n % 5 for n in range(60)],
            "genres": ["a|b", "c"] * 30,
            "embedding": [[0.1, 0.2]] * 60,
            "title": [f"title {n}" for n in range(60)],
            "n_clicks": range(60),
            "popularity_band": ["hot", "cold"] * 30,
            "avg_rating": [0.5] * 60,
        }
    )
    users = pl.DataFrame({"user_id": range(30), "gender": ["f", "m"] * 15, "n_orders": range(30)})
    write(items, tmp_path / "things.parquet")
    write(users, tmp_path / "people.csv")
    write(pl.DataFrame({"item_id": [900, 901]}), tmp_path / "other.parquet")
    (tmp_path / "broken.parquet").write_text("nothing")
    run = guessed(tmp_path, log_of(is_click=binary()))
    assert (run.data.items.file, run.data.items.id) == ("things.parquet", "item_id")
    assert run.data.users.file == "people.csv"
    kinds = {name: feature.kind for name, feature in run.features.item.items()}
    assert kinds == {"category": "category", "genres": "tags", "embedding": "vector"}
    assert list(run.features.user) == ["gender"]


def test_a_file_nearby_that_holds_other_ids_is_no_side_file(tmp_path):
    write(pl.DataFrame({"item_id": range(900, 950), "category": [1, 2] * 25}), tmp_path / "other.parquet")
    assert guessed(tmp_path, log_of(is_click=binary())).data.items is None


def test_what_is_known_after_the_outcome_is_never_context(tmp_path):
    frame = log_of(
        clicked=binary(),
        device=RNG.integers(0, 3, ROWS),
        next_read_time=RNG.random(ROWS),
        dwell=RNG.integers(0, 50, ROWS),
        is_returned=binary(),
    )
    run = guessed(tmp_path, frame)
    assert list(run.features.context) == ["device"]
    text = (tmp_path / "run.toml").read_text()
    assert "# dwell = " in text
    assert "# next_read_time = " in text


def test_the_items_category_in_the_log_is_an_item_feature(tmp_path):
    items = RNG.integers(0, 60, ROWS)
    run = guessed(tmp_path, log_of(item_id=items, category_id=items % 7, is_click=binary()))
    assert list(run.features.item) == ["category_id"]


def test_a_run_file_that_is_there_is_kept_unless_forced(tmp_path):
    write(log_of(is_click=binary()), tmp_path / "log.parquet")
    out = tmp_path / "run.toml"
    out.write_text("mine")
    with pytest.raises(FolderError, match=r"run.toml exists: give --force"):
        init(tmp_path / "log.parquet", out)
    assert out.read_text() == "mine"
    init(tmp_path / "log.parquet", out, force=True)
    assert load_run(out).data.user == "user_id"


def test_a_folder_of_files_is_a_log(tmp_path):
    (tmp_path / "days").mkdir()
    write(log_of(is_click=binary()), tmp_path / "days" / "1.csv")
    init(tmp_path / "days", tmp_path / "run.toml")
    run = load_run(tmp_path / "run.toml")
    assert run.data.log == "days"
    assert validate(run).ok


def test_a_log_without_a_user_says_so(tmp_path):
    write(log_of().drop("user_id"), tmp_path / "log.parquet")
    with pytest.raises(DataError, match="no column looks like the user among item_id, timestamp"):
        init(tmp_path / "log.parquet", tmp_path / "run.toml")
    assert not (tmp_path / "run.toml").exists()


def test_a_log_whose_users_come_back_to_items_asks_for_equal_ids(tmp_path):
    again = np.tile(np.arange(ROWS // 2), 2)
    often = log_of(user_id=again % 30, item_id=again, category_id=again % 7, is_click=binary())
    run = guessed(tmp_path, often)
    assert run.model.equal_ids and run.model.fade
    assert "equal_ids = true  # guess: 50% of the rows are of items that their user had before" in text(tmp_path)


@pytest.mark.parametrize(
    "columns",
    [
        {"item_id": np.arange(ROWS), "is_click": np.arange(ROWS) % 2},
        {"item_id": np.arange(ROWS) // 4},
        {
            "is_click": np.arange(ROWS) % 2,
            **{name: np.arange(ROWS) // 4 % 9 for name in ("brand", "shop", "genre", "artist")},
        },
    ],
    ids=["never come back", "no outcome but the row itself", "many kinds of id"],
)
def test_other_logs_do_not(tmp_path, columns):
    frame = log_of(**{"user_id": np.arange(ROWS) // 8, "item_id": np.arange(ROWS) // 4, **columns})
    run = guessed(tmp_path, frame)
    assert not run.model.equal_ids
    assert len(run.features.item) == len(columns.keys() - {"item_id", "is_click"})


@pytest.mark.parametrize(("users", "window"), [(3, 400), (4, 100)])
def test_where_many_pasts_are_longer_than_the_usual_window_it_is_longer(tmp_path, users, window):
    """400 rows: three users have 133 each, 32 of them with more than 100 before, four have none beyond 100."""
    run = guessed(tmp_path, log_of(user_id=np.arange(ROWS) % users, is_click=binary()))
    assert run.memory.window == window
    if window == 400:
        assert "window = 400  # guess: 24% of the rows have more than 100 events" in text(tmp_path)


def test_rows_of_nobody_make_no_window_longer(tmp_path):
    users = ["NA" if at % 2 else f"u{at % 40}" for at in range(ROWS)]
    run = guessed(tmp_path, log_of(user_id=users, is_click=binary()), "log.csv")
    assert run.data.where == "user_id NOT IN ('NA')"
    assert run.memory.window == 100


@pytest.mark.parametrize(
    "values",
    [[math.nan], [math.nan, 1.0, 0.0], [-math.inf, math.inf], [5.0, 1e308], [math.nan, 2.0, 7.5]],
    ids=["only NaN", "NaN first", "infinite", "beyond any date", "NaN among others"],
)
def test_a_column_of_numbers_that_are_none_is_no_time_and_no_trouble(tmp_path, values):
    run = guessed(tmp_path, log_of(level=np.resize(values, ROWS), is_click=binary()))
    assert (run.data.time, run.data.where, list(run.tasks)) == ("timestamp", None, ["click"])


def test_nan_is_no_second_value_of_an_outcome(tmp_path):
    run = guessed(tmp_path, log_of(liked=np.resize([2.0, math.nan], ROWS), is_click=binary()))
    assert list(run.tasks) == ["click"]


def test_0_and_1_beside_nan_are_an_outcome(tmp_path):
    run = guessed(tmp_path, log_of(liked=np.resize([math.nan, 1.0, 0.0], ROWS)))
    assert (run.tasks["liked"].column, run.tasks["liked"].at_least) == ("liked", None)


@pytest.mark.parametrize("hole", [math.nan, math.inf])
def test_a_watch_time_that_is_no_number_on_some_rows_gives_a_delay_all_the_same(tmp_path, hole):
    run = guessed(tmp_path, log_of(watch_time_ms=np.resize([hole, 7000.0], ROWS), is_click=binary()))
    assert run.data.feedback_delay == 7.0


@pytest.mark.parametrize("hole", [math.nan, math.inf])
def test_seconds_that_are_no_number_on_some_rows_are_no_delay(tmp_path, hole):
    run = guessed(tmp_path, log_of(watch_time=np.resize([3.0, hole], ROWS), is_click=binary()))
    assert run.data.feedback_delay == 0.0


@pytest.mark.parametrize("column", ["user_id", "item_id", "timestamp"])
def test_rows_whose_id_or_time_is_nan_are_left_out(tmp_path, column):
    frame = log_of(is_click=binary()).with_columns(pl.col(column).cast(pl.Float64))
    frame = frame.with_columns(pl.when(pl.int_range(pl.len()) % 9 != 0).then(pl.col(column)).otherwise(math.nan))
    run = guessed(tmp_path, frame)
    assert run.data.where == f"{column} IS NOT NULL"
    summary = validate(run).summary
    assert (summary.rows, summary.dropped, summary.time_unit) == (355, 45, "seconds")


def test_a_file_nearby_whose_ids_are_lists_is_no_side_file(tmp_path):
    write(pl.DataFrame({"item_id": [[n] for n in range(60)], "category": [1, 2] * 30}), tmp_path / "lists.parquet")
    assert guessed(tmp_path, log_of(is_click=binary())).data.items is None


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([b"a", b"b"], "a Binary is no feature"),
        ([[1.0, math.nan], [1.0, 2.0]], "lists that hold null, NaN or infinity"),
        ([[1.0, 2.0], [None, 2.0]], "lists that hold null, NaN or infinity"),
        ([[1.0, 1e300], None], "lists that hold null, NaN or infinity"),
        ([[1.0], [1.0, 2.0]], "lists of differing length, or empty ones"),
        (pl.Series([[], []], dtype=pl.List(pl.Float64)), "lists of differing length, or empty ones"),
        ([[True, False], [True]], "a List(Boolean) is no feature"),
        ([[b"a"], [b"b"]], "a List(Binary) is no feature"),
    ],
)
def test_columns_that_no_kind_of_feature_takes_are_left_out_with_a_reason(tmp_path, values, reason):
    column = pl.concat([pl.Series("category", values)] * 30)
    write(pl.DataFrame({"item_id": range(60), "category": column}), tmp_path / "items.parquet")
    run = guessed(tmp_path, log_of(is_click=binary()))
    assert (run.data.items.file, run.features.item) == ("items.parquet", {})
    assert f'# category = "category"  # left out: {reason}\n' in text(tmp_path)


def test_bytes_are_no_context(tmp_path):
    run = guessed(tmp_path, log_of(country=[b"a", b"b"] * (ROWS // 2), is_click=binary()))
    assert not run.features.context


def test_lists_with_nulls_among_them_are_vectors_or_tags(tmp_path):
    items = {"item_id": range(60), "embedding": [[1.0, 2.0], None] * 30, "tags": [[3, None], [3, 4]] * 30}
    write(pl.DataFrame(items), tmp_path / "items.parquet")
    features = guessed(tmp_path, log_of(is_click=binary())).features.item
    assert {name: feature.kind for name, feature in features.items()} == {"embedding": "vector", "tags": "tags"}


@pytest.mark.parametrize(("column", "value"), [("play_duration_ms", 10**18), ("watch_time", 1e300), ("play_ms", -5000)])
def test_a_watch_time_that_nobody_can_watch_is_no_delay_and_doubted(tmp_path, column, value):
    run = guessed(tmp_path, log_of(**{column: [value] * ROWS}, is_click=binary()))
    assert run.data.feedback_delay == 0.0
    doubt = f"{column} = {value:g} is no time that one watches, in milliseconds: no data.feedback_delay is set"
    assert f"# unsure: {doubt}\n" in text(tmp_path)


def test_a_column_of_the_log_is_no_feature_where_the_item_file_has_another_of_that_name(tmp_path):
    write(pl.DataFrame({"item_id": range(60), "category": [{"of": 1}] * 60}), tmp_path / "items.parquet")
    run = guessed(tmp_path, log_of(item_id=np.arange(ROWS) % 60, category=np.arange(ROWS) % 60 % 7, is_click=binary()))
    assert not run.features.item


def text(folder):
    return (folder / "run.toml").read_text()
