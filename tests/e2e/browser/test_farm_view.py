"""The view Farm: held jobs, queues, events, a worker that drains, and a farm that cannot be reached for a while."""

from __future__ import annotations

import signal
from typing import Any

import httpx
import psutil
from selenium.webdriver.common.keys import Keys

from tests.e2e.browser.conftest import OpenPage
from tests.e2e.browser.page import TIMEOUT_SECONDS, Page
from tests.e2e.browser.stocked import StockedFarm

VIEWS = ("create", "gallery", "models", "farm", "settings")


def farm(stocked: StockedFarm, open_page: OpenPage) -> Page:
    page = open_page(stocked, ready=False).view("farm")
    page.until(lambda: page.find_all("#workers .worker") and page.find_all("#events h3"), "the farm is not shown")
    return page


def jobs(stocked: StockedFarm, **wanted: object) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = httpx.get(f"{stocked.url}/v1/jobs", params={"limit": 100, **wanted}).json()["items"]  # type: ignore[arg-type]
    return found


def test_held_jobs_are_retried_one_by_one_and_all(stocked: StockedFarm, open_page: OpenPage) -> None:
    held = [stocked.submit("synthetic:oom", num_inference_steps=2) for _ in range(3)]
    page = farm(stocked, open_page)
    for job in held:
        page.until(lambda job=job: stocked.job(job)["status"] == "held", "the job was not held")
    page.until(lambda: page.find("#retry-held").text == "Retry 3 held jobs", "the queue does not count them")
    rows = ".panel[aria-labelledby='queue-title'] tbody tr"
    assert page.find(rows).text.split() == ["demo", "anonymous", "0", "0", "3"]
    one = page.find(f"#events li:has(a[href$='{held[1]}'])")
    assert one.text.startswith("Job held"), one.text
    assert one.find_element("css selector", ".hint").text, "the event does not say what happened"
    one.find_element("css selector", "button").click()
    page.until(lambda: stocked.job(held[1])["attempt"] == 2, "the one job was not retried")
    assert [stocked.job(job)["attempt"] for job in (held[0], held[2])] == [1, 1]
    page.until(lambda: stocked.job(held[1])["status"] == "held", "its second attempt did not end")
    page.until(lambda: page.find_all("#retry-held") and "3" in page.find("#retry-held").text, "it is not counted again")
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
    for name in ("leaving", "killed"):
        card = f".worker[data-worker='{name}'] .badge"
        page.until(lambda card=card: [badge for badge in page.find_all(card) if badge.text == "ready"], "no new worker")
    process = stocked.parts.parts["killed"].process
    assert process is not None
    for child in psutil.Process(process.pid).children(recursive=True):
        child.kill()
    stocked.parts.parts.pop("killed").kill()
    drain = page.button("Drain", ".worker[data-worker='leaving']")
    drain.click()
    assert "finishes its jobs" in page.find("dialog[open]").text
    page.click("dialog[open] .danger")
    page.until(lambda: not page.find_all(".worker[data-worker='leaving']"), "the worker did not stop")
    leaving = stocked.parts.parts.pop("leaving").process
    assert leaving is not None
    assert leaving.wait(TIMEOUT_SECONDS) == 0
    page.until(lambda: "Worker lost · killed" in page.find("#events").text, "the lost worker is no event")
    assert page.find(".worker[data-worker='killed'] .badge").text == "lost"
    assert not page.find_all(".worker[data-worker='killed'] button"), "a lost worker cannot be drained"


def test_a_worker_shows_what_it_does_and_the_keyboard_keeps_its_place(stocked: StockedFarm, open_page: OpenPage) -> None:
    job = stocked.submit("watched from the farm", num_inference_steps=100, num_images=16)
    page = open_page(stocked)
    page.view("farm")
    row = ".worker[data-worker='worker0'] .rows a"
    page.until(lambda: [each for each in page.find_all(row) if each.text == "watched from the farm"], "no job is shown")
    assert page.find(row).get_attribute("href").endswith(job)
    assert page.find(".worker[data-worker='worker0'] [role='meter']").get_attribute("aria-valuenow") == "1"
    pause = page.button("Pause", ".worker[data-worker='worker0']")
    page.script("window.before = arguments[0]; arguments[0].focus()", pause)
    page.until(lambda: page.script("return !window.before.isConnected"), "the view was not renewed")
    page.press(Keys.ENTER)
    page.button("Resume", ".worker[data-worker='worker0']")
    page.press(Keys.ENTER)
    page.button("Pause", ".worker[data-worker='worker0']")
    httpx.post(f"{stocked.url}/v1/jobs/{job}/cancel").raise_for_status()


