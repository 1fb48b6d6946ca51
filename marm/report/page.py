"""Pieces of a page: every text that comes from outside passes through ``escape``."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from marm.files import write_text
from marm.report.style import CSS, SERIES
from marm.report.text import mapping, plain


@dataclass(frozen=True)
class Chart:
    """A figure in two sizes; the card's width chooses."""

    title: str
    note: str
    large: str
    small: str
    legend: tuple[str, ...] = ()
    dashed: str = ""
    """Name of the dashed line, if there is one."""
    wide: bool = False


def page(title: str, subtitle: str, parts: Iterable[str]) -> str:
    """A whole document that loads nothing from anywhere."""
    body = "\n".join(part for part in parts if part)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>\n"
        f"<header><h1>{escape(title)}</h1><p>{escape(subtitle)}</p></header>\n{body}\n</main>\n</body>\n</html>\n"
    )


def save(path: Path, text: str) -> Path:
    """Write a page, whole or not at all."""
    write_text(path, text)
    return path


def tiles(pairs: Sequence[tuple[str, str]]) -> str:
    """Headline figures: (label, value)."""
    cells = (
        f'<div class="tile"><div class="label">{escape(label)}</div><div class="value">{escape(value)}</div></div>'
        for label, value in pairs
    )
    return f'<div class="tiles">{"".join(cells)}</div>' if pairs else ""


def section(title: str, cards: Sequence[str], columns: str = "halves") -> str:
    """A heading and its cards; nothing where there are none."""
    shown = [card for card in cards if card]
    return f'<h2>{escape(title)}</h2>\n<div class="grid {columns}">{"".join(shown)}</div>' if shown else ""


def chart(given: Chart | None) -> str:
    """A card with a figure."""
    if given is None:
        return ""
    keys = [
        f'<li><i style="background: var(--s{i % SERIES})"></i>{escape(name)}</li>'
        for i, name in enumerate(given.legend)
        if len(given.legend) > 1 or given.dashed
    ]
    if given.dashed:
        keys.append(f'<li><i class="dashed"></i>{escape(given.dashed)}</li>')
    legend = f'<ul class="legend">{"".join(keys)}</ul>' if keys else ""
    note = f'<p class="note">{escape(given.note)}</p>' if given.note else ""
    return (
        f'<section class="card{" wide" if given.wide else ""}"><h3>{escape(given.title)}</h3>{note}{legend}'
        f'<figure class="{"full" if given.wide else "half"}"><div class="large">{given.large}</div>'
        f'<div class="small">{given.small}</div></figure></section>'
    )


def table(title: str, note: str, head: Sequence[str], rows: Sequence[Sequence[str]], text: int = 1) -> str:
    """A card with a table of figures; the first ``text`` columns are words."""
    if not rows:
        return ""

    def line(cells: Sequence[str], tag: str) -> str:
        kinds = [' class="text"' if i < text else "" for i in range(len(cells))]
        inner = (f"<{tag}{kind}>{escape(cell)}</{tag}>" for kind, cell in zip(kinds, cells, strict=True))
        return f"<tr>{''.join(inner)}</tr>"

    body = "".join(line(row, "td") for row in rows)
    return (
        f'<section class="card wide"><h3>{escape(title)}</h3><p class="note">{escape(note)}</p><div class="scroll">'
        f'<table class="figures"><thead>{line(head, "th")}</thead><tbody>{body}</tbody></table></div></section>'
    )


def pairs(title: str, values: Sequence[tuple[str, str]]) -> str:
    """A card with names and values."""
    return f'<section class="card"><h3>{escape(title)}</h3>{_list(values)}</section>' if values else ""


def settings(config: dict[str, Any]) -> str:
    """All settings of a run, folded away until asked for."""
    blocks = []
    for name, value in config.items():
        values = [(key, plain(entry)) for key, entry in _flat(value, "").items()]
        if values:
            blocks.append(f"<section><h3>{escape(name)}</h3>{_list(values)}</section>")
    if not blocks:
        return ""
    inner = "".join(blocks)
    return f'<details class="card wide"><summary>All settings</summary><div class="columns">{inner}</div></details>'


def _flat(value: Any, name: str) -> dict[str, Any]:
    """Nested settings by dotted name, unset ones left out."""
    inner = mapping(value)
    if not inner:
        return {} if value is None or value == {} else {name or "value": value}
    out: dict[str, Any] = {}
    for key, entry in inner.items():
        out |= _flat(entry, f"{name}.{key}" if name else str(key))
    return out


def _list(values: Sequence[tuple[str, str]]) -> str:
    inner = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in values)
    return f"<dl>{inner}</dl>"
