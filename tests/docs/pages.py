"""The pages of the documentation, and what stands in them: fenced blocks, inline code, links."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "docs/tour.md",
    "docs/paper.md",
    "docs/own_data.md",
    "docs/own_model.md",
    "docs/search.md",
    "docs/serving.md",
    "docs/cluster.md",
    "docs/operations.md",
    "docs/follow.md",
    "docs/kafka.md",
    "docs/stages.md",
    "docs/studies.md",
    "docs/log.md",
    "docs/results.md",
]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the line of the page where the text begins."""

    language: str
    text: str
    line: int


def text_of(page: str) -> str:
    """A page as it is written."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> list[Block]:
    """Fenced blocks of a page, in order."""
    text = text_of(page)
    return [Block(m[1], m[2], text.count("\n", 0, m.start(2)) + 1) for m in _FENCE.finditer(text)]


def inline_code(page: str) -> list[str]:
    """What stands between single backticks outside of fenced blocks."""
    return re.findall(r"`([^`\n]+)`", _FENCE.sub("", text_of(page)))


def links(page: str) -> list[str]:
    """Targets of links to other files of the repository."""
    return [target for target in re.findall(r"\]\(([^)#\s]+)", text_of(page)) if "://" not in target]


def tables(page: str) -> list[list[str]]:
    """Rows of all tables of a page, cells stripped."""
    lines = [line for line in _FENCE.sub("", text_of(page)).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
