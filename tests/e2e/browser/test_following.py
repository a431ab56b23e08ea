"""Running jobs: progress, refresh, cancel, failure, jobs of other clients, a killed API."""

from __future__ import annotations

import httpx

from benchmarks.faults.parts import FarmParts
from tests.e2e.browser.conftest import OpenPage
from tests.e2e.browser.page import Page


def start_long_job(page: Page, prompt: str = "slowly", steps: int = 100) -> str:
    """Start a job of steps of 0.25 s, long enough for a test to act before it ends."""
    page.more()
    page.write("#steps", str(steps))
    job = page.render(prompt)
    page.until(lambda: progress(page) > 0, "no progress was shown")
    return job


def progress(page: Page) -> int:
    return int(page.attribute("#bar", "aria-valuenow") or 0)


def test_progress_moves_and_a_refresh_resumes_it(slow_farm: FarmParts, open_page: OpenPage) -> None:
    page = open_page(slow_farm)
    job = start_long_job(page, steps=60)
    seen = progress(page)
    page.until(lambda: progress(page) > seen, "the progress bar did not move")
    assert page.find("#waiting-title").text.endswith("of 60")
    page.driver.refresh()
    page.until(
        lambda: page.shown == job and page.state == "running" and progress(page) > seen,
        "the job is not displayed after the refresh",
    )
    card = page.find(".card[aria-current]")
    assert card.get_attribute("data-status") == "running"
    page.wait_state("succeeded")
    assert page.image_size() == (512, 512)
    page.until(lambda: page.shows(".card[aria-current] img"), "the card shows no image")


def test_cancel_stops_a_running_job(slow_farm: FarmParts, open_page: OpenPage) -> None:
    page = open_page(slow_farm)
    start_long_job(page)
    page.click("#cancel")
    page.wait_state("canceled")
    assert page.find("#trouble-title").text == "Canceled"
    assert not page.find("#cancel").is_displayed()


def test_a_failure_is_explained(slow_farm: FarmParts, open_page: OpenPage) -> None:
    page = open_page(slow_farm)
    page.render("synthetic:nan")
    page.wait_state("failed")
    assert page.find("#trouble-title").text == "This one failed"
    assert len(page.find("#trouble-detail").text) > 10
    first = page.shown
    page.click("#retry")
    page.until(lambda: page.shown != first, "the retry made no job")


def test_jobs_of_other_clients_appear_and_can_be_displayed(slow_farm: FarmParts, open_page: OpenPage) -> None:
    page = open_page(slow_farm)
    job = httpx.post(f"{page.url}/v1/jobs", json={"prompt": "from elsewhere", "num_inference_steps": 2}).json()
    page.until(lambda: page.find_all(".card[aria-label$='from elsewhere']"), "the job did not appear")
    page.click(".card[aria-label$='from elsewhere']")
    page.until(lambda: page.shown == job["id"], "the job is not displayed")
    page.wait_state("succeeded")


def test_a_queued_job_shows_its_position(slow_farm: FarmParts, open_page: OpenPage) -> None:
    page = open_page(slow_farm)
    body = {"prompt": "before you", "num_inference_steps": 100}
    before = [httpx.post(f"{page.url}/v1/jobs", json=body).json() for _ in range(8)]
    page.render("behind them")
    reasons = ("next", "before it")
    page.until(
        lambda: page.state == "queued" and any(reason in page.text("#waiting-detail") for reason in reasons),
        "no reason for waiting is shown",
    )
    for job in before:
        httpx.post(f"{page.url}{job['urls']['cancel']}").raise_for_status()
    page.wait_state("succeeded")


def test_an_address_without_a_job_shows_an_error(slow_farm: FarmParts, open_page: OpenPage) -> None:
    page = open_page(slow_farm).open("#01900000-0000-7000-8000-000000000000")
    page.driver.refresh()
    page.until(lambda: page.shows("#trouble"), "no error is shown")
    assert "no job" in page.find("#trouble-detail").text.lower()


def test_typed_text_survives_a_refresh(slow_farm: FarmParts, open_page: OpenPage) -> None:
    page = open_page(slow_farm)
    page.write("#prompt", "未完成 but not lost")
    page.click("#sizes label:has(input[value='768'])")
    page.click("#ratios label:has(input[value='4:3'])")
    page.driver.refresh()
    page.until(lambda: page.attribute("#prompt", "value") == "未完成 but not lost", "the prompt was lost")
    assert page.find("#sizes input[value='768']").is_selected()
    assert page.find("#ratios input[value='4:3']").is_selected()


def test_a_killed_api_is_reported_and_the_job_is_followed_to_its_end(slow_farm: FarmParts, open_page: OpenPage) -> None:
    page = open_page(slow_farm)
    start_long_job(page, "through a crash", steps=40)
    slow_farm.parts["api"].kill()
    page.until(lambda: page.attribute("#farm", "data-tone") == "bad", "the page did not notice")
    assert page.find("#farm-text").text == "The farm does not answer. Is it still running?"
    slow_farm.parts["api"].start()
    page.wait_state("succeeded")
    page.until(lambda: page.attribute("#farm", "data-tone") == "good", "the page did not recover")
