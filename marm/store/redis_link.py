"""Commands to one Redis or Valkey server, or to a cluster: every node is sent all that is its own, then all answers are read.

Where slots lie is redis-py's business: its cluster client is asked for the node of a slot, and told to look again when a
node is gone, was promoted, or says MOVED; a command that a node answers with ASK goes through it.
"""

import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis
from redis import exceptions as failures
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.retry import Retry

from marm.errors import StoreError, first_line
from marm.store.redis_scripts import SCRIPTS
from marm.store.redis_talk import Command, Talk
from marm.store.redis_url import Address

_PASSING = (
    failures.ConnectionError,
    failures.TimeoutError,
    failures.ClusterDownError,
    failures.TryAgainError,
    failures.AskError,
    failures.ReadOnlyError,
    failures.NoScriptError,
    failures.RedisClusterException,
)
_MET = (failures.RedisError, failures.RedisClusterException, OSError)
"""All that redis-py may raise: what its cluster client raises is no ``RedisError``."""
_PASSING_WORDS = ("NOREPLICAS", "MASTERDOWN", "LOADING", "UNKILLABLE", "BUSY")
_REFUSED = (failures.AuthenticationError, failures.AuthorizationError, failures.NoPermissionError)
_REFUSED_WORDS = ("has no permissions", "executing the script can't run", "ACL failure in script")
"""A refusal within a script is an error like any other."""
_UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0


@dataclass(frozen=True)
class Patience:
    """Seconds to wait for one answer, and to go on trying."""

    timeout: float
    seconds: float


TRAINING, SERVING, OPENING = Patience(5.0, 60.0), Patience(1.0, 0.25), Patience(2.0, 1.0)
"""A trainer outlasts the promotion of a replica; a server answers without memory rather than late."""


