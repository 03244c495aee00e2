"""A real browser for the tests of what students and instructors look at."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, expect, sync_playwright

from grader.errors import MachineError
from grader.setup import apt

PATIENCE = 60_000  # milliseconds; an expectation ends as soon as it is met
NAMES = ("chromium", "chromium-browser", "google-chrome")


def executable() -> str:
    """The browser of this machine; where there is none it is installed.

    Raises:
        MachineError: there is none, and it cannot be installed from here.
    """
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found:
        return found
    if not apt.usable():
        raise MachineError("The browser tests need Chromium.", "Install it: sudo apt-get install chromium")
    apt.update()
    apt.install(["chromium"])
    return executable()


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Chromium without a window."""
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        # Tests run as root in many places, where Chromium's own sandbox does not work; what it shows is our own.
        browser = playwright.chromium.launch(executable_path=executable(), args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def errors_of(page: Page) -> list[str]:
    """Errors that scripts of the page raise; collected from now on.

    Not counted: Chromium aborts what it is fetching whenever a network interface comes or goes, as Docker's do.
    """
    errors: list[str] = []
    page.on("pageerror", lambda error: "Failed to fetch" in str(error) or errors.append(str(error)))
    return errors
