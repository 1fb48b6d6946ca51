"""Which files of a folder are its log, where others describe items and users."""

from itertools import takewhile
from pathlib import Path

from polars.exceptions import PolarsError

from marm.data.formats import TOLD_BY, scan
from marm.data.guess import guess_roles
from marm.data.look import Look, glance_at
from marm.data.shapes import SlatesError
from marm.data.source import find_files, parted, unreadable
from marm.errors import DataError

_WILD = frozenset("*?[")
_ALIKE = 2 / 3
_CLEARLY = 2.0


def log_among(path: Path, given: dict[str, str]) -> tuple[Path, str | list[str]]:
    """A folder and the log in it, as a run file names both; ``path`` is a file, a glob, or a folder.

    Files of a folder are of one kind where they share more than two thirds of their columns. The kind that has users, items and
    times is the log; of several such kinds the one that is clearly larger.

    Errors: ``DataError`` where no kind, or more than one, may be the log.
    """
    folder, named = parted(path)
    if not path.is_dir():
        return folder, named
    kinds = _kinds(find_files(folder, named))
    if len(kinds) < 2:
        return folder, named
    return path, _chosen(path, [_named(path, files) for files in kinds], given)


def scattered(look: Look) -> list[str]:
    """A doubt where a log's files lie in folders whose names do not say that they are its parts, as days would."""
    found = sorted({file.parent.relative_to(look.folder).as_posix() for file in look.log.files})
    if len(found) < 2 or all("=" in name or any(map(str.isdigit, name)) for name in found):
        return []
    return [f"the log lies in {len(found)} folders, {', '.join(found[:4])}: name one to learn from it alone"]


def _kinds(files: list[Path]) -> list[list[Path]]:
    """Files by what columns they have, the kind with most bytes first; a file without a byte is of none."""
    kinds: list[tuple[set[str], list[Path]]] = []
    for file in files:
        names = _names(file)
        like = [own for first, own in kinds if len(first & names) > _ALIKE * len(first | names)]
        if like:
            like[0].append(file)
        elif names:
            kinds.append((names, [file]))
    return sorted((own for _, own in kinds), key=_bytes, reverse=True)


def _names(file: Path) -> set[str]:
    if not file.stat().st_size:
        return set()
    try:
        return set(scan(file, rows=TOLD_BY).collect_schema())
    except (PolarsError, OSError) as error:
        raise unreadable(file, error) from None


def _bytes(files: list[Path]) -> int:
    return sum(file.stat().st_size for file in files)


def _named(folder: Path, files: list[Path]) -> str | list[str]:
    """What a run file calls them: a name, a glob that matches them and no other, or a list."""
    names = [file.relative_to(folder).as_posix() for file in files]
    if len(names) == 1:
        return names[0]
    begin, end = _begin(names), _begin([name[::-1] for name in names])[::-1]
    glob = f"{begin}*{end}"
    return glob if not _WILD & set(begin + end) and _matched(folder, glob) == files else names


def _matched(folder: Path, glob: str) -> list[Path]:
    """Files that match; none where names of several folders have no more than that in common."""
    try:
        return find_files(folder, glob)
    except DataError:
        return []


def _begin(names: list[str]) -> str:
    """What all begin with."""
    return "".join(
        letters[0] for letters in takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    )


def _chosen(folder: Path, kinds: list[str | list[str]], given: dict[str, str]) -> str | list[str]:
    """The kind that is the log."""
    fit: list[Look] = []
    refused: list[DataError] = []
    for named in kinds:
        try:
            look = glance_at(folder, named)
            guess_roles(look, given)
            fit.append(look)
        except DataError as error:
            refused.append(error)
    if not fit:
        # Lists of what was shown are a log, if not yet one of rows; else the largest kind most likely is one.
        raise next((error for error in refused if isinstance(error, SlatesError)), refused[0])
    if len(fit) > 1 and _bytes(fit[0].log.files) < _CLEARLY * _bytes(fit[1].log.files):
        both = " and ".join(_called(folder, look) for look in fit[:2])
        raise DataError(f"{folder}: {both} may each be the log, and have other columns: name the one to learn from")
    return fit[0].named


def _called(folder: Path, look: Look) -> str:
    """A log by its folder where its files have one of their own, else by its files."""
    own = {file.parent for file in look.log.files}
    return look.log.name if own == {folder} or len(own) > 1 else str(next(iter(own)).relative_to(folder))
