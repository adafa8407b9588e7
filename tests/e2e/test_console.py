"""The page in a real browser over the real engine. Screenshots of both languages land in pytest's folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Route, expect, sync_playwright

from bench.stack import Stack

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]
TURN_MS = 60_000
WATCH = """() => {
  const [status, button] = [document.getElementById("status"), document.querySelector("#send button")];
  window.seen = [];
  new MutationObserver(() => window.seen.push([status.textContent, button.disabled])).observe(status, { childList: true });
}"""  # every change of the status line: what it says, and whether a message can be sent meanwhile
QUIET = ("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-gpu")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", *QUIET])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser, stack: Stack) -> Iterator[Page]:
    """The page, ready for a message. Ends with a check that the browser had nothing to complain about."""
    context = browser.new_context(viewport={"width": 1280, "height": 860}, locale="en-GB")
    opened, complaints = context.new_page(), []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda message: complaints.append(message.text) if _ours(message) else None)
    opened.goto(stack.url)
    expect(opened.locator("#text")).to_be_focused()
    yield opened
    context.close()
    assert complaints == []


def _ours(message: ConsoleMessage) -> bool:
    """The browser also reports each refused request; that is the server's word, not a fault of the page."""
    return message.type == "error" and not message.text.startswith("Failed to load resource")


def become(page: Page, customer_id: str, locale: str) -> None:
    page.fill("#customer", customer_id)
    page.select_option("#locale", locale)
    page.click("#visit button")
    expect(page.locator("#text")).to_be_focused()


def say(page: Page, text: str) -> str:
    """Type and press Enter; the desk's answer."""
    answers = page.locator("#lines li.desk")
    before = answers.count()
    page.keyboard.type(text)
    page.keyboard.press("Enter")
    return answered(page, before)


def answered(page: Page, before: int) -> str:
    answers = page.locator("#lines li.desk")
    expect(answers).to_have_count(before + 1, timeout=TURN_MS)
    expect(page.locator("#send button")).to_be_enabled(timeout=TURN_MS)
    return answers.last.inner_text()


def test_a_case_is_settled_with_the_keyboard_alone_and_the_panel_shows_why(page: Page, tmp_path: Path) -> None:
    become(page, "C-012", "en")
    say(page, "My coffee machine from order KW-1061 arrived with a broken lid")
    expect(page.locator("#quick")).to_be_visible()
    inside = page.locator("#turns details").first.inner_text()
    for heading in ("Plan", "Facts", "Clauses found", "Verdicts", "Offer", "Timings"):
        assert heading.lower() in inside.lower()
    assert "damaged_item" in inside
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    expect(page.locator("#yes")).to_be_focused()
    page.keyboard.press("Enter")
    assert "KW-1061" in answered(page, 1)
    expect(page.locator("#quick")).to_be_hidden()
    assert "refund_partial" in page.locator("#turns details").first.inner_text()
    page.screenshot(path=tmp_path / "console-en.png")


def test_the_page_speaks_chinese_and_so_does_the_desk(page: Page, tmp_path: Path) -> None:
    become(page, "C-014", "zh")
    expect(page.locator("html")).to_have_attribute("lang", "zh")
    expect(page.locator("#send button")).to_have_text("发送")
    answer = say(page, "我的包裹KW-1063一直没有到，物流好几天没动了")
    assert "KW-1063" in answer
    assert "查件" in answer
    page.click("#yes")
    assert "已发起" in answered(page, 1)
    page.screenshot(path=tmp_path / "console-zh.png")


def test_while_the_customer_waits_the_page_says_what_is_happening(page: Page) -> None:
    become(page, "C-003", "en")
    page.evaluate(WATCH)  # by the page itself: a turn may be over before a browser's driver looks
    say(page, "where is order KW-1050?")
    expect(page.locator("#status")).to_be_empty()
    seen = page.evaluate("window.seen")
    waiting = [said for said, disabled in seen if disabled]
    assert waiting
    assert all(waiting)
    assert seen[-1] == ["", False]


def test_markup_in_a_message_stays_text(page: Page) -> None:
    become(page, "C-003", "en")
    say(page, "<img src=x onerror=alert(1)> hello")
    assert page.locator("#lines img").count() == 0
    assert "<img src=x" in page.locator("#lines li.customer").inner_text()


def test_a_refusal_is_shown_with_its_remedy_and_the_visit_goes_on(page: Page) -> None:
    become(page, "C-003", "en")
    page.evaluate("document.getElementById('text').removeAttribute('maxlength')")
    page.fill("#text", "x" * 4001)
    page.keyboard.press("Enter")
    expect(page.locator("#problem")).to_contain_text("At most 4000 characters")
    page.fill("#text", "")
    say(page, "hello")
    expect(page.locator("#problem")).to_be_hidden()


def test_the_page_fits_a_telephone(page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    expect(page.locator("#text")).to_be_in_viewport()


def test_what_a_colleague_writes_later_appears_by_itself(page: Page) -> None:
    data = '{"handoff_id":"h","operator":"ana","text":"Hello, this is Ana. <b>How</b> can I help?"}'
    body = f"id: 900\nevent: operator.reply\ndata: {data}\n\n"
    page.route("**/events", lambda route: route.fulfill(status=200, content_type="text/event-stream", body=body))
    become(page, "C-003", "en")
    written = page.locator("#lines li.person")
    expect(written).to_contain_text("Hello, this is Ana. <b>How</b> can I help?")
    assert written.locator("b").count() == 0
    page.wait_for_timeout(1500)  # the stream ended and was asked for again: what was said once is shown once
    expect(written).to_have_count(1)
    expect(page.locator("#send button")).to_be_enabled()


def test_an_answer_begun_by_a_server_that_died_is_taken_back(page: Page) -> None:
    started, sentence = '{"turn_id":"t","text":"hello"}', '{"turn_id":"t","text":"%s"}'
    frames = [
        ("turn.started", started),
        ("reply.sentence", sentence % "First attempt."),
        ("turn.restarted", '{"turn_id":"t"}'),
        ("reply.sentence", sentence % "Second attempt."),
        ("turn.done", '{"turn_id":"t","timings":{},"usage":{},"clause_ids":[]}'),
    ]
    body = "".join(f"id: {number}\nevent: {event}\ndata: {data}\n\n" for number, (event, data) in enumerate(frames, 900))
    page.route("**/turns", lambda route: route.fulfill(status=200, content_type="text/event-stream", body=body))
    assert say(page, "hello") == "Second attempt."


def test_a_desk_that_asks_for_a_key_gets_it_from_the_page(page: Page) -> None:
    keys: list[str | None] = []
    problem = '{"title":"Unauthorized","status":401,"detail":"no API key","hint":"Send X-API-Key."}'

    def guarded(route: Route) -> None:
        keys.append(route.request.headers.get("x-api-key"))
        if keys[-1] is None:
            route.fulfill(status=401, content_type="application/problem+json", body=problem)
        else:
            route.continue_(headers={name: value for name, value in route.request.headers.items() if name != "x-api-key"})

    page.route("**/v1/sessions", guarded)
    page.click("#visit button")
    expect(page.locator("#problem")).to_contain_text("Send X-API-Key.")
    page.locator("#problem input").fill("kw_test")
    page.locator("#problem input").press("Enter")
    expect(page.locator("#problem")).to_be_hidden()
    expect(page.locator("#text")).to_be_focused()
    assert keys == [None, "kw_test"]
