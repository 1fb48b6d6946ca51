import time

from marm.cli.progress import StreamProgress


def test_the_rate_begins_anew_where_following_counts_on_after_several_passes(monkeypatch, capsys):
    seconds = [0.0]
    monkeypatch.setattr("marm.cli.progress._EVERY", -1.0)
    monkeypatch.setattr(time, "monotonic", lambda: seconds[0])
    progress = StreamProgress("follow")
    for events, total in ((100, 400), (400, 400), (210, 220), (220, 220)):
        progress({"events": events, "total": total})
        seconds[0] += 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("  ") for line in lines] == [
        ["follow: 100/400 events", "0/s"],
        ["follow: 400/400 events", "300/s"],
        ["follow: 210/220 events", "0/s"],
        ["follow: 220/220 events", "10/s"],
    ]
