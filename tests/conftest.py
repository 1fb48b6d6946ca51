"""What all tests share: the number of rounds of long tests, and no silent skips where CI runs them."""

import os
from collections.abc import Callable, Generator

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
