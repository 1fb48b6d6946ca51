"""Trained folders are compared, their pages are not read."""

import pytest

from marm.train import run as commands


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing a page takes longer than training a small run."""
    monkeypatch.setattr(commands, "write_report", lambda folder: None)
