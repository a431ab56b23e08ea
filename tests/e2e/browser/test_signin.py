"""Sign-in on a farm that requires keys."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from selenium.webdriver.common.keys import Keys

from benchmarks.faults.parts import FarmParts
from tests.conftest import Migrate
from tests.e2e.browser.conftest import OpenPage
from tests.e2e.browser.page import Page
from tests.integration.farm.conftest import sqlite_farm
from tests.servers.forked_parts import run_command


@pytest.fixture(scope="module")
def guarded_farm(tmp_path_factory: pytest.TempPathFactory, migrate: Migrate) -> Iterator[FarmParts]:
    with sqlite_farm(tmp_path_factory.mktemp("keys"), migrate, synthetic_step_seconds=1) as running:
        yield running


@pytest.fixture(scope="module")
def key(guarded_farm: FarmParts) -> str:
    return create_key(guarded_farm, "page")


def create_key(guarded_farm: FarmParts, name: str, *options: str) -> str:
    """Create a key on the command line, with the default scopes unless options name others, and return it."""
    given = guarded_farm.parts["api"].environment
    done = run_command("keys", "create", name, *options, environment=given, cwd=guarded_farm.directory)
    assert done.returncode == 0, done.stderr
    found = re.search(r"\b(if[a-z]*_[A-Za-z0-9_-]{20,})", done.stdout)
    assert found, done.stdout
    return found[1]


def test_sign_in_persists_until_sign_out(guarded_farm: FarmParts, key: str, open_page: OpenPage) -> None:
    page = open_page(guarded_farm, ready=False)
    page.until(lambda: page.shows("#signin"), "no sign-in dialog is shown")
    page.write("#key", "not-a-key-of-this-farm")
    page.click("#signin button")
    page.until(lambda: page.text("#key-error"), "an invalid key was not refused")
    page.write("#key", key)
    page.click("#signin button")
    wait_signed_in(page)
    page.driver.refresh()
    page.until(lambda: page.attribute("#model", "value"), "the key was lost after the refresh")
    assert page.script("return document.cookie") == ""
    cookies = page.driver.get_cookies()
    assert [cookie["name"] for cookie in cookies] == ["imagefarm_session"]
    assert key.split("_", 2)[2] not in str(cookies)
    copied = {"imagefarm_session": cookies[0]["value"]}
    assert httpx.get(f"{guarded_farm.url}/v1/jobs", cookies=copied).status_code == 200
    page.more()
    page.write("#steps", "2")
    page.render("with a key")
    page.wait_state("succeeded")
    assert page.image_size() == (512, 512)
    other = create_key(guarded_farm, "other")
    body = {"prompt": "of somebody else", "num_inference_steps": 1, "size": "64x64"}
    sent = httpx.post(f"{page.url}/v1/jobs", json=body, headers={"X-API-Key": other, "Prefer": "wait=280"}, timeout=300)
    assert sent.json()["status"] == "succeeded"
    page.visit("#/gallery")
    page.until(lambda: page.text("#gallery-total") == "1 image", "not only its own")
    page.click("#sign-out")
    page.until(lambda: page.shows("#signin"), "no sign-in dialog is shown after sign-out")
    assert httpx.get(f"{guarded_farm.url}/v1/jobs", cookies=copied).status_code == 401


def sign_in(page: Page, key: str) -> None:
    page.until(lambda: page.shows("#signin"), "no sign-in dialog is shown")
    page.write("#key", key)
    page.click("#signin button")
    wait_signed_in(page)


def wait_signed_in(page: Page) -> None:
    """Wait for the page that follows the sign-in: the one before may show models, if the farm had no key when it opened."""
    page.until(lambda: page.shows("#sign-out"), "the key did not sign in")
    page.until(lambda: page.attribute("#model", "value"), "the models were not read")


def submit(page: Page, key: str, prompt: str) -> str:
    body = {"prompt": prompt, "num_inference_steps": 100, "num_images": 16, "size": "64x64"}
    answer = httpx.post(f"{page.url}/v1/jobs", json=body, headers={"X-API-Key": key})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def test_an_owner_sees_and_cancels_only_their_own_jobs(guarded_farm: FarmParts, key: str, open_page: OpenPage) -> None:
    other = create_key(guarded_farm, "neighbour")
    page = open_page(guarded_farm, ready=False)
    sign_in(page, key)
    theirs = [submit(page, other, f"of the neighbour {number}") for number in range(2)]
    for number in range(2):
        submit(page, key, f"my own {number}")
    page.until(lambda: len(page.find_all(".card[aria-label*='my own']")) == 2, "the owner's jobs are not shown")
    assert not page.find_all(".card[aria-label*='neighbour']")
    page.visit(f"#/create/{theirs[0]}")
    page.until(lambda: page.shows("#trouble"), "another owner's job is no error")
    assert "neighbour" not in page.find("main").text
    page.view("farm")
    page.until(lambda: page.find_all("#workers .worker"), "no workers")
    assert not page.find_all("#keys")
    assert not page.find_all("#workers button"), "an owner may not drain a worker"
    assert "neighbour" not in page.find("main").text
    page.view("create")
    page.click("#cancel-all")
    page.click("dialog[open] .danger")
    page.until(
        lambda: len(page.find_all(".card[data-status='canceled'][aria-label*='my own']")) == 2, "they were not canceled"
    )
    for job in theirs:
        found = httpx.get(f"{page.url}/v1/jobs/{job}", headers={"X-API-Key": other}).json()
        assert found["status"] in ("queued", "running")
        httpx.post(f"{page.url}/v1/jobs/{job}/cancel", headers={"X-API-Key": other}).raise_for_status()


def test_an_administrator_sees_keys_with_limits_usage_and_the_end_of_one(
    guarded_farm: FarmParts, open_page: OpenPage
) -> None:
    admin = create_key(guarded_farm, "chief", "--scope", "admin")
    limited = create_key(guarded_farm, "limited", "--max-queued", "3", "--pixels-per-day", "5000000")
    page = open_page(guarded_farm, ready=False)
    body = {"prompt": "counted", "num_inference_steps": 1, "size": "512x512"}
    made = httpx.post(f"{page.url}/v1/jobs", json=body, headers={"X-API-Key": limited, "Prefer": "wait=280"}, timeout=300)
    assert made.json()["status"] == "succeeded"
    sign_in(page, admin)
    page.view("farm")
    page.click("#keys summary")
    page.until(lambda: key_row(page, "limited"), "the key is not listed")
    shown = key_row(page, "limited")
    assert "3 queued" in shown[2]
    assert "0 of 5 megapixels today" in shown[2]
    assert shown[3] == "1"
    page.click("#keys [aria-label='Revoke: limited']")
    page.click("dialog[open] .danger")
    page.until(lambda: key_row(page, "limited")[1].endswith("not valid"), "the end of the key is not shown")
    sent = {"X-API-Key": limited}
    page.until(lambda: httpx.get(f"{page.url}/v1/jobs", headers=sent).status_code == 401, "the key is still valid")
    page.click("#keys [aria-label='Revoke: chief']")
    page.click("dialog[open] .danger")
    assert "last valid key" in page.toast()
    page.click("#key-create")
    page.write("#key-name", "made here")
    page.write("#key-max_queued", "7")
    page.click("dialog[open] .primary")
    made = page.until(lambda: page.texts("#new-key"), "the key is not shown")[0]
    page.press(Keys.ESCAPE)
    page.until(lambda: key_row(page, "made"), "the new key is not listed")
    assert not page.find_all("#new-key")
    own = httpx.get(f"{page.url}/v1/session", headers={"X-API-Key": made}).json()
    assert sorted(own["scopes"]) == ["read-own", "submit"]


def key_row(page: Page, name: str) -> list[str]:
    """Return the cells of a key's row: owner, key, limits, images, time; nothing where it is not listed."""
    cells = page.texts("#keys tbody td")
    rows = [cells[at : at + 5] for at in range(0, len(cells), 5)]
    return next((row for row in rows if row[1].split()[0] == name), [])
