"""Shapes of public logs that a first run file is written for."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from marm.data.init import init
from marm.data.times import in_form
from marm.data.validate import validate
from marm.errors import DataError
from tests.data.logs import START, write
from tests.data.test_init import ROWS, binary, guessed, log_of

RNG = np.random.default_rng(6)


def unsure(folder):
    """What the run file says it is unsure of."""
    lines = (folder / "run.toml").read_text().splitlines()
    return [line.removeprefix("# unsure: ") for line in lines if line.startswith("# unsure: ")]


def when(form, step=1):
    start = datetime.fromtimestamp(START, UTC)
    return [(start + timedelta(minutes=step * at)).strftime(form) for at in range(ROWS)]


@pytest.mark.parametrize(
    "form", ["%m/%d/%Y %I:%M:%S %p", "%Y-%m-%d %H:%M:%S UTC", "%a %b %d %H:%M:%S +0000 %Y", "%Y/%m/%d"]
)
def test_times_are_read_as_public_logs_write_them(tmp_path, form):
    frame = log_of(timestamp=when(form, 60), is_click=binary()).rename({"timestamp": "t_dat"})
    run = guessed(tmp_path, frame, "log.csv")
    assert run.data.time == "t_dat"
    assert validate(run).summary.first_time[:10] == datetime.fromtimestamp(START, UTC).strftime("%Y-%m-%d")


def test_whole_days_are_said_to_be_coarse(tmp_path):
    guessed(tmp_path, log_of(timestamp=when("%Y-%m-%d", 90), is_click=binary()), "log.csv")
    assert "timestamp holds days, not times: events of a user's day do not see each other" in unsure(tmp_path)


@pytest.mark.parametrize(("name", "form"), [("clock", "%H:%M"), ("hour", "%H:%M"), ("hour", "%H"), ("hourmin", "%H%M")])
def test_a_day_and_an_hour_in_two_columns_are_to_be_joined(tmp_path, name, form):
    log = log_of(timestamp=when("%Y-%m-%d", 90), is_click=binary(), **{name: when(form, 90)})
    guessed(tmp_path, log, "log.csv")
    assert any(f"{name} may hold the hour: join the two first" in line for line in unsure(tmp_path))


def test_nanoseconds_are_read_as_what_they_are(tmp_path):
    log = log_of(is_click=binary()).with_columns(pl.col("timestamp") * 1_000_000_000)
    summary = validate(guessed(tmp_path, log)).summary
    assert (unsure(tmp_path), summary.time_unit) == ([], "nanoseconds")
    assert summary.first_time == datetime.fromtimestamp(START, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@pytest.mark.parametrize(
    ("form", "step", "doubt"),
    [
        ("%d/%m/%Y %H:%M", 600, ""),
        ("%m/%d/%Y %H:%M:%S", 600, ""),
        ("%d.%m.%y %H:%M", 600, ""),
        ("%d-%m-%Y", 600, ""),
        ("%m/%d/%Y %H:%M", 1, "timestamp could begin with the day or the month: read as %d/%m/%Y %H:%M"),
    ],
)
def test_what_stands_first_is_told_by_what_no_month_can_be(tmp_path, form, step, doubt):
    when_it_begins = datetime(2021, 5, 4, tzinfo=UTC)
    times = [(when_it_begins + timedelta(minutes=step * at)).strftime(form) for at in range(ROWS)]
    run = guessed(tmp_path, log_of(timestamp=times, is_click=binary()), "log.csv")
    assert [line for line in unsure(tmp_path) if "could begin" in line] == [doubt] * bool(doubt)
    assert run.data.time_format == (doubt.partition("read as ")[2] or form)
    if not doubt:
        assert validate(run).summary.first_time == "2021-05-04T00:00:00"


def test_an_order_that_only_one_reading_gives_tells_what_stands_first(tmp_path):
    """No number is above twelve, but only with the day first do times never fall."""
    times = [f"{day:02d}/{month:02d}/2021 10:00" for month in range(1, 13) for day in range(1, 13)]
    frame = pl.DataFrame({"timestamp": times, "user_id": [7, 8] * 72, "item_id": range(144), "is_click": [0, 1] * 72})
    assert guessed(tmp_path, frame, "log.csv").data.time_format == "%d/%m/%Y %H:%M"
    swapped = frame.with_columns(pl.col("timestamp").str.replace(r"^(\d+)/(\d+)", "$2/$1"))
    other = tmp_path / "other"
    other.mkdir()
    assert guessed(other, swapped, "log.csv").data.time_format == "%m/%d/%Y %H:%M"


@pytest.mark.parametrize("kind", [pl.Int64, pl.String])
@pytest.mark.parametrize("form", ["%Y%m%d%H%M%S%3f", "%Y%m%d%H%M%S", "%Y%m%d%H%M", "%Y%m%d%H", "%y%m%d%H"])
def test_times_of_nothing_but_digits_are_read_by_how_many_there_are(tmp_path, kind, form):
    when_it_begins = datetime(2021, 5, 4, 7, tzinfo=UTC)
    times = [in_form(int((when_it_begins + timedelta(hours=at)).timestamp()) * 1_000_000, form) for at in range(ROWS)]
    run = guessed(
        tmp_path, log_of(hour=pl.Series(times).cast(kind), is_click=binary()).drop("timestamp"), "log.parquet"
    )
    assert (run.data.time, run.data.time_format) == ("hour", form)
    assert validate(run).summary.first_time == "2021-05-04T07:00:00"


def test_seconds_are_no_dates_though_they_have_as_many_digits(tmp_path):
    """All of these could be an hour of the first of January 1512."""
    times = 1_512_010_100 + np.sort(RNG.integers(0, 24, ROWS))
    assert guessed(tmp_path, log_of(timestamp=times, is_click=binary())).data.time_format is None


def test_an_id_that_could_be_a_time_is_none(tmp_path):
    items = 1_600_000_000 + np.sort(RNG.integers(0, 60, ROWS))
    frame = log_of(item_id=items, timestamp=when("%Y-%m-%d"), is_click=binary())
    assert guessed(tmp_path, frame.rename({"timestamp": "day"})).data.item == "item_id"


def test_times_from_a_zero_of_their_own_are_taken_with_a_doubt(tmp_path):
    run = guessed(tmp_path, log_of(timestamp=np.arange(ROWS, dtype=np.uint32) * 5, is_click=binary()))
    assert run.data.time == "timestamp"
    assert any("if it counts from a zero of its own, that does no harm" in line for line in unsure(tmp_path))


def test_a_session_stands_for_a_user_that_is_mostly_missing_or_not_there(tmp_path):
    session = RNG.integers(0, 40, ROWS)
    users = [str(at) if at % 4 == 0 else "NA" for at in range(ROWS)]
    run = guessed(tmp_path, log_of(sessionId=session, user_id=users, is_click=binary()), "log.csv")
    assert run.data.user == "sessionId"
    assert any("sessionId stands for one" in line for line in unsure(tmp_path))


def test_texts_that_stand_for_nobody_are_left_out(tmp_path):
    users = ["NA" if at % 9 == 0 else f"u{at % 30}" for at in range(ROWS)]
    run = guessed(tmp_path, log_of(user_id=users, is_click=binary()), "log.csv")
    assert run.data.where == "user_id NOT IN ('NA')"
    summary = validate(run).summary
    assert (summary.users, summary.dropped) == (30, users.count("NA"))


def test_a_user_with_a_great_share_of_the_rows_is_doubted(tmp_path):
    users = [0 if at % 3 == 0 else at for at in range(ROWS)]
    guessed(tmp_path, log_of(user_id=users, is_click=binary()))
    assert any(line.startswith("user_id = 0 has 34% of the rows seen") for line in unsure(tmp_path))


def test_ids_that_missing_values_made_floats_and_ids_of_fixed_values_are_ids(tmp_path):
    users = [None if at % 9 == 0 else float(at % 30) for at in range(ROWS)]
    items = pl.Series([f"i{at % 50}" for at in range(ROWS)], dtype=pl.Enum([f"i{at}" for at in range(50)]))
    run = guessed(tmp_path, log_of(user_id=users, item_id=items, is_click=binary()))
    assert (run.data.user, run.data.item, run.data.where) == ("user_id", "item_id", "user_id IS NOT NULL")


def test_the_item_is_what_a_file_beside_the_log_describes(tmp_path):
    items = RNG.integers(0, 60, ROWS)
    frame = log_of(asin=items, parent_asin=items // 2, rating=RNG.integers(1, 6, ROWS)).drop("item_id")
    write(pl.DataFrame({"parent_asin": range(30), "store": ["a", "b", "c"] * 10}), tmp_path / "meta.parquet")
    run = guessed(tmp_path, frame)
    assert (run.data.item, run.data.items.file) == ("parent_asin", "meta.parquet")
    assert "the item is parent_asin; asin looks like it too" in unsure(tmp_path)


def test_ids_with_leading_zeros_find_their_file(tmp_path):
    items = [f"0{663713000 + at % 60}" for at in range(ROWS)]
    side = pl.DataFrame({"article_id": sorted(set(items)), "brand": ["a", "b", "c"] * 20})
    write(side, tmp_path / "articles.csv")
    frame = log_of(article_id=items).drop("item_id")
    assert guessed(tmp_path, frame).data.items.file == "articles.csv"
    assert list(guessed(*_anew(tmp_path / "text", side, frame), "log.csv").features.item) == ["brand"]


def _anew(folder, side, frame):
    folder.mkdir()
    write(side, folder / "articles.csv")
    return folder, frame


def test_flags_that_only_qualify_are_no_outcomes(tmp_path):
    run = guessed(tmp_path, log_of(verified_purchase=binary(0.9), rating=RNG.integers(1, 6, ROWS)))
    assert list(run.tasks) == ["like"]


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ([-1, 1], {"at_least": 1}),
        (["No", "Yes"], {"equals": "Yes"}),
        ([0, 1, 3], {"at_least": 1}),
    ],
)
def test_outcomes_that_are_not_0_and_1_are_tasks_all_the_same(tmp_path, values, rule):
    task = guessed(tmp_path, log_of(is_click=RNG.choice(values, ROWS))).tasks["click"]
    assert not task.every_row
    assert {name: getattr(task, name) for name in rule} == rule


def test_what_is_only_named_like_an_outcome_is_no_task(tmp_path):
    more = {
        "view_count": RNG.integers(0, 9, ROWS),
        "order": RNG.integers(0, 9, ROWS),
        "comment": ["a", "b"] * (ROWS // 2),
    }
    assert list(guessed(tmp_path, log_of(is_click=binary(), **more)).tasks) == ["click"]


def test_ratings_of_nothing_are_doubted(tmp_path):
    guessed(tmp_path, log_of(rating=RNG.integers(0, 6, ROWS)))
    assert 'rating is 0 on some rows: if that says "not rated", set data.where = "rating > 0"' in unsure(tmp_path)


def test_kinds_are_told_by_their_values_and_what_is_bad_comes_last(tmp_path):
    kinds = pl.Series(RNG.choice(["dislike", "listen", "like"], ROWS), dtype=pl.Enum(["dislike", "listen", "like"]))
    run = guessed(tmp_path, log_of(what=kinds))
    assert [task.equals for task in run.tasks.values()] == ["like", "listen", "dislike"]


def test_a_day_of_an_event_is_no_kind_of_behaviour(tmp_path):
    run = guessed(tmp_path, log_of(event_date=RNG.choice(["2020-01-01", "2020-01-02"], ROWS), is_click=binary()))
    assert list(run.tasks) == ["click"]


def test_exposures_beside_their_clicks_are_doubted(tmp_path):
    guessed(tmp_path, log_of(event_type=RNG.choice(["impression", "click"], ROWS)))
    assert any("if they are one exposure, join them first" in line for line in unsure(tmp_path))


def test_a_share_watched_alone_gives_a_binary_task_too(tmp_path):
    run = guessed(tmp_path, log_of(watched_pct=RNG.integers(0, 101, ROWS)))
    assert run.tasks["watch_ratio"].kind == "regression"
    assert run.tasks["watch_ratio"].edges[-1] == 99
    assert run.tasks["long_watch"].at_least == 80


def test_the_rarest_outcomes_stay_out_of_histories_that_have_no_room_for_all(tmp_path):
    names = ("click", "like", "follow", "comment", "forward", "hate", "share", "save", "download")
    columns = {f"is_{name}": binary(0.5 - 0.05 * at) for at, name in enumerate(names)}
    run = guessed(tmp_path, log_of(**columns))
    assert [name for name, task in run.tasks.items() if not task.history] == ["download"]
    assert any("those of download are left out" in line for line in unsure(tmp_path))


def test_a_watch_time_longer_than_what_lies_between_events_is_in_milliseconds(tmp_path):
    frame = log_of(play_duration=RNG.integers(1000, 20_000, ROWS), video_duration=RNG.integers(5000, 20_000, ROWS))
    assert 15 <= guessed(tmp_path, frame).data.feedback_delay <= 20
    assert any("read as milliseconds" in line for line in unsure(tmp_path))


def test_a_column_that_tells_the_outcome_is_no_feature_whatever_its_name(tmp_path):
    click = binary()
    frame = log_of(page=np.where(click, "checkout", "home"), device=RNG.integers(0, 3, ROWS), is_click=click)
    run = guessed(
        tmp_path, frame.with_columns(click_position=RNG.integers(0, 5, ROWS), time_on_page=RNG.integers(0, 9, ROWS))
    )
    assert list(run.features.context) == ["device"]
    assert '# page = "category"  # left out: nearly tells click by itself' in (tmp_path / "run.toml").read_text()


def test_a_word_that_most_columns_begin_with_tells_nothing_of_one(tmp_path):
    names = ("os", "region", "country", "device")
    frame = log_of(**{f"click_{name}": RNG.integers(0, 3, ROWS) for name in names}).rename({"item_id": "click_item_id"})
    assert set(guessed(tmp_path, frame).features.context) == {f"click_{name}" for name in names}


def test_a_column_is_not_the_items_where_items_come_once(tmp_path):
    frame = log_of(item_id=np.arange(ROWS), type=RNG.choice(["a", "b"], ROWS), is_click=binary())
    assert not guessed(tmp_path, frame).features.item


def test_what_users_did_is_no_feature_of_theirs(tmp_path):
    people = pl.DataFrame({"user_id": range(30), "articles_read": [[1, 2]] * 30, "gender": ["f", "m"] * 15})
    write(people, tmp_path / "history.parquet")
    assert list(guessed(tmp_path, log_of(is_click=binary())).features.user) == ["gender"]


@pytest.mark.parametrize(
    ("texts", "separator"),
    [
        (["1,2", "3"], ","),
        (["['Action', 'Indie']", "['Indie']"], ","),
        (["Bars, Food", "Food, Doctors"], ","),
        (["a;b", "c;a"], ";"),
        (["a|b,c", "d"], "|"),
    ],
)
def test_lists_in_text_are_tags(tmp_path, texts, separator):
    write(pl.DataFrame({"item_id": range(60), "tag": texts * 30}), tmp_path / "items.parquet")
    run = guessed(tmp_path, log_of(is_click=binary()))
    assert (run.features.item["tag"].kind, run.features.item["tag"].separator) == ("tags", separator)
    assert validate(run).ok


def test_lists_that_are_nearly_all_different_are_tags_where_what_they_hold_is_not(tmp_path):
    kinds = [", ".join(f"kind {(at * step) % 17}" for step in (1, 3, 5)) for at in range(60)]
    names = [f"Street {at}, Town {at}" for at in range(60)]
    write(pl.DataFrame({"item_id": range(60), "kinds": kinds, "place": names}), tmp_path / "items.parquet")
    run = guessed(tmp_path, log_of(is_click=binary()))
    assert {name: one.kind for name, one in run.features.item.items()} == {"kinds": "tags"}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"article_ids_inview": [[1, 2]] * ROWS}, "article_ids_inview holds a list on each row"),
        ({"events": [[{"aid": 1, "ts": 2}]] * ROWS}, "events holds a list on each row"),
        ({"impressions": ["N1-0 N2-1"] * ROWS}, "impressions holds a list in text on each row"),
    ],
)
def test_rows_of_lists_are_refused_with_the_command_that_makes_rows_of_them(tmp_path, monkeypatch, columns, message):
    monkeypatch.chdir(tmp_path)
    write(log_of(**columns), tmp_path / "my log.parquet")
    with pytest.raises(DataError) as told:
        init(Path("my log.parquet"), Path("run.toml"))
    command = "run `marm explode 'my log.parquet' rows.parquet`"
    assert str(told.value) == f"my log.parquet: {message}, where a row is one exposure: {command}"


def test_two_lists_that_could_be_what_was_shown_are_both_offered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(log_of(inview=[[1, 2]] * ROWS, candidates=[[1, 2, 3]] * ROWS), tmp_path / "log.parquet")
    with pytest.raises(DataError) as told:
        init(Path("log.parquet"), Path("run.toml"))
    assert "inview and candidates hold lists on each row" in str(told.value)
    assert "`marm explode log.parquet rows.parquet --list inview`, or --list candidates" in str(told.value)


def test_rows_of_a_log_that_is_this_folder_go_beside_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(log_of(inview=[[1, 2]] * ROWS), tmp_path / "log.parquet")
    with pytest.raises(DataError, match=r"`marm explode \. \.\./rows\.parquet`"):
        init(Path(), Path("run.toml"))


@pytest.mark.parametrize("column", ["impression_time", "impression_note"])
def test_a_time_or_a_sentence_of_an_impression_is_no_list(tmp_path, column):
    texts = when("%Y-%m-%d %H:%M:%S") if column == "impression_time" else ["top of page"] * ROWS
    assert guessed(tmp_path, log_of(**{column: texts}, is_click=binary()), "log.csv").data.item == "item_id"


def test_records_and_empty_logs_say_what_to_do(tmp_path):
    write(log_of(event=[{"click": 1, "what": 3}] * ROWS).drop("item_id"), tmp_path / "log.parquet")
    with pytest.raises(
        DataError, match=r'looks like the item .*: make columns of what event holds: frame.unnest\("event"\)'
    ):
        init(tmp_path / "log.parquet", tmp_path / "run.toml")
    write(log_of().head(0), tmp_path / "log.parquet")
    with pytest.raises(DataError, match=r"empty log \(no rows\)"):
        init(tmp_path / "log.parquet", tmp_path / "run.toml")


def test_a_log_without_a_time_says_what_to_do(tmp_path):
    write(log_of(is_click=binary()).drop("timestamp"), tmp_path / "log.parquet")
    with pytest.raises(
        DataError, match=r"no column looks like the time among .*: name it with --time COLUMN; if rows lie"
    ):
        init(tmp_path / "log.parquet", tmp_path / "run.toml")


@pytest.mark.parametrize("kind", [pl.Int64, pl.String])
def test_whole_days_are_a_time_where_there_is_no_other(tmp_path, kind):
    days = pl.Series(20200101 + RNG.integers(0, 30, ROWS)).cast(kind)
    run = guessed(tmp_path, log_of(date=days, timestamp=np.arange(ROWS) + START, is_click=binary()))
    assert (run.data.time, run.data.time_format) == ("timestamp", None)
    alone = tmp_path / "alone"
    alone.mkdir()
    run = guessed(alone, log_of(date=days, is_click=binary()).drop("timestamp"))
    assert (run.data.time, run.data.time_format) == ("date", "%Y%m%d")
    assert any("date holds days, not times" in line for line in unsure(alone))
    assert validate(run).summary.last_time == "2020-01-30T00:00:00"
    write(log_of(birth_date=days, is_click=binary()).drop("timestamp"), tmp_path / "born.parquet")
    with pytest.raises(DataError, match="no column looks like the time"):
        init(tmp_path / "born.parquet", tmp_path / "born.toml")


def test_roles_that_are_named_need_no_guess(tmp_path):
    write(log_of(is_click=binary()).rename({"item_id": "what", "user_id": "who"}), tmp_path / "log.parquet")
    with pytest.raises(DataError, match=r"no column looks like the user among .*: name it with --user COLUMN"):
        init(tmp_path / "log.parquet", tmp_path / "run.toml")
    guess = init(tmp_path / "log.parquet", tmp_path / "run.toml", given={"user": "who", "item": "what"})
    assert (guess.user, guess.item, guess.time) == ("who", "what", "timestamp")
    with pytest.raises(DataError, match=r"--item: log.parquet has no column wha: did you mean what"):
        init(tmp_path / "log.parquet", tmp_path / "run.toml", force=True, given={"item": "wha"})


def test_columns_that_not_all_files_have_are_said_to_be_left_out(tmp_path):
    (tmp_path / "days").mkdir()
    write(log_of(is_click=binary()), tmp_path / "days" / "1.parquet")
    write(log_of(is_click=binary(), device=RNG.integers(0, 3, ROWS)), tmp_path / "days" / "2.parquet")
    init(tmp_path / "days" / "*.parquet", tmp_path / "run.toml")
    assert unsure(tmp_path) == ["not all files have device: left out"]
