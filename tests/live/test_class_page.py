"""The class's page in a real browser, from a file, with a thousand students."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from grader.batch.grades import Course, Grade, Status
from grader.batch.report import classpage, feedback
from grader.batch.students import Student
from grader.results import Verdict
from tests.live.browser import errors_of, open_browser
from tests.unit.classes import course
from tests.unit.test_class_page import EVIL, a_class, grade

pytestmark = pytest.mark.live

PHONE = {"width": 360, "height": 740}
DESKTOP = {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def school() -> Course:
    return course(1000)


@pytest.fixture(scope="module")
def file(school: Course, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("results") / "class.html"
    path.write_text(classpage.render(school, "2026-12-01T09:30:00+00:00"), "utf-8")
    return path


@contextmanager
def opened(browser: Browser, address: str, **options: object) -> Iterator[Page]:
    """A page, which must neither complain nor ask for anything but itself."""
    context = browser.new_context(**{"viewport": DESKTOP} | options)  # type: ignore[arg-type]
    context.set_default_timeout(10_000)
    page = context.new_page()
    errors, asked, said = errors_of(page), [], []
    page.on("request", lambda request: asked.append(request.url.partition("#")[0]))
    page.on("console", lambda message: said.append(message.text))
    page.goto(address)
    yield page
    context.close()
    assert errors == []
    assert said == []
    assert set(asked) == {address.partition("#")[0]}


@pytest.fixture
def page(browser: Browser, file: Path) -> Iterator[Page]:
    with opened(browser, file.as_uri()) as page:
        yield page


def column(page: Page, number: int) -> list[str]:
    """What the rows that are shown say in a column."""
    found: list[str] = page.evaluate(
        "n => [...document.querySelectorAll('tbody tr:not([hidden])')].map(row => row.cells[n].textContent)", number
    )
    return found


def tab_to(page: Page, name: str) -> None:
    """Press Tab until what has the focus is called so."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent.trim()").startswith(name):
            return
    pytest.fail(f"Tab never reached {name}")


def overflows(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))


@pytest.mark.parametrize(("heading", "number"), [("Score", 3), ("Passed", 4), ("Failed", 5), ("Seconds", 7)])
def test_sorts_numbers_greatest_first_then_least_and_leaves_the_empty_last(
    page: Page, heading: str, number: int
) -> None:
    button = page.get_by_role("button", name=re.compile(f"^{heading}"))
    for descending in (True, False):
        button.click()
        values = column(page, number)
        numbers = [float(value) for value in values if value[0].isdigit()]
        assert numbers == sorted(numbers, reverse=descending)
        assert not any(value[0].isdigit() for value in values[len(numbers) :])
        sort = page.locator("th[aria-sort]")
        expect(sort).to_have_count(1)
        expect(sort).to_have_attribute("aria-sort", "descending" if descending else "ascending")


def test_filters_by_text_status_and_failed_check_together(page: Page, school: Course) -> None:
    name, (title, _) = next(iter(school.checks.items()))

    def failed(each: Grade) -> bool:
        checks = each.report.checks if each.report else []
        return any(check.name == name and check.verdict is Verdict.FAILED for check in checks)

    page.get_by_label("Failed the check").select_option(label=title)
    expected = [each for each in school.grades if failed(each)]
    expect(page.locator("#shown")).to_have_text(f"{len(expected)} of 1,000 students")
    page.get_by_label("Name or id").fill("ANGSTROM")
    expected = [each for each in expected if "Ångström" in each.student.name]
    assert 0 < len(expected) < 100
    assert column(page, 1) == [each.student.id for each in expected]
    page.get_by_label("Status", exact=True).select_option("cannot be read")
    expect(page.locator("#shown")).to_have_text("0 of 1,000 students")
    page.get_by_role("button", name="Show all").click()
    expect(page.locator("#shown")).to_have_text("All 1,000 students")


@pytest.mark.parametrize("status", Status)
def test_each_number_of_the_summary_filters_the_table(page: Page, school: Course, status: Status) -> None:
    number = sum(each.status is status for each in school.grades)
    tile = page.locator(f".tile[data-status={status.value!r}]") if "'" not in status else page.locator(".tile.fault")
    expect(tile).to_contain_text(f"{number}")
    tile.click()
    expect(tile).to_have_attribute("aria-pressed", "true")
    assert len(column(page, 0)) == number
    tile.click()
    assert len(column(page, 0)) == 1000


