"""The view Farm: held jobs, queues, events, a worker that drains, and a farm that cannot be reached for a while."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx
import psutil
from selenium.webdriver.common.keys import Keys

from tests.e2e.browser.conftest import OpenPage
from tests.e2e.browser.page import TIMEOUT_SECONDS, Page
from tests.e2e.browser.stocked import StockedFarm
from tests.e2e.browser.studio import VIEWS, go


def farm(stocked: StockedFarm, open_page: OpenPage) -> Page:
    page = open_page(stocked, view="farm")
    page.until(lambda: page.find_all("#workers .worker") and page.find_all("#events h3"), "the farm is not shown")
    return page


def test_held_jobs_are_retried_one_by_one_and_all(stocked: StockedFarm, open_page: OpenPage) -> None:
    held = [stocked.submit("synthetic:oom", num_inference_steps=2) for _ in range(3)]
    page = farm(stocked, open_page)
    page.until(lambda: all(stocked.job(job)["status"] == "held" for job in held), "they were not held")
    page.until(lambda: page.texts("#retry-held") == ["Retry 3 held jobs"], "the queue does not count them")
    rows = ".panel[aria-labelledby='queue-title'] tbody tr"
    counts = [["demo", "anonymous", "0", "0", "3"]]
    page.until(lambda: [text.split() for text in page.texts(rows)] == counts, "the table does not count them")
    one = f"#events li:has(a[href$='{held[1]}'])"
    page.until(lambda: page.texts(one) and page.texts(one)[0].startswith("Job held"), "its end is no event")
    assert "asks for this fault" in page.texts(f"{one} .hint")[0], "the event does not say what happened"
    page.click(f"{one} button")
    page.until(lambda: stocked.job(held[1])["attempt"] == 2, "the one job was not retried")
    assert [stocked.job(job)["attempt"] for job in (held[0], held[2])] == [1, 1]
    page.until(lambda: stocked.job(held[1])["status"] == "held", "its second attempt did not end")
    page.until(lambda: page.texts("#retry-held") == ["Retry 3 held jobs"], "it is not counted again")
    page.click("#retry-held")
    page.until(
        lambda: [stocked.job(job)["attempt"] for job in held] == [2, 3, 2], "not each of them was retried once by the button"
    )
    page.until(lambda: all(stocked.job(job)["status"] == "held" for job in held), "they did not end")
    for job in held:
        httpx.post(f"{stocked.url}/v1/jobs/{job}/cancel").raise_for_status()
    page.until(lambda: not page.find_all("#retry-held"), "the canceled jobs are still counted")


def test_a_worker_drains_and_a_killed_one_is_an_event(stocked: StockedFarm, open_page: OpenPage) -> None:
    stocked.start_worker("leaving", "demo")
    stocked.start_worker("killed", "demo")
    page = farm(stocked, open_page)
    cards = ".worker:is([data-worker='leaving'], [data-worker='killed']) .badge"
    page.until(lambda: page.texts(cards) == ["ready", "ready"], "no new workers")
    process = stocked.parts.parts["killed"].process
    assert process is not None
    for child in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.kill()
    stocked.parts.parts.pop("killed").kill()
    page.push("Drain", ".worker[data-worker='leaving']")
    page.until(lambda: "finishes its jobs" in page.text("dialog[open]"), "it is not asked whether to drain")
    page.click("dialog[open] .danger")
    page.until(lambda: not page.find_all(".worker[data-worker='leaving']"), "the worker did not stop")
    leaving = stocked.parts.parts.pop("leaving").process
    assert leaving is not None
    assert leaving.wait(TIMEOUT_SECONDS) == 0
    page.until(lambda: "Worker lost · killed" in page.text("#events"), "the lost worker is no event")
    page.until(lambda: page.texts(".worker[data-worker='killed'] .badge") == ["lost"], "it is not shown as lost")
    assert not page.find_all(".worker[data-worker='killed'] button"), "a lost worker cannot be drained"


def test_a_worker_shows_what_it_does_and_the_keyboard_keeps_its_place(stocked: StockedFarm, open_page: OpenPage) -> None:
    with frozen_engine(stocked):
        job = stocked.submit("watched from the farm", num_inference_steps=100, num_images=16)
        page = open_page(stocked)
        page.view("farm")
        row = ".worker[data-worker='worker0'] .rows a"
        page.until(lambda: page.texts(row) == ["watched from the farm"], "no job is shown")
        assert page.find_all(f"{row}[href$='{job}']")
        assert page.find_all(".worker[data-worker='worker0'] [role='meter'][aria-valuetext^='1 / ']")
    pause = "document.querySelector(\".worker[data-worker='worker0'] > .row:last-child > button\")"
    page.script(f"window.before = {pause}; window.before.focus()")
    assert page.script("return window.before.innerText") == "Pause"
    page.until(lambda: page.script("return !window.before.isConnected"), "the view was not renewed")
    page.press(Keys.ENTER)
    page.button("Resume", ".worker[data-worker='worker0']")
    page.press(Keys.ENTER)
    page.button("Pause", ".worker[data-worker='worker0']")
    httpx.post(f"{stocked.url}/v1/jobs/{job}/cancel").raise_for_status()


_PAST_THE_EDGE = """
const card = document.querySelector(".worker[data-worker='worker0']").getBoundingClientRect();
return [...document.querySelectorAll(".worker[data-worker='worker0'] .rows :is(li, a, span)")]
  .filter((one) => one.getBoundingClientRect().right > card.right).map((one) => one.innerText);
