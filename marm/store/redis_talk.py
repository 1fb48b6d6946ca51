"""Commands to one node of Redis by one connection: sent, and later read, so that other nodes are at work meanwhile."""

import re
from typing import Any

from redis import exceptions as failures

Command = tuple[Any, ...]

_CONFIRMED_WITHIN = 2000
"""Milliseconds."""


class Talk:
    """Commands to one node by one connection: sent, and later read."""

    def __init__(self, pool: Any, commands: list[Command]) -> None:
        self.pool, self.commands = pool, commands
        self.connection: Any = None
        self.error: Exception | None = None

    def send(self) -> None:
        """Send all of them."""
        try:
            self.connection = self.pool.get_connection()
            self.connection.send_packed_command(self.connection.pack_commands(self.commands))
        except (failures.RedisError, OSError) as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self.error = error
        if self.connection:
            self.connection.disconnect()

    def read(self) -> list[Any]:
        """An answer or an error for each."""
        return [self.error or self._answer() for _ in self.commands]

    def _answer(self) -> Any:
        try:
            return self.connection.read_response(disable_decoding=True)
        except failures.ResponseError as error:
            return error
        except (failures.RedisError, OSError) as error:
            self._fail(error)
            return error

    def confirm(self) -> None:
        """Wait until a replica, where one is connected, has what was sent. Errors: redis-py's, where none confirms it soon.

        Soon: a primary that is cut off waits for its replica in vain, while that one has taken its place.
        """
        if self._one("INFO", "replication", pattern=rb"connected_slaves:(\d+)") < 1:
            return
        if self._one("WAIT", 1, _CONFIRMED_WITHIN) < 1:
            raise failures.TimeoutError("no replica confirmed what was written")

    def _one(self, *command: Any, pattern: bytes = b"") -> int:
        self.connection.send_packed_command(self.connection.pack_commands([command]))
        try:
            answer = self.connection.read_response(disable_decoding=True)
        except failures.ResponseError as error:  # it is a primary no more
            raise failures.ReadOnlyError(str(error)) from None
        found = re.search(pattern, answer) if pattern else None
        return int(found[1]) if found else 0 if pattern else int(answer)

    def end(self, broken: bool) -> None:
        """Give back the connection; a broken one may have answers in it that nobody read."""
        if self.connection and broken:
            self.connection.disconnect()
        if self.connection:
            self.pool.release(self.connection)
