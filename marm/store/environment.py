"""LMDB environments: opened once for each folder and process, grown when full, errors told in our words."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import lmdb

from marm.errors import DiskError, FolderError

MAP_BYTES = 1 << 40
"""Address space asked for; the file grows only as it is written."""
_LEAST_MAP_BYTES = 1 << 24
_MAX_READERS = 1024
_FILE = "data.mdb"


class Environment:
    """One open LMDB folder with its tables, shared by every store of this process that names it.

    No writemap: changes reach the file by write and fsync, the root of the new tree last, so that a process killed at
    any moment leaves the last commit, and a full disk is an error and not a SIGBUS.
    """

    def __init__(self, path: Path, readonly: bool, tables: tuple[bytes, ...]) -> None:
        self.path, self.readonly, self.users = path, readonly, 0
        self._lmdb = _open(path, readonly, len(tables))
        try:
            self.tables = [self._lmdb.open_db(name, create=not readonly) for name in tables]
        except lmdb.NotFoundError:
            self._lmdb.close()
            raise FolderError(f"{path}: holds no store: train into it first, or mend memory.url") from None
        except lmdb.Error as error:
            self._lmdb.close()
            raise _told(path, error) from None

    @contextmanager
    def read(self) -> Iterator[Any]:
        """A transaction that sees one commit; values are buffers, gone when it ends."""
        try:
            transaction = self._lmdb.begin(buffers=True)
        except lmdb.MapResizedError:  # another process made the map larger
            self._lmdb.set_mapsize(0)
            transaction = self._lmdb.begin(buffers=True)
        with transaction:
            yield transaction

    def write(self, work: Callable[[Any], None]) -> None:
        """Run ``work`` in one transaction: all of it is on the disk when this returns, or none (DiskError)."""
        if self.readonly:
            raise ValueError(f"{self.path} was opened to read only")
        self._lmdb.reader_check()  # a reader that was killed must not hold old pages for ever
        while True:
            try:
                with self._lmdb.begin(write=True, buffers=True) as transaction:
                    return work(transaction)
            except lmdb.MapFullError:
                self._lmdb.set_mapsize(2 * self._lmdb.info()["map_size"])
            except lmdb.MapResizedError:
                self._lmdb.set_mapsize(0)
            except lmdb.Error as error:
                raise _told(self.path, error) from None

    def space(self) -> tuple[int, int]:
        """Bytes of pages that tables use, the two that head the file with them, and of the file."""
        with self.read() as transaction:
            tables = [transaction.stat(table) for table in (None, *self.tables)]
        pages = sum(table[f"{kind}_pages"] for table in tables for kind in ("branch", "leaf", "overflow"))
        return (pages + 2) * tables[0]["psize"], (self.path / _FILE).stat().st_size

    def copy(self, path: Path) -> None:
        """Copy the last commit into a new folder; DiskError where that cannot be written."""
        try:
            path.mkdir(parents=True)
            self._lmdb.copy(str(path), compact=True)
        except OSError as error:
            raise DiskError(path, error) from None
        except lmdb.Error as error:
            raise _told(path, error) from None

    def close(self) -> None:
        """Close the folder."""
        self._lmdb.close()


# LMDB forbids a process to open a folder twice; the file's identity, not its path, tells a folder made anew.
_open_now: dict[tuple[int, int], Environment] = {}
_lock = Lock()


def borrow(path: Path, readonly: bool, tables: tuple[bytes, ...]) -> Environment:
    """The folder's environment, opened if this process has not; FolderError or DiskError where it cannot be."""
    with _lock:
        environment = _open_now.get(_identity(path))
        if environment is None:
            environment = Environment(path, readonly, tables)
            _open_now[_identity(path)] = environment
        if environment.readonly and not readonly:
            raise FolderError(f"{path}: open to read only in this process: close it before writing to it")
        environment.users += 1
        return environment


def give_back(environment: Environment) -> None:
    """Close the environment when its last borrower gives it back."""
    with _lock:
        environment.users -= 1
        if not environment.users:
            for key in [key for key, held in _open_now.items() if held is environment]:
                del _open_now[key]
            environment.close()


def _identity(path: Path) -> tuple[int, int]:
    try:
        about = (path / _FILE).stat()
    except OSError:
        return (-1, -1)
    return about.st_dev, about.st_ino


def _open(path: Path, readonly: bool, tables: int) -> Any:
    if readonly and not (path / _FILE).is_file():
        raise FolderError(f"{path}: holds no store: train into it first, or mend memory.url")
    size = MAP_BYTES
    while True:
        try:
            path.mkdir(parents=True, exist_ok=True)
            return lmdb.open(str(path), map_size=size, max_dbs=tables, max_readers=_MAX_READERS, readonly=readonly)
        except lmdb.MemoryError as error:  # the address space is limited: try less, grow when full
            if size <= _LEAST_MAP_BYTES:
                raise _told(path, error) from None
            size //= 4
        except lmdb.Error as error:
            raise _told(path, error) from None
        except OSError as error:
            raise DiskError(path, error) from None


def _told(path: Path, error: Any) -> Exception:
    """LMDB's error as one of ours: what the machine refused, or a file that is no store; else as it is."""
    if isinstance(error, lmdb.InvalidError | lmdb.CorruptedError | lmdb.VersionMismatchError | lmdb.PageNotFoundError):
        return FolderError(f"{path}: damaged or not made by LMDB ({error}): name a new folder in memory.url")
    code = getattr(error, "code", errno.EIO)
    if code > 0 and code != errno.EINVAL:
        return DiskError(path, OSError(code, os.strerror(code)))
    return error if isinstance(error, Exception) else RuntimeError(str(error))
