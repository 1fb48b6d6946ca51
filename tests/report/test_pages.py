import json
import re
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest

from marm.errors import DiskError, FolderError
from marm.report import write_comparison_report, write_report

EVIL = '<script src="//evil">&"'


def windows(count=40, task="click"):
    return [
        {
            "events": (i + 1) * 1000,
            "events_per_s": 900.0 + i,
            "tasks": {task: {"gauc": 0.5 + i / 400, "ne": 1 - i / 400}, "seconds": {"rmse": 9 - i / 10}},
            "hit_rate": [0.9, None if i < 3 else 0.8],
            "age_steps": [i, 2 * i],
            "memory_bytes": i * 2**20,
        }
        for i in range(count)
    ]


def result(gauc=0.6789, task="click"):
    bins = [{"predicted": p, "observed": p * 1.1, "count": 50} for p in (0.1, 0.3, 0.5)]
    figures = {"gauc": gauc, "auc": 0.7, "logloss": 0.5, "ne": None, "events": 200, "calibration_bins": bins}
    return {
        "events": 40_000,
        "events_per_s": 914.7,
        "peak_rss_bytes": 3 * 2**30,
        "tasks": {task: figures, "seconds": {"rmse": 5.25, "mae": 3.5, "events": 200}},
        "whole": {task: {**figures, "gauc": 0.6543}},
        "memory": {"users": 321, "rows": 39_000, "bytes": 5 * 2**20, "hit_rate": [0.99, 0.97]},
        "segments": {"counts": [600, 300, 100, 0, 0]},
        "parameters": {"dense": 12_345, "sparse": 8_388_608, "sparse_touched": 1000},
        "flops_per_event": 2_500_000,
        "age": {"depth": [1, 2], "steps_p50": 41, "steps_p90": 230},
        "machine": {"cpu": EVIL},
        "commit": "0123456789abcdef",
        "seed": 7,
        "config": {"data": {"log": EVIL, "where": None}, "train": {"seed": 7}, "negatives": {}},
    }


def write(folder, outcome=None, lines=None):
    folder.mkdir(exist_ok=True)
    if outcome is not None:
        (folder / "result.json").write_text(json.dumps(outcome))
    if lines is not None:
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


