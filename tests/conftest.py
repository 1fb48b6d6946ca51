"""What all tests share: rounds of long tests, no silent skips where CI runs them, no loops compiled from older code."""

import os
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from hypothesis import settings

# No deadlines: a first call compiles, and a busy machine is slow.
settings.register_profile("marm", deadline=None)
settings.load_profile("marm")


@pytest.fixture(scope="session")
def soak() -> Callable[[int, int], int]:
    """Rounds of a long test: the first number, or the second where ``MARM_SOAK=1``."""
    long = os.environ.get("MARM_SOAK", "") not in ("", "0")
    return lambda short, full: full if long else short


def pytest_configure() -> None:
    forget_stale(Path(__file__).parents[1] / "marm")


def forget_stale(folder: Path) -> None:
    """Drop all compiled loops if any is older than a file of loops: numba looks at a loop's own file, not at what it calls."""
    kept = [file for kind in ("*.nbi", "*.nbc") for file in folder.rglob(kind)]
    loops = [file for file in folder.rglob("*.py") if "njit" in file.read_text(encoding="utf-8")]
    changed = max(file.stat().st_mtime for file in loops)
    if any(file.stat().st_mtime < changed for file in kept):
        for file in kept:
            file.unlink(missing_ok=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where ``CI=true`` nothing may be missing, so a skipped test is a failed one."""
    report = yield
    if os.environ.get("CI") == "true" and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = (
            f"{item.nodeid}: skipped where CI=true: {call.excinfo.value if call.excinfo else report.longrepr}"
        )
    return report
