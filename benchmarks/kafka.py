"""Events a second from a topic to the stream, before anything is learned, beside the same rows from Parquet and an inbox.

python -m benchmarks.kafka [--full] [--out results.jsonl]

The broker is librdkafka's mock cluster, in a process of its own on this machine: it costs less than a real one, so what is
measured is our side. ``parquet`` and the ``train`` rows prepare a log; ``inbox`` and the ``follow`` rows append to one.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from io import BytesIO
from pathlib import Path

import orjson
import polars as pl
from confluent_kafka import Producer

from benchmarks.common import print_table, timed, write_result
from benchmarks.inbox import OLD, measure
from benchmarks.logs import PLAIN, in_rounds, run_over, write_log
from marm.config import RunConfig
from marm.data.following import open_source
from marm.data.grow import Grower
from marm.data.prepare import prepare
from marm.data.stream import EventLog

_MOCK = """
import sys
from confluent_kafka import Producer
holder = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
(broker,) = holder.list_topics(timeout=10).brokers.values()
print(f"{broker.host}:{broker.port}", flush=True)
sys.stdin.read()
"""
_ARROW_ROWS = 500


def send(servers: str, topic: str, log: pl.DataFrame, arrow: bool) -> None:
    """The log as messages, one for each row or for so many at a time."""
    producer = Producer({"bootstrap.servers": servers, "linger.ms": 20, "queue.buffering.max.messages": 10_000_000})
    if arrow:
        for begin in range(0, len(log), _ARROW_ROWS):
            stream = BytesIO()
            log[begin : begin + _ARROW_ROWS].write_ipc_stream(stream)
            producer.produce(topic, stream.getvalue())
    else:
        for row in log.iter_rows(named=True):
            producer.produce(topic, orjson.dumps(row), str(row["user"]))
    assert producer.flush(120) == 0


def follow(folder: Path, run: RunConfig, url: str, events: int) -> dict[str, int]:
    """Take all that a topic holds behind a log that is there already."""
    prepare(run, folder / "events")
    with closing(Grower(folder / "events")) as grower:
        source = open_source(run, folder, EventLog(folder / "events"), grower, url)

        def work() -> None:
            while source.counts.get("events", 0) < events:
                source.poll(time.time())

        with closing(source):
            figures = timed(work, events)
    assert source.counts == {"events": events}, source.counts
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="200,000 events; else 20,000")
    parser.add_argument("--out", type=Path, help="append the JSON line to this file")
    args = parser.parse_args()
    events = 200_000 if args.full else 20_000
    mock = subprocess.Popen([sys.executable, "-c", _MOCK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert mock.stdin and mock.stdout
    try:
        with tempfile.TemporaryDirectory() as base:
            figures = measured(Path(base), mock.stdout.readline().strip(), events)
    finally:
        mock.stdin.close()
        mock.wait()
    print_table(
        f"{events:,} events", ["from", *figures["parquet"]], [[name, *one.values()] for name, one in figures.items()]
    )
    write_result("kafka", {"events": events}, figures, args.out)


def measured(base: Path, servers: str, events: int) -> dict[str, dict[str, int]]:
    """Every way, over the same rows."""
    write_log(base / "log", in_rounds(1000, OLD + events))
    whole = pl.read_parquet(base / "log" / "log.parquet")
    new, places = whole[OLD:], {name: f"kafka://{servers}/{name}" for name in ("json", "arrow")}
    for name in places:
        send(servers, name, new, name == "arrow")
    run = run_over(base / "log", PLAIN, follow={"wait": 0, "gather": 0}, kafka={"lateness": 0})
    new.write_parquet(base / "log" / "new.parquet")
    figures = {"parquet": timed(lambda: prepare(_over(run, "new.parquet"), base / "parquet"), events)}
    for name, url in places.items():
        (base / name).mkdir()
        figures[f"train {name}"] = timed(
            lambda at=base / name, url=url: prepare(_over(run, url), at / "events"), events
        )
    whole[:OLD].write_parquet(base / "log" / "log.parquet")
    figures["inbox"] = measure(base / "inbox", run, new, False)
    for name, url in places.items():
        figures[f"follow {name}"] = follow(base / f"follow-{name}", run, url, events)
    return figures


def _over(run: RunConfig, log: str) -> RunConfig:
    return run.model_copy(update={"data": run.data.model_copy(update={"log": log})})


if __name__ == "__main__":
    main()
