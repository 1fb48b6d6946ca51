"""Progress on stderr for everything longer than a second: bars for a terminal, a line now and then for a file."""

import sys
import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

_EVERY = 10.0


class StreamProgress:
    """Events done, events per second, GAUC of the last window, memory, time left."""

    def __init__(self, label: str, quiet: bool = False) -> None:
        self.label, self.quiet = label, quiet
        self.console = Console(stderr=True)
        self.live = self.console.is_terminal and not quiet
        text = TextColumn("{task.fields[text]}")
        self.bar = Progress(TextColumn(label), BarColumn(None), text, TimeRemainingColumn(), console=self.console)
        self.task = self.bar.add_task(label, total=None, text="", visible=False)
        self.began = self.printed = time.monotonic()
        self.first: int | None = None
        self.events = 0
        self.window = ""

    def __enter__(self) -> Self:
        if self.live:
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self.bar.stop()

    def preparing(self, what: str, share: float) -> None:
        """While a log is being prepared."""
        self._show(f"{what} {share:.0%}", share, 1.0)

    def __call__(self, told: dict[str, Any]) -> None:
        """What the trainer says."""
        if "trouble" in told:
            # Quiet or not: whoever wants no progress still wants to know.
            self.console.print(f"{self.label}: {told['trouble']}", soft_wrap=True, highlight=False, markup=False)
            return
        if "window" in told:
            self.window = _window(told["window"])
            return
        if "share" in told:
            self._show(told["text"], told["share"], 1.0)
            return
        events, total = told["events"], told["total"]
        now = time.monotonic()
        if self.first is None or events < self.events:
            # Following goes on in the first pass's numbers where a training of several has ended.
            self.first, self.began = events, now
        self.events = events
        rate = (events - self.first) / max(now - self.began, 1e-9)
        self._show(f"{events:,}/{total:,} events  {rate:,.0f}/s{self.window}", events, total)

    def _show(self, text: str, done: float, total: float) -> None:
        if self.live:
            self.bar.update(self.task, completed=done, total=total, text=text, visible=True)
        elif not self.quiet and time.monotonic() - self.printed > _EVERY:
            self.printed = time.monotonic()
            print(f"{self.label}: {text}", file=sys.stderr)


def _window(line: dict[str, Any]) -> str:
    gauc = [f"{name} {task['gauc']:.4f}" for name, task in line["tasks"].items() if task.get("gauc")]
    lag = f"  lag {line['lag']:,}" if "lag" in line else ""
    return (f"  GAUC {' '.join(gauc[:3])}  memory {line['memory_bytes'] / 1e6:,.0f} MB" if gauc else "") + lag
