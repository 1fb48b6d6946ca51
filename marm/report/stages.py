"""Tables of the stages before ranking, for the page of a run."""

from collections.abc import Mapping
from typing import Any

from marm.report import page
from marm.report.text import figure, mapping, plain, share

ORDERS = {
    "retrieval": "Retrieval",
    "stages": "All stages",
    "popularity": "Popularity",
    "co_occurrence": "Co-occurrence",
}
KEEPERS = {"cascading": "Cascading", "retrieval": "Retrieval", "popularity": "Popularity"}


def stage_tables(result: Mapping[str, Any]) -> list[str]:
    """A card for each stage that was measured; none where none was."""
    stages = mapping(result.get("stages"))
    retrieval, cascading = mapping(stages.get("retrieval")), mapping(stages.get("cascading"))
    note = "Positive events of the last fifth, each among all items seen before it."
    kept = "Of what ranking puts first, the share among the candidates given on."
    return [
        _orders("Retrieval", _sample(note, retrieval), retrieval, ORDERS),
        _orders("Cascading", _sample(kept, cascading), cascading, KEEPERS),
        _orders("End to end", note, mapping(cascading.get("end_to_end")), ORDERS),
    ]


def _sample(note: str, told: Mapping[str, Any]) -> str:
    new = f"; {share(told['new_items'])} of their items were new" if told.get("new_items") is not None else ""
    return f"{note} {plain(told.get('events'))} of them{new}."


def _orders(title: str, note: str, told: Mapping[str, Any], names: Mapping[str, str]) -> str:
    rows = {shown: mapping(told[name]) for name, shown in names.items() if name in told}
    if not rows or not told.get("events"):
        return ""
    heads = list(next(iter(rows.values())))
    cells = [[shown, *(figure(row.get(head)) for head in heads)] for shown, row in rows.items()]
    return page.table(title, note, ["", *(head.replace("_", " ") for head in heads)], cells)
