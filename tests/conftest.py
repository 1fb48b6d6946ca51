"""What all tests share: rounds of long tests, long files first, no silent skips where CI runs them, no stale loops."""

import os
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from hypothesis import settings

# No deadlines: a first call compiles, and a busy machine is slow.
settings.register_profile("marm", deadline=None)
settings.load_profile("marm")


# The first two compile most loops, each others. What starts many processes comes after: each would compile them anew.
LONG = (
    "docs/test_snippets.py",
    "study/tier/test_study.py",
    "store/test_contract.py",
    "engine/test_golden.py",
    "nn/test_attention.py",
    "engine/test_search.py",
    "train/test_leak.py",
    "stages/test_stream.py",
    "train/test_run.py",
    "cli/test_cluster_demo.py",
    "train/test_kill.py",
    "train/test_follow_kill.py",
    "kafka/test_kill_cut.py",
    "server/test_many.py",
    "server/test_parity.py",
    "cli/test_demo.py",
    "server/test_redis.py",
    "server/test_serving.py",
    "ranks/test_kill.py",
    "nn/test_cold.py",
    "server/test_rollout.py",
    "server/test_stages.py",
    "server/test_inspector.py",
    "server/test_tls.py",
    "cli/test_app.py",
    "deploy/test_runbooks.py",
    "server/test_operated.py",
    "server/test_load.py",
    "study/test_ab.py",
    "train/test_memory.py",
)
"""Files that take long: begun first, so that short ones are left to even out what two workers have to do."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    first = {here / name: number for number, name in enumerate(LONG)}
    assert all(path.exists() for path in first), "LONG in tests/conftest.py names a file that is not there"
    items.sort(key=lambda item: first.get(item.path, len(first)))


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
