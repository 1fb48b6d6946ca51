"""Imports only point down; neighbours on a floor do not import each other (docs/tour.md draws the floors)."""

import ast
from pathlib import Path

import marm

FLOORS = [
    {"errors"},
    {"config", "files", "mix", "types"},
    {"ranks"},
    {"data", "store", "nn", "metrics", "world"},
    {"memory", "model"},
    {"engine"},
    {"stages", "report", "rivals"},
    {"train"},
    {"server", "study"},
    {"cli"},
    {"__main__"},
]
PACKAGE = Path(marm.__file__).parent


def height(room):
    return next(i for i, floor in enumerate(FLOORS) if room in floor)


def imported_rooms(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        yield from (name.split(".")[1] for name in names if name.startswith("marm."))


def test_every_room_stands_on_a_floor_and_imports_only_point_down():
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room == "__init__":
            continue
        for other in imported_rooms(path):
            if other != room and height(other) >= height(room):
                wrong.append(f"{path.relative_to(PACKAGE)} imports marm.{other}")
    assert not wrong


def test_no_rooms_are_listed_that_are_not_there():
    there = {p.name.removesuffix(".py") for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert set().union(*FLOORS) == there - {"__init__"}
