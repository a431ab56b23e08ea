"""Sign-in on a farm that requires keys."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest

from benchmarks.faults.parts import FarmParts
from tests.conftest import Migrate
from tests.e2e.browser.conftest import OpenPage
from tests.integration.farm.conftest import sqlite_farm
from tests.servers.forked_parts import run_command


@pytest.fixture(scope="module")
def guarded_farm(tmp_path_factory: pytest.TempPathFactory, migrate: Migrate) -> Iterator[FarmParts]:
    with sqlite_farm(tmp_path_factory.mktemp("keys"), migrate, synthetic_step_seconds=0.25) as running:
        yield running


@pytest.fixture(scope="module")
def key(guarded_farm: FarmParts) -> str:
    return create_key(guarded_farm, "page")


def create_key(guarded_farm: FarmParts, name: str) -> str:
    """Create a key with the default scopes on the command line, and return it."""
    given = guarded_farm.parts["api"].environment
    done = run_command("keys", "create", name, environment=given, cwd=guarded_farm.directory)
    assert done.returncode == 0, done.stderr
    found = re.search(r"\b(if[a-z]*_[A-Za-z0-9_-]{20,})", done.stdout)
    assert found, done.stdout
    return found[1]


def test_sign_in_persists_until_sign_out(guarded_farm: FarmParts, key: str, open_page: OpenPage) -> None:
    page = open_page(guarded_farm, ready=False)
    page.until(lambda: page.find("#signin").is_displayed(), "no sign-in dialog is shown")
    page.write("#key", "not-a-key-of-this-farm")
    page.click("#signin button")
    page.until(lambda: page.find("#key-error").text, "an invalid key was not refused")
    page.write("#key", key)
    page.click("#signin button")
    page.until(lambda: page.find("#model").get_attribute("value"), "the valid key did not sign in")
    page.driver.refresh()
    page.until(lambda: page.find("#model").get_attribute("value"), "the key was lost after the refresh")
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
    sent = httpx.post(f"{page.url}/v1/jobs", json=body, headers={"X-API-Key": other, "Prefer": "wait=60"}, timeout=90)
    assert sent.json()["status"] == "succeeded"
    page.visit("#/gallery")
    page.until(lambda: page.find_all("#gallery-total") and page.find("#gallery-total").text == "1 image", "not only its own")
    page.click("#sign-out")
    page.until(lambda: page.find("#signin").is_displayed(), "no sign-in dialog is shown after sign-out")
    assert httpx.get(f"{guarded_farm.url}/v1/jobs", cookies=copied).status_code == 401
