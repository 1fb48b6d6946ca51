"""A file of the newest cut that lost bytes, or is gone, is named in one line by whatever opens the cut."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import marm
from marm.errors import FolderError
from marm.train.cut import Cut
from marm.train.follow import follow
from tests.train.feeding import quick


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize("name", ["state.json", "model.safetensors", "table.safetensors", "optimizer.safetensors"])
@pytest.mark.parametrize("damage", [shorten, Path.unlink])
def test_a_damaged_cut_is_named(trained: Path, tmp_path: Path, name: str, damage: Callable[[Path], None]) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "run"))
    damage(path := Cut(folder).path / name)
    with pytest.raises(FolderError, match=rf"^{path}: cannot be read \(.*from a backup, or train anew$"):
        follow(folder, quick(folder), until_idle=0)
    if name != "optimizer.safetensors":  # which nobody reads who does not learn
        with pytest.raises(FolderError, match=rf"^{path}: cannot be read"):
            marm.open(folder)


def test_once_it_is_mended_the_same_process_opens_it(trained: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "run"))
    whole = (path := Cut(folder).path / "table.safetensors").read_bytes()
    shorten(path)
    for _ in range(3):
        with pytest.raises(FolderError, match="cannot be read"):
            marm.open(folder)
    path.write_bytes(whole)
    # The store was given back each time: it is open to nobody, so it may be opened to write.
    assert follow(folder, quick(folder), until_idle=0)["events"] == 0
    marm.open(folder).close()


def test_weights_that_mean_other_scores_are_refused(trained: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "run"))
    path = Cut(folder).path / "state.json"
    state = json.loads(path.read_text(encoding="utf-8"))
    for other in (
        state | {"arithmetic": state["arithmetic"] - 1},
        {k: v for k, v in state.items() if k != "arithmetic"},
    ):
        path.write_text(json.dumps(other), encoding="utf-8")
        for opened in (marm.open, lambda run: follow(run, quick(run), until_idle=0)):
            with pytest.raises(FolderError, match=r"mean other scores in this release .*: train anew$"):
                opened(folder)
