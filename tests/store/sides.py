"""Two sides of a network, each a namespace of this machine, with one cable between them that can be pulled."""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

HOSTS = ("10.99.0.1", "10.99.0.2")
LEFT, RIGHT = 0, 1
_NEW_NET = 0x40000000
_HERE = "/proc/thread-self/ns/net"


class Sides:
    """Gone when closed and when the last process on a side has ended."""

    def __init__(self) -> None:
        """No failure where the system forbids it: unlike a missing package it cannot be mended from here."""
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._sides: list[int] = []
        try:
            for _ in HOSTS:
                self._sides.append(self._made())
        except OSError as error:
            self.close()
            pytest.xfail(f"no network namespaces on this machine ({error}): a partition cannot be tried")
        self._lay_cable()

    def _made(self) -> int:
        home = os.open(_HERE, os.O_RDONLY)
        self._do("unshare", _NEW_NET)
        made = os.open(_HERE, os.O_RDONLY)
        self._do("setns", home, _NEW_NET)
        os.close(home)
        return made

    def _do(self, call: str, *arguments: int) -> None:
        if getattr(self._libc, call)(*arguments):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def _lay_cable(self) -> None:
        other = f"/proc/{os.getpid()}/fd/{self._sides[RIGHT]}"
        self._ip(LEFT, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", other)
        for side, host in enumerate(HOSTS):
            self._ip(side, "address", "add", f"{host}/24", "dev", "cable")
            for device in ("lo", "cable"):
                self._ip(side, "link", "set", device, "up")

    def _ip(self, side: int, *words: str) -> None:
        with self.on(side):
            subprocess.run(["ip", *words], check=True)

    @contextmanager
    def on(self, side: int) -> Iterator[None]:
        """Sockets and processes that this thread opens lie on that side."""
        before = os.open(_HERE, os.O_RDONLY)
        self._do("setns", self._sides[side], _NEW_NET)
        try:
            yield
        finally:
            self._do("setns", before, _NEW_NET)
            os.close(before)

    def pull(self) -> None:
        """What one side sends does not come to the other, and nobody is told."""
        self._ip(LEFT, "link", "set", "cable", "down")

    def plug(self) -> None:
        """As before."""
        self._ip(LEFT, "link", "set", "cable", "up")

    def close(self) -> None:
        """Let go of both."""
        for held in self._sides:
            os.close(held)
