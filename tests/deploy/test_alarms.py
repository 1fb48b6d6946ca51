"""Every figure and label that an alarm is about is one that a server shows, and every alarm has its runbook."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.deploy.manifests import DEPLOY, PAGE, compose
from tests.docs.pages import text_of
from tests.server.running import Running

_METRIC = re.compile(r"\b((?:marm_|up\b)\w*)(?:\{([^}]*)\})?")
_LABEL = re.compile(r'(\w+)(=~|=)"([^"]*)"')
RULES = yaml.safe_load((DEPLOY / "alarms.yaml").read_text(encoding="utf-8"))["groups"][0]["rules"]
RANK = {"user": "u1", "candidates": [1, 2, 3]}
COUNTS = {"events", "late", "rejected", "unknown", "after", "lost", "duplicate"}


def shown(server: Running) -> dict[str, list[dict[str, str]]]:
    """Labels of every sample by its name, after requests of each kind that alarms are about."""
    server.post("/v1/rank", RANK)
    server.post("/v1/recommend", {"user": "u1", "k": 2})
    server.post("/v1/rank", {}, 422)
    server.post("/v1/events", {"events": [{"event_id": "e", "user": "u1", "item": 3}]}, 202)
    for what in COUNTS:
        server.server.metrics.followed.labels(what).set(1)
    families: list[Metric] = list(text_string_to_metric_families(server.client.get("/metrics").text))
    found: dict[str, list[dict[str, str]]] = {"up": [{"job": "marm"}]}
    for sample in (sample for family in families for sample in family.samples):
        found.setdefault(sample.name, []).append(sample.labels)
    return found


def test_figures_and_labels_are_those_of_a_server(folder: Path, start: Callable[..., Running]) -> None:
    there, seen = shown(start(folder)), set()
    for rule in RULES:
        grouped = {name for part in re.findall(r"by \(([^)]*)\)", rule["expr"]) for name in part.split(", ")}
        for name, conditions in _METRIC.findall(rule["expr"]):
            assert name in there, f"{rule['alert']}: no server shows {name}"
            seen.add(name)
            labels = {label for labels in there[name] for label in labels}
            assert grouped <= labels, f"{rule['alert']}: {name} has {labels}"
            for label, how, value in _LABEL.findall(conditions):
                assert label in labels, f"{rule['alert']}: {name} has no label {label}"
                check_value(rule["alert"], label, how, value, {one[label] for one in there[name]})
    assert len(seen) > 12


def check_value(alarm: str, label: str, how: str, value: str, there: set[str]) -> None:
    """What a label is asked for occurs; of statuses, any number may come one day."""
    wanted = value.split("|") if how == "=~" and label != "status" else [value]
    for one in wanted:
        if label == "status":
            assert re.fullmatch(one, "503") or one in there, f"{alarm}: status {one}"
        else:
            assert one in there, f"{alarm}: {label} is never {one}, but {there}"


def test_counts_that_alarms_are_about_are_those_that_are_counted() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (DEPLOY.parent / "marm/data").glob("*.py"))
    assert all(f'"{what}"' in source for what in COUNTS)


def test_every_alarm_is_on_the_page_word_for_word_and_has_its_runbook() -> None:
    lines = [line for line in text_of(PAGE).splitlines() if line.startswith("| `Marm")]
    rows = {line.split("`")[1]: [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines}
    headings = {heading_link(line) for line in text_of(PAGE).splitlines() if line.startswith("### ")}
    assert rows.keys() == {rule["alert"] for rule in RULES}
    for rule in RULES:
        _, expression, runbook = rows[rule["alert"]]
        assert expression.replace("\\|", "|") == f"`{rule['expr']}`", rule["alert"]
        link = re.search(r"\(#([\w-]+)\)", runbook)
        assert link and link[1] == rule["annotations"]["runbook"] and link[1] in headings, rule["alert"]
        assert rule["annotations"]["summary"]


def heading_link(line: str) -> str:
    """What a heading is called in a link."""
    return re.sub(r"[^\w -]", "", line.lstrip("# ").lower()).replace(" ", "-")


def test_prometheus_is_told_of_every_server_and_of_the_rules() -> None:
    said: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus.yaml").read_text(encoding="utf-8"))
    assert all((DEPLOY / name).is_file() for name in said["rule_files"])
    (job,) = said["scrape_configs"]
    assert any(f'job="{job["job_name"]}"' in rule["expr"] for rule in RULES)
    servers = [name for name, one in compose()["services"].items() if "serve" in one.get("command", [])]
    assert job["static_configs"] == [{"targets": [f"{name}:8000" for name in servers]}]
    assert job["authorization"].keys() == {"credentials_file"}
