"""Where a Redis store lies: ``redis://host[:port][,host:port ...][/name]``; ``rediss://`` goes by TLS."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from marm.config.memory import NO_SECRETS
from marm.errors import SettingError

_PORT = 6379
_NAME = re.compile(r"(?!\d+$)[\w.-]+", re.ASCII)


@dataclass(frozen=True)
class Address:
    """Servers to ask first, and the name that all keys of the store begin with."""

    url: str
    seeds: tuple[tuple[str, int], ...]
    name: str
    tls: bool


def address_of(kind: str, place: str) -> Address:
    """The parts of a URL. Errors: ``SettingError``, which never repeats a password."""
    hosts, _, name = place.partition("/")
    if "@" in hosts:
        raise SettingError(f"memory.url = {kind}://...@...: {NO_SECRETS}")
    url = f"{kind}://{place}"
    seeds = tuple(_seed(url, text) for text in hosts.split(","))
    if name and not _NAME.fullmatch(name):
        raise SettingError(
            f'memory.url = "{url}": {name!r} is no name of a store: give letters, digits, ".", "_" or "-", '
            "and not a database number"
        )
    return Address(url, seeds, name or "marm", kind == "rediss")


def _seed(url: str, text: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.query or parts.fragment:
        raise SettingError(f'memory.url = "{url}": give host, host:port or several of these with commas between')
    return host, port or _PORT
