"""Page object of the web page: fields, buttons, texts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast
from urllib.parse import urlsplit

from selenium.common.exceptions import (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    NoSuchElementException,
    StaleElementReferenceException,
)
from selenium.webdriver import Chrome
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

TIMEOUT_SECONDS = 200.0
NOT_YET = (
    NoSuchElementException,
    StaleElementReferenceException,
    ElementNotInteractableException,
    ElementClickInterceptedException,
)
"""What an element that is not there, or not yet in its place, raises."""
FIRST_POLL_SECONDS, LONGEST_POLL_SECONDS = 0.02, 0.25
SETTLED = {"succeeded", "failed", "canceled", "expired", "held"}


class Page:
    """A browser window on the page of a farm."""

    def __init__(self, driver: Chrome, url: str) -> None:
        self.driver = driver
        self.url = url

    def visit(self, fragment: str = "") -> Page:
        self.driver.get(f"{self.url}/{fragment}")
        return self

    def forget(self) -> None:
        """Forget what the browser has stored for this farm: forms, choices, sessions, logs."""
        self.driver.get(f"{self.url}/img/mark.svg")
        self.driver.execute_cdp_cmd("Network.disable", {})
        self.driver.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": self.url, "storageTypes": "all"})
        self.console()
        self.requested()

    def log_requests(self) -> None:
        """Let `requested` know what is requested from now on, until the next `forget`: the log takes time of all tests."""
        self.driver.execute_cdp_cmd("Network.enable", {})
        self.requested()

    def open(self, fragment: str = "") -> Page:
        """Visit, and wait until the page has read the models."""
        self.visit(fragment)
        self.until(lambda: self.attribute("#model", "value"), "the models were not read")
        return self

    def view(self, name: str, item: str = "") -> Page:
        """Open a view as its link does, and wait until it is there."""
        self.visit(f"#/{name}{f'/{item}' if item else ''}")
        self.until(lambda: self.find_all(f"#main[data-view='{name}'] > *"), f"{name} did not open")
        return self

    def press(self, *keys: str) -> None:
        """Press keys where the focus is."""
        ActionChains(self.driver).send_keys(*keys).perform()

    def button(self, label: str, within: str = "body") -> WebElement:
        """Return the button with this text, once it is there."""
        return cast("WebElement", self.until(lambda: self._buttons(label, within), f"no button {label!r} in {within}")[0])

    def push(self, label: str, within: str = "body") -> None:
        """Click the button with this text, once it is there."""
        self.until(lambda: self._clicked(self._buttons(label, within)), f"no button {label!r} in {within}")

    def _buttons(self, label: str, within: str) -> list[WebElement]:
        xpath = f".//button[normalize-space()={json.dumps(label, ensure_ascii=False)}]"
        return self.find(within).find_elements(By.XPATH, xpath)

    def _clicked(self, found: list[WebElement]) -> bool:
        """Click the first element; views that renew themselves may replace it before that, which `until` repeats."""
        if found:
            self.script("arguments[0].scrollIntoView({block: 'center'})", found[0])
            found[0].click()
        return bool(found)

    def texts(self, selector: str) -> list[str]:
        """Return the texts of all elements at one moment."""
        found: list[str] = self.script(
            "return [...document.querySelectorAll(arguments[0])].map((one) => one.innerText.trim())", selector
        )
        return found

    def text(self, selector: str) -> str:
        """Return what `WebElement.text` does, empty while it is hidden; a whole view takes a tenth of its time."""
        found = self.script(
            "const one = document.querySelector(arguments[0]);"
            "return one && (one.checkVisibility({visibilityProperty: true}) ? one.innerText.trim() : '');",
            selector,
        )
        if found is None:
            raise NoSuchElementException(selector)
        return str(found)

    def attribute(self, selector: str, name: str) -> str | None:
        """Return what `WebElement.get_attribute` does for a text, in half its time."""
        found = self.script(
            "const one = document.querySelector(arguments[0]), name = arguments[1];"
            "return one && [name in one ? one[name] : one.getAttribute(name)];",
            selector,
            name,
        )
        if found is None:
            raise NoSuchElementException(selector)
        return None if found[0] is None else str(found[0])

    def shows(self, selector: str) -> bool:
        """Return what `WebElement.is_displayed` does; False, in a third of its time, while there is no such element."""
        script = "return !!document.querySelector(arguments[0])?.checkVisibility({visibilityProperty: true})"
        return bool(self.script(script, selector)) and self.find(selector).is_displayed()

    def toast(self) -> str:
        """Return the text of the newest notice, once there is one."""
        return str(self.until(lambda: self.texts(".toast > span"), "no notice")[-1])

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def find_all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def until(self, condition: Callable[[], Any], otherwise: str, seconds: float = TIMEOUT_SECONDS) -> Any:  # noqa: ANN401
        """Return the condition's first true value; raise AssertionError with the console log when it stays false."""
        deadline, poll = time.monotonic() + seconds, FIRST_POLL_SECONDS
        while True:
            with suppress(*NOT_YET):
                if found := condition():
                    return found
            if time.monotonic() > deadline:
                text = "".join(part.text for part in self.find_all("main"))
                raise AssertionError(f"{otherwise}; console: {self.console()}\n{text}")
            time.sleep(poll)  # each look costs browser and driver some milliseconds
            poll = min(1.3 * poll, LONGEST_POLL_SECONDS)

    def appears(self, selector: str, otherwise: str) -> None:
        """Wait until an element is there."""
        self.until(lambda: self.find_all(selector), otherwise)

    def write(self, selector: str, text: str) -> None:
        """Set a field's text as typing does, including characters that a driver cannot type."""
        self.script(
            "const field = document.querySelector(arguments[0]); field.focus(); field.value = arguments[1];"
            "field.dispatchEvent(new Event('input', {bubbles: true}));",
            selector,
            text,
        )

    def click(self, selector: str) -> None:
        self.until(lambda: self._clicked(self.find_all(selector)[:1]), f"{selector} is not there")

    def more(self) -> None:
        """Open the further settings."""
        if self.find("#more").get_attribute("open") is None:
            self.click("#more summary")

    def render(self, prompt: str) -> str:
        """Submit a prompt and return the id of its job once it is displayed."""
        before = self.shown
        self.write("#prompt", prompt)
        self.click("#submit")
        return str(self.until(lambda: self.shown if self.shown != before else None, "no job is displayed"))

    @property
    def shown(self) -> str:
        """Return the id of the displayed job, from the address."""
        return urlsplit(self.driver.current_url).fragment.removeprefix("/create").removeprefix("/")

    @property
    def state(self) -> str:
        return str(self.script("return document.querySelector('#stage')?.dataset.state ?? ''"))

    def wait_state(self, *states: str) -> None:
        def reached() -> bool:
            now = self.state
            assert now in states or now not in SETTLED, f"the job ended as {now}: {self.find('#stage').text}"
            return now in states

        self.until(reached, f"the displayed job did not become {states}")

    def image_size(self) -> tuple[int, int]:
        """Return width and height of the displayed image in its own pixels, once it is loaded."""
        script = "const p = document.querySelector('#picture'); return p.naturalWidth && [p.naturalWidth, p.naturalHeight]"
        width, height = self.until(lambda: self.script(script), "the image did not load")
        return width, height

    def fact(self, name: str) -> str:
        """Return a value of the list under the image, without its button."""
        script = (
            "const rows = [...document.querySelectorAll('#facts div')];"
            "const row = rows.find((one) => one.querySelector('dt').textContent === arguments[0]);"
            "return row.querySelector('dd').firstChild.textContent"
        )
        return str(self.script(script, name))

    def script(self, source: str, *arguments: object) -> Any:  # noqa: ANN401 -- any JSON value
        return self.driver.execute_script(source, *arguments)

    def module(self, path: str, expression: str) -> Any:  # noqa: ANN401
        """Evaluate an expression over the exports of a page module such as `js/api.js`, named `m`; return its JSON value.

        The module is the page's own: its address holds the version of the page.
        """
        source = (
            "const done = arguments[0], main = document.querySelector('script[src]').src;"
            f"import(new URL('../{path}', main))"
            f".then((m) => done({{value: {expression}}}), (error) => done({{error: String(error)}}))"
        )
        answer = self.driver.execute_async_script(source)
        assert "error" not in answer, answer
        return answer["value"]

    def heap(self) -> int:
        """Return the bytes that scripts of the page hold, after a collection."""
        self.driver.execute_cdp_cmd("HeapProfiler.collectGarbage", {})
        return int(self.driver.execute_cdp_cmd("Runtime.getHeapUsage", {})["usedSize"])

    def console(self) -> list[str]:
        """Return the browser's warnings and errors since the last call."""
        entries = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in entries if entry["level"] in ("SEVERE", "WARNING")]

    def requested(self) -> set[str]:
        """Return scheme and host of every network request since the last call; see `log_requests`."""
        found = set()
        for entry in self.driver.get_log("performance"):  # type: ignore[no-untyped-call]
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                parts = urlsplit(message["params"]["request"]["url"])
                if parts.scheme not in ("data", "chrome"):
                    found.add(f"{parts.scheme}://{parts.netloc}")
        return found