"""


def test_long_prompts_stay_within_the_card_of_their_worker(stocked: StockedFarm, open_page: OpenPage) -> None:
    prompt = "a lighthouse over a stormy sea at dusk, in thick oil paint with wide strokes"
    with frozen_engine(stocked):
        jobs = [stocked.submit(prompt, num_inference_steps=100, num_images=16) for _ in range(2)]
        page = open_page(stocked, size=(1280, 900)).view("farm")
        page.until(lambda: page.find_all(".worker[data-worker='worker0'] .rows .aside"), "no job is shown")
        assert page.script(_PAST_THE_EDGE) == []
    for job in jobs:
        httpx.post(f"{stocked.url}/v1/jobs/{job}/cancel").raise_for_status()


def test_charts_and_their_time_range(stocked: StockedFarm, open_page: OpenPage) -> None:
    stocked.render("for the charts")
    page = farm(stocked, open_page)
    page.until(lambda: page.find_all(".chart"), "no charts")
    assert page.texts("#charts figcaption > span:first-child") == [
        "Jobs that ended",
        "Wait",
        "Run",
    ]
    assert page.script("return document.querySelectorAll('.chart .bar-good').length") > 0
    axis = page.texts(".chart-axis")[0]
    page.push("Week", ".page-head")
    page.until(lambda: page.texts(".chart-axis")[0] != axis, "the range did not change")
    page.driver.refresh()
    page.until(lambda: page.find_all(".page-head button[aria-pressed='true']"), "the view did not open")
    assert page.find(".page-head button[aria-pressed='true']").text == "Week"


def test_every_view_says_that_the_farm_is_away_and_goes_on_by_itself(stocked: StockedFarm, open_page: OpenPage) -> None:
    page = farm(stocked, open_page)
    for view in VIEWS:
        page.module(f"js/views/{view}.js", "true")  # with all that it imports
    network = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    page.driver.execute_cdp_cmd("Network.enable", {})  # what follows has no effect without it
    page.driver.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": True, **network})
    try:
        away = "The farm does not answer. Is it still running?"
        page.until(lambda: page.text("#farm-text") == away, "the line does not say that the farm is away")
        page.until(lambda: page.text("#main .error") == away, "the view does not say that the farm is away")
        for view in ("models", "gallery", "create"):
            page.click(f"#nav a[data-view='{view}']")
            page.appears(f"#main[data-view='{view}']", f"{view} does not open while away")
            if view != "create":
                page.until(lambda: page.text("#main .error") == away, f"{view} does not say that the farm is away")
    finally:
        page.driver.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": False, **network})
    page.until(lambda: page.attribute("#farm", "data-tone") == "good", "the page did not go on by itself")
    job = stocked.submit("after the break", num_inference_steps=1)
    page.until(
        lambda: page.find_all(".card[data-status='succeeded'][aria-label$='after the break']"), f"{job} is not followed"
    )
    for view, shown in (("models", ".model"), ("gallery", ".cell img.in"), ("farm", ".worker")):
        page.click(f"#nav a[data-view='{view}']")
        page.appears(shown, f"{view} is empty after the break")
        page.until(lambda: not page.find("#main .error").is_displayed(), f"{view} still reports the break")


def test_a_job_that_ends_while_the_server_is_away_is_not_missed(stocked: StockedFarm, open_page: OpenPage) -> None:
    page = open_page(stocked)
    with frozen_engine(stocked):
        job = stocked.submit("across a restart", num_inference_steps=30)
        card = ".card[aria-label$='across a restart']"
        page.until(lambda: page.find_all(f"{card}[data-status='running']"), "the job does not run")
        api = stocked.parts.parts["api"]
        api.send(signal.SIGTERM)
        assert api.process is not None
        api.process.wait(TIMEOUT_SECONDS)
        page.until(lambda: page.attribute("#farm", "data-tone") == "bad", "the page did not notice")
    page.until(lambda: stocked.stored_status(job) == "succeeded", "the job did not end without the server")
    assert page.attribute(card, "data-status") == "running"
    api.start()
    page.until(lambda: page.find_all(f"{card}[data-status='succeeded'] img"), "the end of the job was missed")
    page.until(lambda: page.attribute("#farm", "data-tone") == "good", "the page did not recover")


@contextmanager
def frozen_engine(stocked: StockedFarm) -> Iterator[None]:
    """Stop the engine of the only worker that renders: a job lasts as long as a test needs."""
    engines = stocked.parts.parts["worker0"].engines()
    for engine in engines:
        engine.suspend()
    try:
        yield
    finally:
        for engine in engines:
            engine.resume()


_HELD_BACK = """
const Real = EventSource;
window.EventSource = class extends EventTarget {
  constructor(url) {
    super();
    const begin = () => {
      if (!window.released) { this.timer = setTimeout(begin, 20); return; }
      this.real = new Real(url);
      this.real.onopen = () => this.onopen();
      this.real.onerror = () => this.onerror();
    };
    begin();
  }
  close() { clearTimeout(this.timer); this.real?.close(); }
};
"""


def test_a_job_that_ends_before_the_stream_begins_is_not_missed(stocked: StockedFarm, open_page: OpenPage) -> None:
    page = open_page(stocked, ready=False)
    added = page.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": _HELD_BACK})
    try:
        with frozen_engine(stocked):
            job = stocked.submit("ends unseen", num_inference_steps=100, num_images=16)
            page.driver.refresh()
            card = ".card[aria-label$='ends unseen']"
            is_open = f"{card}:is([data-status='running'], [data-status='queued'])"
            page.until(lambda: page.find_all(is_open), "it is not listed")
        httpx.post(f"{stocked.url}/v1/jobs/{job}/cancel").raise_for_status()
        page.until(lambda: stocked.job(job)["status"] == "canceled", "it was not canceled")
        page.script("window.released = true")
        page.until(lambda: page.find_all(f"{card}[data-status='canceled']"), "its end was missed")
    finally:
        page.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)


def test_the_farm_shows_its_workers_and_pauses_them(page: Page) -> None:
    go(page, "farm")
    page.until(lambda: page.find_all(".worker"), "no workers")
    page.until(lambda: len(page.find_all(".chart")) == 3, "no charts")
    pause = ".worker .row:last-child button:first-child"
    assert page.find(pause).text == "Pause"
    page.click(pause)
    page.until(lambda: page.text(pause) == "Resume", "it was not paused")
    page.click(pause)
    page.until(lambda: page.text(pause) == "Pause", "it was not resumed")
