"""The cut: weights, optimizer, stream position and what memory gained, visible by one rename and only then in the store.

cuts/00000007/   model.safetensors   table.safetensors   optimizer.safetensors   memory.safetensors   state.json
                 retrieval.safetensors   retrieval.index   cascading.safetensors      where these stages are trained
"""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from marm.errors import DiskError, FolderError
from marm.files import sync
from marm.model.ranker import ARITHMETIC
from marm.nn.saving import hashes, signed
from marm.nn.table import HashTable
from marm.stages import Stages
from marm.store.base import Rows

KEPT = 2
"""Cuts kept; older ones are deleted once a newer one is visible and applied."""


def write_cut(
    folder: Path,
    number: int,
    parts: dict[str, dict[str, Tensor]],
    state: dict[str, Any],
    files: dict[str, bytes] | None = None,
    dump: Callable[[Path], None] | None = None,
) -> None:
    """Write all files beside, make them durable, and rename; an interrupted write leaves the earlier cuts as they were.

    ``files``: other files by name; ``dump``: writes a whole store into a folder.
    """
    cuts = folder / "cuts"
    beside, target = cuts / f".{number:08d}.tmp", cuts / f"{number:08d}"
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        for name, tensors in parts.items():
            save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, beside / f"{name}.safetensors")
        for name, data in (files or {}).items():
            (beside / name).write_bytes(data)
        if dump is not None:
            dump(beside / "store")
        (beside / "state.json").write_text(json.dumps(state | {"arithmetic": ARITHMETIC}), encoding="utf-8")
        for path in [*beside.rglob("*"), beside]:
            sync(path)
        beside.rename(target)
        sync(cuts)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(beside, ignore_errors=True)
        raise DiskError(target, error if isinstance(error, OSError) else OSError(str(error))) from None


def cut_numbers(folder: Path) -> list[int]:
    """Visible cuts, oldest first."""
    cuts = folder / "cuts"
    return sorted(int(path.name) for path in cuts.iterdir() if path.name.isdigit()) if cuts.is_dir() else []


def drop_old_cuts(folder: Path) -> None:
    """Delete all but the newest cuts, and what interrupted writes left."""
    for number in cut_numbers(folder)[:-KEPT]:
        # Renamed first: a cut that is half deleted must not be visible.
        dying = folder / "cuts" / f".{number:08d}.old"
        (folder / "cuts" / f"{number:08d}").rename(dying)
        shutil.rmtree(dying)
    for left in (folder / "cuts").glob(".*"):
        shutil.rmtree(left, ignore_errors=True)


class Cut:
    """A visible cut, read part by part."""

    def __init__(self, folder: Path, number: int | None = None) -> None:
        """The newest one, or the one of this number. Errors: ``FolderError`` where there is none, or it cannot be read."""
        numbers = cut_numbers(folder)
        if not numbers:
            raise FolderError(f"{folder}: holds no cut; train into it first (`marm train RUN --out {folder}`)")
        self.number = numbers[-1] if number is None else number
        self.path = folder / "cuts" / f"{self.number:08d}"
        with _readable(self.path / "state.json") as path:
            self.state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))

    def tensors(self, part: str) -> dict[str, Tensor]:
        """One of its files. Errors: ``FolderError`` where it cannot be read."""
        with _readable(self.path / f"{part}.safetensors") as path:
            return load_file(path)

    def rows(self) -> Rows:
        """What memory gained since the cut before."""
        tensors = self.tensors("memory")
        read: dict[str, Any] = {
            name: hashes(tensor) if name in ("users", "forgotten") else tensor.numpy()
            for name, tensor in tensors.items()
        }
        return Rows(**read)


@contextmanager
def _readable(path: Path) -> Iterator[Path]:
    try:
        yield path
    except (OSError, ValueError, SafetensorError) as error:
        raise FolderError(
            f"{path}: cannot be read ({error}): put the run folder and its store back from a backup, or train anew"
        ) from None


def load_weights(model: nn.Module, table: HashTable, cut: Cut) -> None:
    """Weights of a cut into a fresh model and table. Errors: ``FolderError`` where another release made them."""
    if cut.state.get("arithmetic") != ARITHMETIC:
        raise FolderError(
            f"{cut.path}: its weights mean other scores in this release than in the one that made them: train anew"
        )
    try:
        model.load_state_dict(cut.tensors("model"))
    except RuntimeError:
        raise FolderError(f"{cut.path}: its weights have another shape than this release makes: train anew") from None
    table.load(cut.tensors("table"))


def load_stages(stages: Stages, cut: Cut) -> None:
    """What a cut holds of the stages, into fresh ones. Errors: ``FolderError`` where it holds no such stage."""
    held = cut.state.get("stages", {})
    for name in stages.names:
        if name not in held:
            raise FolderError(f"{cut.path}: was made without stages.{name}: train anew into a new folder")
    stages.load({name: cut.tensors(name) for name in stages.names}, held)


def rows_tensors(rows: Rows) -> dict[str, Tensor]:
    """Rows as tensors to save."""
    return {f.name: signed(getattr(rows, f.name)) for f in fields(Rows)}