def test_charts_and_their_time_range(stocked: StockedFarm, open_page: OpenPage) -> None:
    stocked.render("for the charts")
    page = farm(stocked, open_page)
    page.until(lambda: page.find_all(".chart"), "no charts")
    assert [box.text.split("\n")[0] for box in page.find_all("#charts figcaption > span:first-child")] == [
        "Jobs that ended",
        "Wait",
        "Run",
    ]
    assert page.script("return document.querySelectorAll('.chart .bar-good').length") > 0
    axis = page.find(".chart-axis").text
    page.button("Week", ".page-head").click()
    page.until(lambda: page.find(".chart-axis").text != axis, "the range did not change")
    page.driver.refresh()
    page.until(lambda: page.find_all(".page-head button[aria-pressed='true']"), "the view did not open")
    assert page.find(".page-head button[aria-pressed='true']").text == "Week"


def test_every_view_says_that_the_farm_is_away_and_goes_on_by_itself(stocked: StockedFarm, open_page: OpenPage) -> None:
    page = farm(stocked, open_page)
    loaded = "return performance.getEntriesByType('resource').filter((one) => one.name.includes('/js/views/')).length"
    page.until(lambda: page.script(loaded) == len(VIEWS), "not all views are loaded")
    network = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    page.driver.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": True, **network})
    try:
        away = "The farm does not answer. Is it still running?"
        page.until(lambda: page.find("#farm-text").text == away, "the line does not say that the farm is away")
        page.until(lambda: page.find("#main .error").text == away, "the view does not say that the farm is away")
        for view in ("models", "gallery", "create"):
            page.click(f"#nav a[data-view='{view}']")
            page.until(lambda view=view: page.find_all(f"#main[data-view='{view}']"), f"{view} does not open while away")
            if view != "create":
                page.until(lambda: page.find("#main .error").text == away, f"{view} does not say that the farm is away")
    finally:
        page.driver.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": False, **network})
    page.until(lambda: page.find("#farm").get_attribute("data-tone") == "good", "the page did not go on by itself")
    job = stocked.submit("after the break", num_inference_steps=1)
    page.until(
        lambda: page.find_all(".card[data-status='succeeded'][aria-label$='after the break']"), f"{job} is not followed"
    )
    for view, shown in (("models", ".model"), ("gallery", ".cell img.in"), ("farm", ".worker")):
        page.click(f"#nav a[data-view='{view}']")
        page.until(lambda shown=shown: page.find_all(shown), f"{view} is empty after the break")
        page.until(lambda: not page.find("#main .error").is_displayed(), f"{view} still reports the break")


def test_a_job_that_ends_while_the_server_is_away_is_not_missed(stocked: StockedFarm, open_page: OpenPage) -> None:
    page = open_page(stocked)
    job = stocked.submit("across a restart", num_inference_steps=30)
    card = ".card[aria-label$='across a restart']"
    page.until(lambda: page.find_all(f"{card}[data-status='running']"), "the job does not run")
    api = stocked.parts.parts["api"]
    api.send(signal.SIGTERM)
    assert api.process is not None
    api.process.wait(TIMEOUT_SECONDS)
    page.until(lambda: page.find("#farm").get_attribute("data-tone") == "bad", "the page did not notice")
    page.until(lambda: stocked.stored_status(job) == "succeeded", "the job did not end without the server")
    assert page.find(card).get_attribute("data-status") == "running"
    api.start()
    page.until(lambda: page.find_all(f"{card}[data-status='succeeded'] img"), "the end of the job was missed")
    page.until(lambda: page.find("#farm").get_attribute("data-tone") == "good", "the page did not recover")
