"""Two lessons in JupyterLab, in a real browser: what a student sees and can click on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from grader import catalog
from notebooks.lab import end, free_port
from tests.live.browser import errors_of, open_browser

pytestmark = pytest.mark.live

# Running all cells takes a minute; the rest is for a busy machine.
PATIENCE = 300_000  # milliseconds


@pytest.fixture(scope="module")
def workbook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy to run the lessons in, because JupyterLab saves what it has run."""
    copy = tmp_path_factory.mktemp("workbook")
    ignored = shutil.ignore_patterns("__pycache__", "work", ".ipynb_checkpoints")
    for folder in ("notebooks", "exercises", "grader"):
        shutil.copytree(catalog.ROOT / folder, copy / folder, ignore=ignored)
    for other in ("stack", ".venv", "requirements.txt", "compose.yml", "Makefile"):
        if (catalog.ROOT / other).exists():
            (copy / other).symlink_to(catalog.ROOT / other)
    return copy


@pytest.fixture(scope="module")
def jupyterlab(workbook: Path) -> Iterator[str]:
    """The address of a JupyterLab in the workbook's copy."""
    port = free_port()
    settings = workbook / "settings"
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}", "--port-retries=0",
        "--IdentityProvider.token=", "--LabApp.expose_app_in_browser=True", "--LabApp.news_url=",
    ]  # fmt: skip
    environment = os.environ | {
        "LESSON_PROJECT": f"test-lesson-{os.getpid()}-browser",
        "LESSONS_FOLDER": str(workbook / "lessons"),
        "JUPYTERLAB_SETTINGS_DIR": str(settings),
        "JUPYTERLAB_WORKSPACES_DIR": str(settings),
        "JUPYTER_CONFIG_DIR": str(settings),
    }
    log = (workbook / "jupyterlab.log").open("w")
    with subprocess.Popen(
        command, cwd=workbook, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    ) as server:
        address = f"http://127.0.0.1:{port}"
        try:
            deadline = time.monotonic() + 120
            while not _answers(f"{address}/api"):
                assert server.poll() is None, (workbook / "jupyterlab.log").read_text()
                assert time.monotonic() < deadline, (workbook / "jupyterlab.log").read_text()
                time.sleep(0.2)
            yield address
        finally:
            end(server)
            log.close()


def _answers(address: str) -> bool:
    try:
        return httpx.get(address).is_success
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1300, "height": 1000})
    context.set_default_timeout(PATIENCE)
    yield context.new_page()
    context.close()


@pytest.mark.parametrize(
    ("lesson", "pictures"),
    [("00-welcome", ["img[alt*=starting]", ".jp-RenderedMermaid"]), ("10-resources-and-gpu", ["img[alt*=limit]"])],
)
def test_lesson_runs_shows_its_pictures_asks_and_grades(
    jupyterlab: str, page: Page, lesson: str, pictures: list[str]
) -> None:
    errors = errors_of(page)
    page.goto(f"{jupyterlab}/lab/tree/notebooks/{lesson}.ipynb?reset")
    expect(page.locator(".jp-Notebook .jp-Cell").first).to_be_visible(timeout=PATIENCE)
    # Resolved once the kernel is there and the last cell has ended.
    page.evaluate("window.jupyterapp.restored")
    page.wait_for_function("window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'")
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")

    expect(page.locator("section.grading")).to_be_attached(timeout=PATIENCE)
    assert page.locator(".jp-OutputArea-output[data-mime-type*=error]").all_inner_texts() == []
    for selector in pictures:
        drawn = page.locator(f"{selector}").first
        drawn.scroll_into_view_if_needed()
        expect(drawn).to_be_visible()
        shown = drawn if selector.startswith("img") else drawn.locator("img, svg").first
        assert shown.bounding_box()["width"] > 200  # type: ignore[index]

    answer = page.locator(".Quiz .MCButton").first
    answer.scroll_into_view_if_needed()
    feedback = page.locator(".Quiz .Feedback").first
    assert feedback.inner_text() == ""
    answer.click()
    expect(feedback).not_to_be_empty()

    report = page.locator("section.grading")
    report.scroll_into_view_if_needed()
    expect(report.locator(".score")).to_contain_text("points")
    hint = report.locator("details", has_text="Hint").first
    expect(hint.locator(".body")).to_be_hidden()
    hint.locator("summary").click()
    expect(hint.locator(".body")).to_be_visible()
    assert errors == []
