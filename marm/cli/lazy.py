"""Commands that are imported once they are asked for: torch alone takes seconds, which no list of commands needs."""

import ast
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup


class Commands(Mapping[str, Any]):
    """Commands by name, each loaded on its first use; or, for a list of them, with no more than what their source says."""

    def __init__(self, places: Mapping[str, str]) -> None:
        """``places``: ``module:function`` by name; ``module:app`` is a group of more."""
        self._places = places
        self.described = False
        """Whether names and what they do are enough."""

    def __getitem__(self, name: str) -> Any:
        module, _, attribute = self._places[name].partition(":")
        if self.described:
            return TyperCommand(name, help=_said(module, "_group" if attribute == "app" else attribute))
        found = getattr(import_module(module), attribute)
        if isinstance(found, typer.Typer):
            group = typer.main.get_group(found)
            group.name = name
            return group
        alone = typer.Typer(add_completion=False)
        alone.command(name)(found)
        return typer.main.get_command(alone)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def group_of(places: Mapping[str, str]) -> type[TyperGroup]:
    """The class of a group of these commands."""

    class Lazy(TyperGroup):
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            self.commands = Commands(places)  # type: ignore[assignment]

        def format_help(self, *args: Any, **kwargs: Any) -> None:
            assert isinstance(self.commands, Commands)
            self.commands.described = True
            super().format_help(*args, **kwargs)
            self.commands.described = False

    return Lazy


def _said(module: str, function: str) -> str:
    """The docstring of a module's function, by its source."""
    spec = find_spec(module)
    assert spec is not None and spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function]
    return ast.get_docstring(found[0]) or "" if found else ""