class Reader(HTMLParser):
    """Tags that stay open, headings, ids, and the text of a page."""

    def __init__(self, text):
        super().__init__()
        self.open, self.headings, self.ids, self.tags, self.text = [], [], [], set(), ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in ("meta", "path", "use", "rect"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in ("meta", "path", "use", "rect"):
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data + " "
        if self.open and self.open[-1] == "h3":
            self.headings.append(data)


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    folder = write(tmp_path_factory.mktemp("run"), result(), windows())
    return write_report(folder).read_text()


def test_a_full_page_shows_every_part(full):
    page = Reader(full)
    assert page.headings[:9] == [
        "GAUC over events",
        "RMSE over events, seconds",
        "Figures by task",
        "Calibration",
        "Normalized entropy over events",
        "Hit rate by depth",
        "Age of rows by depth",
        "Memory held",
        "At the end",
    ]
    assert page.headings[9:13] == ["Events per second", "Segment lengths", "Model", "Machine"]
    for shown in ("0.6789", "0.6543", "98.0 %", "5 MiB", "3 GiB", "40 k", "915", "8.39 M", "2.5 M", "5.2500", "seed 7"):
        assert shown in page.text, shown


def test_the_page_is_well_formed_and_its_ids_are_its_own(full):
    page = Reader(full)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', full)) <= set(page.ids)


def test_the_page_loads_nothing_and_escapes_what_it_is_told(full):
    page = Reader(full)
    assert not page.tags & {"script", "link", "img", "iframe"}
    assert "http" not in full
    assert EVIL in page.text


def test_figures_follow_the_colours_of_the_page(full):
    figures = "".join(re.findall(r"<svg.*?</svg>", full, re.S))
    assert "var(--s0)" in figures
    assert not re.findall(r"#[0-9a-f]{6}\b", figures.replace("#000000", ""))


def test_the_same_folder_gives_the_same_page(tmp_path):
    folder = write(tmp_path / "run", None, [{"events": i, "memory_bytes": i} for i in range(3)])
    first = write_report(folder).read_text()
    assert write_report(folder).read_text() == first
    assert [path.name for path in folder.iterdir() if path.name.endswith(".tmp")] == []


def test_an_empty_folder_gives_a_page_with_its_name_alone(tmp_path):
    text = write_report(write(tmp_path / "young-run")).read_text()
    page = Reader(text)
    assert "young-run" in page.text
    assert page.headings == []
    assert "<svg" not in text


@pytest.mark.parametrize(
    "odd",
    [
        {"tasks": None, "memory": [], "segments": {"counts": [0, 0]}, "age": 3, "config": {"a": 1}},
        {
            "tasks": {"click": {"gauc": None, "calibration_bins": [{}, {"predicted": None}]}},
            "segments": {"counts": None},
        },
        {"memory": {"hit_rate": 0.5}, "parameters": {"dense": "many"}, "whole": {"click": None}},
    ],
)
def test_parts_of_another_shape_are_absent_and_no_error(tmp_path, odd):
    lines = [{}, {"events": 5}, {"events": 6, "tasks": {"click": {"gauc": None}}, "hit_rate": None, "age_steps": []}]
    text = write_report(write(tmp_path / "run", odd, lines)).read_text()
    assert "<svg" not in text


def test_one_window_is_a_dot_and_a_torn_last_line_is_not_read(tmp_path):
    folder = write(tmp_path / "run", None, [{"events": 10, "tasks": {"click": {"gauc": 0.5}}}])
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"events": 20')
    assert "GAUC over events" in Reader(write_report(folder).read_text()).headings


def test_a_file_that_is_not_json_is_named(tmp_path):
    folder = write(tmp_path / "run")
    (folder / "metrics.jsonl").write_text("{}\nbroken\n{}\n")
    with pytest.raises(FolderError, match=r"metrics\.jsonl, line 2: not JSON"):
        write_report(folder)
    (folder / "result.json").write_text("{")
    with pytest.raises(FolderError, match=r"result\.json: not JSON"):
        write_report(folder)


def test_calibration_comes_from_the_predictions_where_the_result_has_no_bins(tmp_path):
    score = np.linspace(0, 1, 1000, dtype=np.float32)
    label = [None if i % 7 == 0 else float(i % 3 == 0) for i in range(1000)]
    folder = write(tmp_path / "run", {"tasks": {"click": {"gauc": 0.5}}})
    pl.DataFrame({"score_click": score, "label_click": label}).write_parquet(folder / "predictions.parquet")
    assert "Calibration" in Reader(write_report(folder).read_text()).headings


def test_a_page_that_cannot_be_written_is_disk_trouble(tmp_path):
    with pytest.raises(DiskError, match="cannot write"):
        write_report(tmp_path / "gone")


def test_a_comparison_lays_curves_over_each_other_and_draws_the_ceiling(tmp_path):
    one = write(tmp_path / "a", result(0.61), windows())
    named = {f"one {EVIL}": one, "bare result": result(0.66)}
    text = write_comparison_report(tmp_path, named, {"click": {"gauc": 0.75}}).read_text()
    page = Reader(text)
    assert page.headings == ["GAUC over events, click", "Runs"]
    assert "Best GAUC, click: bare result" in page.text
    for shown in ("0.6100", "0.6600", "0.7500", "ceiling", EVIL):
        assert shown in page.text, shown
    assert "stroke-dasharray" in text


def test_a_comparison_without_a_ceiling_draws_no_dashed_line(tmp_path):
    one = write(tmp_path / "a", result(), windows())
    text = write_comparison_report(tmp_path, {"one": one}, None).read_text()
    assert "stroke-dasharray" not in text
    assert "ceiling" not in Reader(text).text.lower()