class Link:
    """The way to a server or a cluster, found out at opening; any thread may ask."""

    def __init__(self, address: Address, patience: Patience) -> None:
        """Errors: ``StoreError`` where nobody answers or access is refused."""
        self.address, self.patience = address, OPENING
        self._options = _options(address, patience)
        self._cluster: Any = None
        self._single: Any = None
        try:
            self._open()
            self.load_scripts()
        except BaseException:
            self.close()
            raise
        self.patience = patience

    def _open(self) -> None:
        error: Exception | None = None
        deadline = time.monotonic() + self.patience.seconds
        pauses = _pauses()
        while error is None or time.monotonic() < deadline:
            for host, port in self.address.seeds:
                try:
                    return self._connect(host, port)
                except _MET as met:
                    error = met
                    if _for_good(met) or not isinstance(met, _PASSING):
                        raise self.told(met) from None
            time.sleep(next(pauses))
        raise self.told(error)

    def _connect(self, host: str, port: int) -> None:
        single = redis.Redis(host=host, port=port, retry=Retry(NoBackoff(), 0), **self._options)
        about: Any = single.info("cluster")
        if not about.get("cluster_enabled"):
            self._single = single
            return
        single.close()
        nodes: list[Any] = [ClusterNode(*seed) for seed in self.address.seeds]  # type: ignore[no-untyped-call]
        self._cluster = redis.RedisCluster(startup_nodes=nodes, **self._options)

    @property
    def is_cluster(self) -> bool:
        """Whether keys are spread over several servers."""
        return self._cluster is not None

    def _pools(self) -> list[Any]:
        if self._single:
            return [self._single.connection_pool]
        return [self._cluster.get_redis_connection(node).connection_pool for node in self._cluster.get_primaries()]

    def _pool(self, slot: int) -> Any:
        if self._single:
            return self._single.connection_pool
        node = self._cluster.nodes_manager.get_node_from_slot(slot)
        return self._cluster.get_redis_connection(node).connection_pool

    def load_scripts(self) -> None:
        """Make the scripts known to every primary."""
        for script in SCRIPTS:
            self.everywhere("SCRIPT", "LOAD", script.text)

    def everywhere(self, *command: Any) -> list[Any]:
        """A command's answer from each primary."""
        return [self.on(pool, *command) for pool in self._pools()]

    def on(self, pool: Any, *command: Any) -> Any:
        """A command's answer from one of them."""
        return self._ask([command], lambda which: [pool], False)[0]

    def scan(self, match: bytes) -> Any:
        """Keys that match, some at a time; one may come twice."""
        for pool in self._pools():
            cursor = b"0"
            while True:
                cursor, keys = self.on(pool, "SCAN", cursor, "MATCH", match, "COUNT", 1000)
                yield keys
                if cursor == b"0":
                    break

    def ask(self, commands: Sequence[Command], slots: Sequence[int], confirm: bool = False) -> list[Any]:
        """Answers in the order of commands, each to the node of its slot; ``confirm``: a replica has what was written.

        Errors: ``StoreError`` once patience is at its end, or where a server refuses.
        """
        return self._ask(commands, lambda which: [self._pool(slots[i]) for i in which], confirm)

    def _ask(self, commands: Sequence[Command], pools_of: Any, confirm: bool) -> list[Any]:
        out: list[Any] = [None] * len(commands)
        left = list(range(len(commands)))
        deadline, pauses = time.monotonic() + self.patience.seconds, _pauses()
        while left:
            try:
                answers = self._round([commands[i] for i in left], pools_of(left), confirm)
            except _MET as error:
                answers = [error] * len(left)
            for i, answer in zip(left, answers, strict=True):
                out[i] = answer
            left = [i for i in left if isinstance(out[i], Exception)]
            if left:
                self._recover([out[i] for i in left], deadline, next(pauses))
        return out

    def _round(self, commands: list[Command], pools: list[Any], confirm: bool) -> list[Any]:
        of_pool: dict[Any, list[int]] = {}
        for i, pool in enumerate(pools):
            of_pool.setdefault(pool, []).append(i)
        talks = [Talk(pool, [commands[i] for i in mine]) for pool, mine in of_pool.items()]
        out: list[Any] = [None] * len(commands)
        broken = True
        try:
            for talk in talks:
                talk.send()
            for talk, mine in zip(talks, of_pool.values(), strict=True):
                for i, answer in zip(mine, talk.read(), strict=True):
                    out[i] = self._redirected(commands[i], answer)
            for talk in talks if confirm else []:
                if talk.error is None:
                    talk.confirm()
            broken = False
        finally:
            for talk in talks:
                talk.end(broken)
        return out

    def _redirected(self, command: Command, answer: Any) -> Any:
        """A slot is on its way to another node: redis-py knows how to ask there."""
        if isinstance(answer, failures.AskError) and not isinstance(answer, failures.MovedError):
            try:
                return self._cluster.execute_command(*command)
            except _MET as error:
                return error
        return answer

    def _recover(self, errors: list[Exception], deadline: float, pause: float) -> None:
        """Before the next try: look where slots lie, load scripts, wait. Errors: ``StoreError`` where that is of no use."""
        for error in errors:
            passing = isinstance(error, _PASSING) or str(error).startswith(_PASSING_WORDS)
            if _for_good(error) or not passing or time.monotonic() > deadline:
                raise self.told(error) from None
        time.sleep(pause)
        try:
            if self._cluster:
                self._cluster.nodes_manager.initialize()
            if any(isinstance(error, failures.NoScriptError) for error in errors):
                for pool in self._pools():
                    self._round([("SCRIPT", "LOAD", script.text) for script in SCRIPTS], [pool] * len(SCRIPTS), False)
        except _MET:
            pass  # the next try will meet it again, or not

    def told(self, error: Exception | None) -> StoreError:
        """A failure in our words: what was found, and what to do."""
        cause, url = first_line(error), self.address.url
        if refusal := _refusal(error):
            return StoreError(
                f"{url}: refuses this user ({first_line(refusal)}): "
                "set MARM_REDIS_USERNAME and MARM_REDIS_PASSWORD to one who may"
            )
        if _UNTRUSTED in cause:
            return StoreError(
                f"{url}: shows a certificate that is not trusted ({cause}): name its authority's in SSL_CERT_FILE, or give the "
                "server one for this host that holds now"
            )
        if isinstance(error, failures.OutOfMemoryError):
            return StoreError(
                f"{url}: has no memory left ({cause}): raise its maxmemory, then `marm resume` goes on from the last cut"
            )
        if isinstance(error, (*_PASSING, OSError)):
            return StoreError(
                f"{url}: does not answer ({cause}): start it or mend memory.url; what a run has cut is not lost, "
                "`marm resume` goes on from there"
            )
        return StoreError(f"{url}: refused a command ({cause}): see its log")

    def close(self) -> None:
        """Close all connections."""
        for client in (self._single, self._cluster):
            if client:
                client.close()


def _refusal(error: BaseException | None) -> BaseException | None:
    """The refusal that an error is, or was raised for: redis-py's cluster client calls one "no cluster"."""
    while error and not isinstance(error, _REFUSED) and not any(words in str(error) for words in _REFUSED_WORDS):
        error = error.__cause__ or error.__context__
    return error


def _for_good(error: Exception) -> bool:
    """Whether it will be the same however often one tries."""
    return _refusal(error) is not None or _UNTRUSTED in str(error)


def _options(address: Address, patience: Patience) -> dict[str, Any]:
    options: dict[str, Any] = {
        "username": os.environ.get("MARM_REDIS_USERNAME"),
        "password": os.environ.get("MARM_REDIS_PASSWORD"),
        "socket_timeout": patience.timeout,
        "socket_connect_timeout": min(patience.timeout, 2.0),
        "socket_keepalive": True,
        "protocol": 2,
    }
    return options | ({"ssl": True} if address.tls else {})


def _pauses() -> Any:
    """Longer and longer, and never in step with others."""
    pause = _FIRST_PAUSE
    while True:
        yield pause * random.uniform(0.5, 1.0)  # noqa: S311  # nosec B311
        pause = min(2 * pause, _LONGEST_PAUSE)
