"""A file is replaced whole or not at all, and nothing is left beside it."""

from pathlib import Path

import pytest

from marm.errors import DiskError
from marm.files import replacing


@pytest.mark.parametrize("broken", [ValueError("no such number"), KeyboardInterrupt(), OSError(28, "No space left")])
def test_what_breaks_off_leaves_the_old_file_and_nothing_beside(tmp_path: Path, broken: BaseException) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("old")
    expected = DiskError if isinstance(broken, OSError) else type(broken)
    with pytest.raises(expected), replacing(path) as beside:
        beside.write_text("half")
        raise broken
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_what_was_written_beside_takes_its_place(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    with replacing(path) as beside:
        beside.write_text("new")
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]
