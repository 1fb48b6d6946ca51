"""A disk that refuses is one clear line, and what was written before is still good."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from marm.errors import DiskError
from marm.train import run as commands
from tests.train.folders import assert_same_run
from tests.train.logs import run_over

pytestmark = pytest.mark.usefixtures("no_report")


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """No file of this process may grow beyond: the system refuses, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("url", ["arena://", "lmdb://memory"])
def test_a_refused_write_anywhere_is_a_disk_error_and_the_run_can_be_taken_up(
    world: Path, tmp_path: Path, url: str
) -> None:
    run = run_over(world, memory={"url": url})
    commands.train(run, tmp_path / "whole")
    sizes = sorted({path.stat().st_size for path in (tmp_path / "whole").rglob("*") if path.is_file()})
    refused = 0
    for number, size in enumerate(s - 1 for s in sizes[1 :: len(sizes) // 6]):
        out = tmp_path / f"broken{number}"
        with files_of_at_most(max(size, 1)):
            try:
                commands.train(run, out)
            except DiskError as error:
                refused += 1
                assert "\n" not in str(error) and "free space" in str(error)
        if number in (0, 4):
            (commands.resume(out) if (out / "run.toml").exists() else commands.train(run, out))
            assert_same_run(tmp_path / "whole", out)
    assert refused > 4
