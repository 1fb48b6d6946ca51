"""Debian's Chromium, headless and without a way to the internet."""

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, sync_playwright

from tests.debian import program

_NOWHERE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"


def chromium() -> str:
    """The path of the system's Chromium; else the test is skipped, saying why."""
    return program("chromium", "chromium", "chromium-browser", "google-chrome")


@contextmanager
def opened() -> Iterator[Browser]:
    """A browser that reaches this machine only."""
    path = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", _NOWHERE])
        yield browser
        browser.close()


class Watched:
    """A page, and everything that it complained of or asked for elsewhere."""

    def __init__(self, browser: Browser, address: str, **options: object) -> None:
        self.address, self.wrong = address, []
        self.page: Page = browser.new_context(**options).new_page()  # type: ignore[arg-type]
        self.page.set_default_timeout(20_000)
        self.page.on("console", lambda said: said.type in ("error", "warning") and self.wrong.append(said.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda asked: asked.url.startswith(address) or self.wrong.append(asked.url))

    def texts(self, selector: str) -> list[str]:
        """What is shown in each element."""
        return [text.strip() for text in self.page.locator(selector).all_inner_texts()]

    def close(self) -> None:
        """Close the page. Nothing may have gone wrong."""
        self.page.context.close()
        assert self.wrong == []
