"""What stands in a topic becomes the stream, each event once and in order of time; what cannot, is put aside."""

import time
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from marm.config import load_run, to_toml, topic_of
from marm.data import broker, topic
from marm.data.following import open_source
from marm.data.grow import Grower
from marm.data.live import LiveLog
from marm.data.parts import Manifest
from marm.data.place import Offsets
from marm.data.prepare import prepare
from marm.data.stream import EventLog
from marm.errors import BrokerError, FolderError, SettingError
from tests.data.damage import events, stream_of
from tests.kafka.topics import MORE, TRAINED, after_training, as_messages, by_user, sets_of
from tests.train.feeding import aside, columns, copy_of, counts, event_ids, put
from tests.train.feeding import events_of as records_of
from tests.train.logs import log_frame, run_over, write_world


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as training leaves it, as far as a source reads it."""
    folder = tmp_path_factory.mktemp("begun")
    world = write_world(folder / "world", log_frame(events=400)[:TRAINED])
    config = run_over(world, data={"feedback_delay": "delay"})
    (folder / "run").mkdir()
    (folder / "run" / "run.toml").write_text(to_toml(config))
    prepare(config, folder / "run" / "events")
    return folder / "run"


@pytest.fixture
def run(begun: Path, tmp_path: Path) -> Path:
    return copy_of(begun, tmp_path / "run")


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    return as_messages(after_training())


def go_on(run: Path, log: str | None, **settings: Any) -> Manifest:
    """Take in all that is there."""
    config = load_run(run / "run.toml", sets_of(settings))
    with closing(Grower(run / "events")) as grower:
        stream = EventLog(run / "events")
        with closing(open_source(config, run, stream, grower, log)) as source:
            while source.poll(time.time()) or len(source):
                pass
            source.note()
            assert source.lag() in (0, None)
    return stream.manifest


def test_a_topic_becomes_the_stream_that_the_inbox_would_have_been(cluster, run, rows, begun, tmp_path):
    name, twin = cluster.name(), copy_of(begun, tmp_path / "twin")
    by_user(cluster, name, rows)
    read = go_on(run, cluster.url(name), kafka={"lateness": 0.2}).growth.read
    put(twin, records_of(after_training()))
    go_on(twin, None)
    mine, theirs = EventLog(run / "events"), EventLog(twin / "events")
    assert columns(mine, 0, len(mine)) == columns(theirs, 0, len(theirs))
    assert counts(run) == {"events": MORE}
    assert sum(read.values()) == MORE
    assert sum(offset > 0 for offset in read.values()) > 1
    by_user(cluster, name, [{**rows[-1], "event_id": "next"}])
    assert go_on(run, cluster.url(name)).growth.counts == {"events": MORE + 1}


def clicks(run: Path) -> dict[str, float | None]:
    """Of each appended event the label of its first task."""
    log = EventLog(run / "events")
    first = log.manifest.prepared
    label = log.read(first, len(log)).labels[:, 0].tolist()
    return dict(zip(event_ids(run), (None if one != one else one for one in label), strict=True))


def test_what_comes_late_twice_or_cannot_be_read_is_put_aside_with_its_place(cluster, run, rows):
    name, good = cluster.name(), rows[:20]
    poison = [
        b"\x00\xff",
        b"[1, 2]",
        b"\xff\xff\xff\xff\x10\x00\x00\x00damaged",
        {**rows[20], "user": None},
        {**rows[21], "click": "yes"},
        {**rows[22], "time": "yesterday"},
    ]
    # One partition, so that what is late and what is a repetition hangs on the order of sending alone.
    cluster.put(name, [*good[:10], *poison, good[3], *good[10:], {**rows[23], "time": 5}], partition=2)
    go_on(run, cluster.url(name))
    assert event_ids(run) == [row["event_id"] for row in good]
    assert counts(run) == {"events": 20, "rejected": 6, "duplicate": 1, "late": 1}
    rejected = aside(run, "rejected.ndjson")
    reasons = {one["place"][1]: one["reason"] for one in rejected if "place" in one}
    assert sorted(reasons) == [10, 11, 12, 13, 15]
    assert "neither JSON" in reasons[10] and "user = null" in reasons[13] and "yesterday" in reasons[15]
    assert [one for one in rejected if "place" not in one] == [
        {"reason": "click = 'yes' is no Int64, as which the log has it", "event_id": "e21"}
    ]
    assert [(one["why"], one["place"]) for one in aside(run, "late.ndjson")] == [
        ("duplicate", [f"{name}/2", 16]),
        ("late", [f"{name}/2", 27]),
    ]
    assert go_on(run, cluster.url(name)).growth.counts == {"events": 20, "rejected": 6, "duplicate": 1, "late": 1}


def test_outcomes_join_their_event_within_the_window_wherever_they_stand(cluster, run, rows):
    name, outcomes = cluster.name(), cluster.name()
    bare = [{key: value for key, value in row.items() if key != "click"} for row in rows[:6]]
    start = 1_700_000_000_000
    click = {"click": 1}
    # The clock of the messages, in milliseconds: events at 0, outcomes before, within and after the ten seconds of the window.
    cluster.put(outcomes, [{"event_id": "e0", **click}], timestamp=start - 2000, partition=0)
    for row, partition in zip(bare, (0, 1, 2, 3, 0, 1), strict=True):
        cluster.put(name, [row], timestamp=start, partition=partition)
    cluster.put(name, [{"kind": "outcomes", "event_id": "e1", **click}], timestamp=start + 9000, partition=3)
    cluster.put(
        outcomes, [{"event_id": "e2", **click}, {"event_id": "none", **click}], timestamp=start + 5000, partition=1
    )
    cluster.put(outcomes, [{"kind": None, "event_id": "e3", **click}], timestamp=start + 90_000, partition=2)
    cluster.put(outcomes, [{**click}], timestamp=start + 90_000, partition=3)
    go_on(run, cluster.url(name), kafka={"outcomes": outcomes}, wait=10, otherwise={"click": 0})
    assert clicks(run) == {"e0": 1, "e1": 1, "e2": 1, "e3": 0, "e4": 0, "e5": 0}
    assert counts(run) == {"events": 6, "rejected": 1, "unknown": 1, "after": 1}
    go_on(run, cluster.url(name), kafka={"outcomes": outcomes}, wait=10)
    assert counts(run) == {"events": 6, "rejected": 1, "unknown": 1, "after": 1}
    with pytest.raises(FolderError, match="goes on with topic"):
        go_on(run, cluster.url(name))


@pytest.mark.parametrize("buffered", [200_000, 12])
def test_partitions_that_lie_apart_are_merged_in_order_of_time(cluster, run, rows, buffered, monkeypatch):
    monkeypatch.setattr(topic, "AT_ONCE", 10)
    # With room for three messages of each, partitions that run ahead are stopped again and again.
    monkeypatch.setattr(topic, "_BUFFERED", buffered)
    name = cluster.name()
    start = 1_700_000_000_000
    for partition in (3, 2, 1, 0):
        sent = range(partition, MORE, 4)
        times = [start + 1000 * number for number in sent]
        cluster.put(name, [rows[number] for number in sent], sent=times, partition=partition)
    go_on(run, cluster.url(name))
    assert event_ids(run) == [row["event_id"] for row in rows]
    assert counts(run) == {"events": MORE}


def test_arrow_messages_hold_many_rows_each(cluster, run, rows):
    name, frame = cluster.name(), pl.DataFrame(rows[:30])
    streams = []
    for part in (frame[:12], frame[12:13].drop("event_id"), frame[13:]):
        stream = BytesIO()
        part.write_ipc_stream(stream, compression="zstd")
        streams.append(stream.getvalue())
    cluster.put(name, [*streams[:2], b"{}", streams[2]], partition=1)
    go_on(run, cluster.url(name))
    assert event_ids(run) == [*(f"e{n}" for n in range(12)), f"{name}/1:1", *(f"e{n}" for n in range(13, 30))]
    assert counts(run) == {"events": 30, "rejected": 1}


def test_an_arrow_message_with_a_wrong_length_is_put_aside_with_its_place(cluster, run, rows):
    name = cluster.name()
    good = [stream_of(pl.DataFrame(part)) for part in (rows[:10], rows[10:20])]
    # The length of the longest text, of which one bit in a high place is another.
    damaged = bytearray(stream_of(events()))
    damaged[382] ^= 1
    cluster.put(name, [good[0], bytes(damaged), good[1]], partition=1)
    read = go_on(run, cluster.url(name)).growth.read
    assert event_ids(run) == [f"e{n}" for n in range(20)]
    assert counts(run) == {"events": 20, "rejected": 1}
    assert read[f"{name}/1"] == 3
    (rejected,) = aside(run, "rejected.ndjson")
    assert rejected["place"] == [f"{name}/1", 1]
    assert "a buffer ends beyond its message" in rejected["reason"]
    # Whoever follows next begins behind it.
    cluster.put(name, [rows[20]], partition=1)
    go_on(run, cluster.url(name))
    assert counts(run) == {"events": 21, "rejected": 1}


def test_new_partitions_are_read_from_their_beginning(cluster, run, rows, monkeypatch):
    name = cluster.name()
    by_user(cluster, name, rows[:40])
    every = broker.lanes
    monkeypatch.setattr(broker, "lanes", lambda *told: every(*told)[:2])
    go_on(run, cluster.url(name))
    few = len(event_ids(run))
    monkeypatch.setattr(broker, "lanes", every)
    later = {row["event_id"] for row in rows[:40]} - set(event_ids(run))
    assert 0 < few < 40
    go_on(run, cluster.url(name))
    assert few + counts(run).get("late", 0) + counts(run)["events"] - few == 40
    assert len(EventLog(run / "events").manifest.growth.read) == 4
    assert later


def test_what_the_broker_no_longer_has_stops_the_run_or_is_counted(cluster, run, rows, monkeypatch):
    name = cluster.name()
    cluster.put(name, rows[:10], partition=0)
    go_on(run, cluster.url(name))
    cluster.put(name, rows[10:20], partition=0)
    monkeypatch.setattr(broker, "bounds", lambda *told: (14, 20) if told[2].endswith("/0") else (0, 0))
    with pytest.raises(
        BrokerError, match=r"begins at 14, 4 messages from 10 on are gone: lengthen its retention.*lost"
    ):
        go_on(run, cluster.url(name))
    go_on(run, cluster.url(name), kafka={"lost": "skip"})
    assert counts(run) == {"events": 16, "lost": 4}
    monkeypatch.setattr(broker, "bounds", lambda *told: (0, 3))
    with pytest.raises(BrokerError, match=r"/0 ends at 3, read up to 20: it was made anew"):
        go_on(run, cluster.url(name))


def test_messages_that_are_deleted_while_they_are_read_are_told_as_well(mock, run, monkeypatch):
    cluster, name = mock, mock.name()
    cluster.put(name, [{}] * 10, partition=0)
    config = load_run(run / "run.toml", ['kafka.lost="skip"'])
    since = Offsets({f"{name}/{n}": 0 for n in range(cluster.partitions(name))} | {f"{name}/0": 50})
    # What the broker says at the start, after it refused the first reading, and after the second.
    told = [*[(0, 10**6)] * len(since), (60, 10**6), (0, 10)]
    monkeypatch.setattr(broker, "bounds", lambda *asked: told.pop(0))
    where = topic_of("log", cluster.url(name))
    with (
        closing(topic.TopicReader(config, where, LiveLog(config, run / "events"), since, 0.0)) as reader,
        pytest.raises(BrokerError, match=r"/0 ends at 10, read up to 60"),
    ):
        reader.read(time.time())
    assert not told


def test_a_run_goes_on_with_what_it_began_to_follow(cluster, run, rows):
    name, other = cluster.name(), cluster.name()
    cluster.put(name, rows[:3])
    cluster.put(other, rows[:3])
    go_on(run, cluster.url(name))
    with pytest.raises(FolderError, match=f"goes on with topic {name}: name it"):
        go_on(run, cluster.url(other))
    with pytest.raises(FolderError, match=f"goes on with a topic .{name}/"):
        go_on(run, None)


@pytest.mark.parametrize(
    ("url", "environment", "says"),
    [
        ("kafka://me:secret@h:9/t", {}, "a run file is no place for a password: leave it out, and set MARM_KAFKA_USERNAME"),
        ("kafka://h/t", {}, "give kafka://host:port/topic"),
        ("kafka://h:9/a b", {}, "'a b' is no topic"),
        ("kafka://h:9/t", {"MARM_KAFKA_USERNAME": "me"}, "set both, or none"),
        ("kafka://h:9/t", {"MARM_KAFKA_USERNAME": "me", "MARM_KAFKA_PASSWORD": "p", "MARM_KAFKA_MECHANISM": "PLAIN"},
         "in the clear: write kafkas://"),
        ("kafkas://h:9/t", {"MARM_KAFKA_CA": "/no/such/file"}, "mend what MARM_KAFKA_... names"),
    ],
)  # fmt: skip
def test_access_comes_from_the_environment_alone(url, environment, says, run, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingError, match=says.replace(".", r"\.")) as found:
        go_on(run, url)
    assert "secret" not in str(found.value)


def test_access_and_certificates_reach_the_client(monkeypatch):
    monkeypatch.setenv("MARM_KAFKA_USERNAME", "me")
    monkeypatch.setenv("MARM_KAFKA_PASSWORD", "secret")
    told: dict[str, Any] = {}
    monkeypatch.setattr(
        "confluent_kafka.Consumer", type("Consumer", (), {"__init__": lambda _, said: told.update(said)})
    )
    broker.consumer(topic_of("log", "kafkas://a:1,b:2/t"))
    assert told["bootstrap.servers"] == "a:1,b:2"
    assert (told["security.protocol"], told["sasl.mechanism"]) == ("SASL_SSL", "SCRAM-SHA-512")
    assert (told["sasl.username"], told["sasl.password"]) == ("me", "secret")
    assert told["enable.auto.commit"] is False


def test_nobody_who_answers_and_no_such_topic_are_told_in_one_line(run, monkeypatch, cluster):
    monkeypatch.setattr(broker, "ANSWER_S", 0.3)
    with pytest.raises(BrokerError, match=r"Connection refused.*see that the broker runs"):
        go_on(run, "kafka://127.0.0.1:9/t")