def test_the_keyboard_alone_opens_a_student_goes_on_and_comes_back(page: Page, school: Course) -> None:
    first, second = school.grades[0].student, school.grades[1].student
    tab_to(page, "To the table")
    page.keyboard.press("Enter")
    tab_to(page, first.name)
    page.keyboard.press("Enter")
    title = page.locator("#shown-student h1")
    expect(title).to_have_text(first.name)
    expect(title).to_be_focused()
    assert page.url.endswith(page.evaluate("key => '#student=' + encodeURIComponent(key)", first.key))
    page.keyboard.press("Shift+Tab")
    expect(page.get_by_role("button", name="Next")).to_be_focused()
    page.keyboard.press("Enter")
    expect(title).to_have_text(second.name)
    expect(page.locator("#place")).to_have_text(f"{second.name}: 2 of 1,000")
    page.keyboard.press("Escape")
    expect(page.locator("#student")).to_be_hidden()
    assert page.evaluate("document.activeElement.textContent") == second.name
    assert "#student=" not in page.url


def test_arrow_keys_lead_to_the_next_and_the_previous_student(page: Page, school: Course) -> None:
    first, second = (each.student.name for each in school.grades[:2])
    page.locator("tbody a").first.press("Enter")
    title = page.locator("#shown-student h1")
    expect(title).to_be_focused()
    for key, name in (("ArrowRight", second), ("ArrowLeft", first), ("ArrowLeft", first)):
        page.keyboard.press(key)
        expect(title).to_have_text(name)


