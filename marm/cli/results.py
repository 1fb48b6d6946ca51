"""A table of several runs, from their result files alone."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from marm.errors import FolderError, SettingError
from marm.report import comparison, result_row
from marm.report.table import TASK_FIGURES


def results(
    folders: Annotated[list[Path], typer.Argument(help="run folders; LABEL=FOLDER groups several seeds under a label")],
    out: Annotated[Path | None, typer.Option(help="append the table to this Markdown file")] = None,
    title: Annotated[str, typer.Option(help="heading above the table")] = "",
    figures: Annotated[str, typer.Option(help="figures of tasks to show, with commas between")] = ",".join(
        TASK_FIGURES
    ),
) -> None:
    """Mean and deviation over seeds of what runs reached, as a Markdown table."""
    only = figures.split(",")
    for name in only:
        if name not in TASK_FIGURES:
            raise SettingError(f"--figures {name}: no such figure; there are {', '.join(TASK_FIGURES)}")
    rows: list[dict[str, Any]] = []
    for given in folders:
        label, mark, path = str(given).partition("=")
        folder = Path(path if mark else label)
        file = folder if folder.suffix == ".json" else folder / "result.json"
        if not file.is_file():
            raise FolderError(f"{folder}: no result.json in it; finish the run (`marm resume {folder}`)")
        rows.append(result_row(label if mark else folder.name, json.loads(file.read_text(encoding="utf-8")), only))
    text = comparison(rows)
    typer.echo(text)
    if out:
        with out.open("a", encoding="utf-8") as file_:
            file_.write(f"\n## {title}\n\n{text}\n" if title else f"\n{text}\n")
