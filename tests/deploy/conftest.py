"""Trained folders and servers, as the tests of the server have them."""

from tests.server.conftest import folder, start, trained_once

__all__ = ["folder", "start", "trained_once"]