@pytest.mark.parametrize("twice", ["dispatchEvent(new KeyboardEvent('keydown', {key: 'Escape'}))", "close.click()"])
def test_closing_twice_at_once_does_not_leave_the_page(page: Page, twice: str) -> None:
    page.locator("tbody a").first.click()
    expect(page.locator("#student")).to_be_visible()
    page.evaluate(
        f"setTimeout(() => {{ const close = document.getElementById('close'); {twice}; {twice}; window.done = true }})"
    )
    page.wait_for_function("window.done && document.getElementById('student').hidden")
    page.locator("tbody a").nth(1).click()
    expect(page.locator("#student")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#class")).to_be_visible()


def test_every_student_can_be_opened(page: Page, school: Course) -> None:
    page.locator("tbody a").first.click()
    for number, each in enumerate(school.grades[:60]):
        expect(page.locator("#place")).to_have_text(f"{each.student.name}: {number + 1} of 1,000")
        if each.report:
            expect(page.locator("#shown-student section").first.locator(".verdicts > li")).to_have_count(16)
        page.keyboard.press("ArrowRight")


def test_the_order_is_that_of_how_many_really_passed(page: Page, school: Course) -> None:
    passed = sorted((each.report.count(Verdict.PASSED) for each in school.grades if each.report), reverse=True)
    page.get_by_role("button", name=re.compile("^Passed")).click()
    assert [int(each) for each in column(page, 4)[: len(passed)]] == passed


def test_after_a_visit_elsewhere_the_filters_say_what_the_table_shows(
    browser: Browser, file: Path, school: Course
) -> None:
    context = browser.new_context(viewport=DESKTOP)
    page = context.new_page()
    page.goto(file.as_uri())
    page.get_by_label("Status", exact=True).select_option("graded")
    elsewhere = file.parent / "elsewhere.html"
    elsewhere.write_text("<title>elsewhere</title>", "utf-8")
    page.goto(elsewhere.as_uri())
    page.go_back()
    page.wait_for_load_state()
    status = page.get_by_label("Status", exact=True).input_value()
    assert len(column(page, 0)) == sum(status in ("", each.status.value) for each in school.grades)
    context.close()


def test_back_closes_a_student_and_forward_opens_it_again(page: Page) -> None:
    page.locator("tbody tr").nth(700).locator("td").nth(2).click()
    expect(page.locator("#student")).to_be_visible()
    page.go_back()
    expect(page.locator("#class")).to_be_visible()
    expect(page.locator("tbody tr").nth(700)).to_be_in_viewport()
    page.go_forward()
    expect(page.locator("#student")).to_be_visible()


def test_next_follows_the_order_and_the_filter_of_the_table(page: Page, school: Course) -> None:
    page.locator(".tile.unreadable").click()
    number = sum(each.status is Status.UNREADABLE for each in school.grades)
    page.get_by_role("button", name=re.compile("^Name")).click()
    names = column(page, 0)
    page.locator("tbody tr:not([hidden]) a").first.click()
    for place, name in enumerate(names, 1):
        expect(page.locator("#place")).to_have_text(f"{name}: {place} of {number}")
        if place < number:
            page.get_by_role("button", name="Next").click()
    expect(page.get_by_role("button", name="Next")).to_have_attribute("aria-disabled", "true")


def test_an_address_leads_to_its_student_and_one_of_nobody_to_the_class(
    browser: Browser, file: Path, school: Course
) -> None:
    with opened(browser, file.as_uri()) as page:
        student = next(each.student for each in school.grades if each.student.name == "李雷")
        page.goto(f"{file.as_uri()}#student={page.evaluate('encodeURIComponent', student.key)}")
        expect(page.locator("#shown-student h1")).to_have_text("李雷")
        page.keyboard.press("Escape")
        expect(page.locator("#class")).to_be_visible()
        for nobody in ("nobody", "%", "__proto__"):
            page.goto(f"{file.as_uri()}#student={nobody}")
            expect(page.locator("#class")).to_be_visible()


def test_what_students_may_not_see_is_in_the_section_that_says_so(page: Page, school: Course) -> None:
    graded = next(
        each for each in school.grades if each.report and each.hidden and each.status is Status.GRADED and each.worker
    )
    page.locator("tbody tr").nth(list(school.grades).index(graded)).locator("a").click()
    theirs = page.locator("#shown-student section").first.inner_text()
    private = page.get_by_role("region", name="Only you see this").inner_text()
    for name in school.hidden:
        assert school.checks[name][0] not in theirs
        assert school.checks[name][0] in private
    for secret in (graded.worker, graded.source):
        assert secret not in theirs
        assert secret in private
    assert "Hidden check 2" in theirs


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_scrolling_sideways(browser: Browser, file: Path, scheme: str) -> None:
    with opened(browser, file.as_uri(), viewport=PHONE, color_scheme=scheme) as page:
        assert not overflows(page)
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", background))) < 150) == (scheme == "dark")
        for row in (0, 1, 2, 300):
            page.locator("tbody tr a").nth(row).click()
            for fold in page.locator("#student summary").all():
                fold.click()
            assert not overflows(page)
            page.get_by_role("button", name="The class").click()


def test_hostile_names_and_messages_stay_text_and_break_no_layout(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "class.html"
    long = grade(Status.FAULT, EVIL + "W" * 400, student=Student("long", "W" * 400, "9" * 200))
    path.write_text(classpage.render(a_class(grade(text=EVIL), long), "now"), "utf-8")
    for viewport in (PHONE, DESKTOP):
        with opened(browser, path.as_uri(), viewport=viewport) as page:
            assert not overflows(page)
            for row in range(2):
                page.locator("tbody a").nth(row).press("Enter")
                expect(page.locator("#shown-student h1")).to_have_text(re.compile("^(<.script>|W{9})"))
                assert page.locator("img").count() == 0
                assert not overflows(page)
                page.keyboard.press("Escape")
                expect(page.locator("#class")).to_be_visible()


def test_printed_it_is_the_summary_and_the_table_or_the_student(page: Page) -> None:
    page.locator(".tile.killed").click()
    shown = len(column(page, 0))
    page.emulate_media(media="print")
    expect(page.locator(".filters")).to_be_hidden()
    expect(page.locator("#scores")).to_be_visible()
    assert page.locator("tbody tr:visible").count() == shown
    page.emulate_media(media="screen")
    page.locator("tbody tr:visible a").first.click()
    page.emulate_media(media="print")
    expect(page.locator("#class")).to_be_hidden()
    expect(page.locator("nav")).to_be_hidden()
    expect(page.locator("#shown-student h1")).to_be_visible()
    assert page.pdf().startswith(b"%PDF")


def test_without_scripts_the_summary_and_the_table_are_there(browser: Browser, file: Path) -> None:
    with opened(browser, file.as_uri(), java_script_enabled=False) as page:
        expect(page.locator("#scores")).to_be_visible()
        expect(page.locator(".filters")).to_be_hidden()
        expect(page.locator("tbody tr").nth(999)).to_be_visible()


@pytest.mark.parametrize("status", Status)
def test_a_student_s_file_fits_a_phone(browser: Browser, tmp_path: Path, status: Status) -> None:
    path = tmp_path / "ada.html"
    path.write_text(feedback.render(grade(status, EVIL + "W" * 400)), "utf-8")
    with opened(browser, path.as_uri(), viewport=PHONE) as page:
        assert not overflows(page)
        assert page.locator("img, script").count() == 0
