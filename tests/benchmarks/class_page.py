"""How large the class's page is, and how quick: ``python -m tests.benchmarks.class_page``.

"opens" is from the navigation until the table can be used and is drawn; "sorts", "filters" and "a student" from a click
or a letter until the browser has drawn what came of it.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import click
from playwright.sync_api import Browser
from rich.console import Console
from rich.table import Table

from grader.batch.report import classpage, feedback
from tests.live.browser import open_browser
from tests.unit.classes import course

# Runs what it is given, and says how many milliseconds pass until it is drawn.
_UNTIL_DRAWN = """async what => {
  const began = performance.now();
  new Function(what)();
  await new Promise(drawn => requestAnimationFrame(() => setTimeout(drawn)));
  return performance.now() - began;
}"""
_SINCE_THE_NAVIGATION = """async () => {
  await new Promise(drawn => requestAnimationFrame(() => setTimeout(drawn)));
  return performance.now();
}"""
_SORT = "document.querySelector('th[data-by=score] button').click()"
_FILTER = """const box = document.getElementById('by-text');
box.value = box.value ? '' : 'a'; box.dispatchEvent(new Event('input'))"""
_OPEN = """location.hash = location.hash ? '' : document.querySelector('tbody a').hash"""


@click.command()
@click.option("--sizes", multiple=True, type=int, default=(10, 100, 1000), show_default=True)
@click.option("--times", default=5, show_default=True, help="How often each is measured; the median is shown.")
def main(sizes: Sequence[int], times: int) -> None:
    """Measure classes of so many students."""
    table = Table(
        "students", "MB", "written, s", "feedback, ms each", "opens, ms", "sorts, ms", "filters, ms", box=None
    )
    table.add_column("a student, ms")
    course(1)  # the checks are read once
    with tempfile.TemporaryDirectory() as folder, open_browser() as browser:
        for size in sizes:
            some = course(size)
            classpage.render(some, "")
            began = time.perf_counter()
            page = classpage.render(some, "2026-12-01T09:30:00+00:00")
            written = time.perf_counter() - began
            began = time.perf_counter()
            for grade in some.grades:
                feedback.render(grade)
            each = 1000 * (time.perf_counter() - began) / size
            file = Path(folder) / "class.html"
            file.write_text(page, "utf-8")
            in_browser = [f"{milliseconds:.0f}" for milliseconds in _in_browser(browser, file, times)]
            megabytes = f"{file.stat().st_size / 1e6:.2f}"
            table.add_row(str(size), megabytes, f"{written:.2f}", f"{each:.1f}", *in_browser)
    Console(width=120).print(table)


def _in_browser(browser: Browser, file: Path, times: int) -> list[float]:
    """Milliseconds to open, to sort, to filter, and to show a student."""
    opens, does = [], {what: list[float]() for what in (_SORT, _FILTER, _OPEN)}
    for _ in range(times):
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(file.as_uri())  # ends when the script has run
        opens.append(page.evaluate(_SINCE_THE_NAVIGATION))
        for what, found in does.items():
            found.append(page.evaluate(_UNTIL_DRAWN, what))
        page.close()
    return [statistics.median(opens), *(statistics.median(found) for found in does.values())]


if __name__ == "__main__":
    main()
