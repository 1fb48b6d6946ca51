"""Run files: read, refused with a near match, laid over, written back."""

import pytest

from marm.config import load_run, to_toml
from marm.errors import SettingError

RUN = """
[data]
log = "log.parquet"
user = "u"
item = "i"
time = "t"

[features.item]
genres = "tags"
price = {kind = "number", linear = true}

[tasks.like]
column = "rating"
at_least = 4
"""


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "run.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_run_file_reads_and_its_data_path_is_beside_it(write, tmp_path):
    run = load_run(write(RUN))
    assert run.tasks["like"].at_least == 4 and run.features.item["genres"].kind == "tags"
    assert run.features.item["price"].linear
    assert run.data.path == str(tmp_path)


def test_a_resolved_run_reads_back_to_the_same_settings(write):
    run = load_run(write(RUN), ['data.where="name = \\"a\\""', "model.layers=1"])
    assert load_run(write(to_toml(run))) == run
    assert run.data.where == 'name = "a"' and run.model.layers == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("[memory]\nwidnow = 3", "no setting memory.widnow; did you mean memory.window?"),
        ("[memroy]\nwindow = 3", "no setting memroy; did you mean memory?"),
        ("[model]\nwindow = 3", "no setting model.window; did you mean memory.window?"),
        ("[memory]\nwindow = -3", "memory.window = -3: input should be greater than 0"),
        ("[model]\nwidth = 10\nheads = 4", "heads = 4 does not divide width = 10"),
        ('[memory]\nurl = "redis://u:secret@h"', "memory.url: redis://...@...: a run file is no place for a password"),
        (
            '[memory]\nkeys = "item"\n[model]\nkind = "din"',
            'memory.keys = "item" serves MARM alone: drop [memory.search]',
        ),
        (
            '[memory]\nurl = "redis://h"\nttl = 172801.0\nredis_ttl_days = 2',
            "redis_ttl_days = 2 is shorter than ttl = 172801 seconds: give 2.01 or more, or 0",
        ),
        (
            "[memory]\nredis_ttl_days = 2",
            'redis_ttl_days = 2 is for redis:// alone, url = "lmdb://memory": set it to 0',
        ),
        ("[serve]\nnear = 9", 'serve.near = 9 keeps rows of redis://, memory.url = "lmdb://memory": set it to 0'),
        ("[train]\nsample = 1.5", "train.sample = 1.5: input should be less than or equal to 1"),
        ("[train]\nlive = 200", "train.live = 200 is above memory.window = 100"),
        ("[tasks.buy]\nevery_row = true", "tasks.buy.every_row needs negatives: set negatives.per_event = 4, say"),
        ("[tasks.x]\nweight = 1", "name its column, or set every_row = true"),
        ("[tasks.x]\ncolumn = 'a'\nat_least = 1\nequals = 2", "give one of at_least, equals and every_row"),
        ("model = 3\n]", "not TOML"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_setting(write, change, says):
    with pytest.raises(SettingError) as caught:
        load_run(write(f"{RUN}\n{change}\n"))
    assert says in str(caught.value) and "run.toml" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("seconds", ["1e15", "inf"])
def test_a_delay_beyond_what_time_is_counted_in_is_refused(write, seconds):
    with pytest.raises(SettingError) as caught:
        load_run(write(RUN), [f"data.feedback_delay={seconds}"])
    says = f"data.feedback_delay: {float(seconds):g} seconds are no delay: give seconds, 1e+12 at most, or a column of them"
    assert str(caught.value).endswith(f"run.toml: {says}")


def test_more_outcomes_than_histories_have_room_for_are_refused_where_histories_carry_outcomes(write):
    tasks = "".join(f'[tasks.t{at}]\ncolumn = "t{at}"\n' for at in range(9))
    with pytest.raises(
        SettingError, match=r"have 1024 combinations of outcomes, at most 256 fit: set tasks.t8.history = false"
    ):
        load_run(write(RUN + tasks))
    assert len(load_run(write(RUN + tasks), ["model.outcomes=false"]).tasks) == 10


def test_a_missing_setting_and_a_missing_file_are_named(write, tmp_path):
    with pytest.raises(SettingError, match=r"data\.item is missing"):
        load_run(write(RUN.replace('item = "i"\n', "")))
    with pytest.raises(SettingError, match="no such run file"):
        load_run(tmp_path / "none.toml")


@pytest.mark.parametrize("bad", ["model.layers", "=3", "data.log.x=3"])
def test_a_bad_set_is_named(write, bad):
    with pytest.raises(SettingError, match="--set"):
        load_run(write(RUN), [bad])


def test_data_path_given_by_set_is_relative_to_where_the_command_was_typed(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_run(write(RUN), ["data.path=elsewhere"]).data.path == str(tmp_path / "elsewhere")
