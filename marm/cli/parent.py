"""A command that another command started ends when that one does, however that ended."""

import ctypes
import os
import signal
import sys

PARENT = "MARM_PARENT"
"""Environment: process that must be this one's parent."""
_SET_PARENT_DEATH_SIGNAL = 1


def with_parent() -> dict[str, str]:
    """The environment in which to start a command that shall end with this process."""
    return {**os.environ, PARENT: str(os.getpid())}


def end_with_parent() -> None:
    """Where ``with_parent`` said so, SIGTERM comes to this process when its parent dies; Linux only."""
    parent = os.environ.get(PARENT)
    if parent is None or sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)
    if os.getppid() != int(parent):
        # It died before this was asked for.
        sys.exit(1)


if __name__ == "__main__":
    # `python parent.py PROGRAM ...`: a program that is none of marm's ends with its parent, too.
    end_with_parent()
    os.execvp(sys.argv[1], sys.argv[1:])
