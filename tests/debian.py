"""Programs of Debian's that tests start: installed first where that may be done."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def program(package: str, *names: str) -> str:
    """The path of a program under one of these names; where there is none and none can be had, the test is skipped."""
    if (found := _found(names)) is None and os.geteuid() == 0 and shutil.which("apt-get"):
        _install(package)
        found = _found(names)
    if found is None:
        pytest.skip(f"no {names[0]}: install Debian's package {package}")
    return found


def _found(names: tuple[str, ...]) -> str | None:
    return next((path for name in names if (path := shutil.which(name))), None)


def _install(package: str) -> None:
    # Its own service is not wanted: nothing is started on installing.
    policy = Path("/usr/sbin/policy-rc.d")
    if made := not policy.exists():
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "timeout": 600}
    subprocess.run(["apt-get", "update"], check=False, **quiet)
    subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", package], check=False, **quiet)
    if made:
        policy.unlink()
