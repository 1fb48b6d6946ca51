"""Every way a user's input can be wrong, as a type whose message tells what was found, what was wanted and what to do."""

import re

_BREAKS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\x85\u2028\u2029]+")


class MarmError(Exception):
    """A mistake that its maker can mend: shown as one line, exit code 2, never a traceback."""


class SettingError(MarmError):
    """A run file or ``--set`` that names or values something wrongly."""


class DataError(MarmError):
    """A log or side file that does not hold what the run file says it holds."""


class LayoutError(MarmError):
    """A store holds rows of another shape than the model reads."""

    def __init__(self, url: str, held: str, asked: str) -> None:
        super().__init__(
            f"{url} holds {held}, this model reads {asked}: point memory.url at a new store or train into a new folder"
        )


class FolderError(MarmError):
    """A run folder that is not in the state the command needs."""


class DiskError(MarmError):
    """The disk refused a write: full, read-only or gone; what was there before is untouched."""

    def __init__(self, path: object, cause: OSError) -> None:
        super().__init__(
            f"{path}: cannot write ({cause.strerror or cause}): free space or choose a writable folder; "
            "what was there before is untouched"
        )


class BrokerError(MarmError):
    """A broker that does not answer, refuses, or no longer has what comes next; what was learned is in the run folder."""


class StoreError(MarmError):
    """A store on another machine that does not answer, or refuses; a run goes on from its last cut once it does."""


def first_line(error: BaseException | None, nothing: str = "") -> str:
    """The first line of what an error says; of one that says ``nothing`` that, or its kind."""
    return (str(error).strip().splitlines() or [nothing or type(error).__name__])[0]


def one_line(text: object) -> str:
    """What it says as one line: line breaks and control characters, as in names of columns, are spaces."""
    return _BREAKS.sub(" ", str(text))
