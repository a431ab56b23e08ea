"""The page as its user sees it: fields, buttons, words."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from selenium.common.exceptions import StaleElementReferenceException, TimeoutException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

PATIENCE_SECONDS = 60.0
SETTLED = {"succeeded", "failed", "canceled", "expired", "held"}


class Page:
    """One browser window on the page of one farm."""

    def __init__(self, driver: Chrome, url: str) -> None:
        self.driver = driver
        self.url = url

    def visit(self, fragment: str = "") -> Page:
        self.driver.get(f"{self.url}/{fragment}")
        return self

    def open(self, fragment: str = "") -> Page:
        """Visit, and wait until the page knows its models."""
        self.visit(fragment)
        self.until(lambda: self.find("#model").get_attribute("value"), "the models were not read")
        return self

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def find_all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def until(self, condition: Callable[[], Any], otherwise: str, seconds: float = PATIENCE_SECONDS) -> Any:  # noqa: ANN401
        """The condition's first true value; an AssertionError with the console's log when it stays false."""
        wait = WebDriverWait(self.driver, seconds, 0.05, [StaleElementReferenceException])
        try:
            return wait.until(lambda _: condition())
        except TimeoutException:
            text = self.find("main").text
            raise AssertionError(f"{otherwise}; console: {self.console()}\n{text}") from None

    def write(self, selector: str, text: str) -> None:
        """Put text into a field as typing does, also characters that a driver cannot type."""
        self.script(
            "const field = document.querySelector(arguments[0]); field.focus(); field.value = arguments[1];"
            "field.dispatchEvent(new Event('input', {bubbles: true}));",
            selector,
            text,
        )

    def click(self, selector: str) -> None:
        self.script("arguments[0].scrollIntoView({block: 'center'})", self.find(selector))
        self.find(selector).click()

    def more(self) -> None:
        """Open the further settings."""
        if self.find("#more").get_attribute("open") is None:
            self.click("#more summary")

    def render(self, prompt: str) -> str:
        """Submit a prompt; the id of its job, which is on show."""
        before = self.shown
        self.write("#prompt", prompt)
        self.click("#submit")
        return str(self.until(lambda: self.shown if self.shown != before else None, "no job came on show"))

    @property
    def shown(self) -> str:
        """Id of the job on show, from the address."""
        return urlsplit(self.driver.current_url).fragment

    @property
    def state(self) -> str:
        return self.find("#stage").get_attribute("data-state") or ""

    def wait_state(self, *states: str) -> None:
        def reached() -> bool:
            now = self.state
            assert now in states or now not in SETTLED, f"the job ended as {now}: {self.find('#stage').text}"
            return now in states

        self.until(reached, f"the job on show did not become {states}")

    def picture_size(self) -> tuple[int, int]:
        """Of the picture on show, in its own pixels, once it is loaded."""
        script = "const p = document.querySelector('#picture'); return p.naturalWidth && [p.naturalWidth, p.naturalHeight]"
        width, height = self.until(lambda: self.script(script), "the picture did not load")
        return width, height

    def fact(self, name: str) -> str:
        """A value of the list under the picture, without its button."""
        script = (
            "const rows = [...document.querySelectorAll('#facts div')];"
            "const row = rows.find((one) => one.querySelector('dt').textContent === arguments[0]);"
            "return row.querySelector('dd').firstChild.textContent"
        )
        return str(self.script(script, name))

    def script(self, source: str, *arguments: object) -> Any:  # noqa: ANN401 -- whatever the script returns
        return self.driver.execute_script(source, *arguments)

    def module(self, path: str, expression: str) -> Any:  # noqa: ANN401
        """The JSON value of an expression over what a module of the page exports, as `m`."""
        source = (
            "const done = arguments[0];"
            f"import('{path}').then((m) => done({{value: {expression}}}), (error) => done({{error: String(error)}}))"
        )
        answer = self.driver.execute_async_script(source)
        assert "error" not in answer, answer
        return answer["value"]

    def console(self) -> list[str]:
        """Warnings and errors that the browser noted since the last call."""
        entries = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in entries if entry["level"] in ("SEVERE", "WARNING")]

    def requested(self) -> set[str]:
        """Scheme and host of everything asked of a network since the last call."""
        found = set()
        for entry in self.driver.get_log("performance"):  # type: ignore[no-untyped-call]
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                parts = urlsplit(message["params"]["request"]["url"])
                if parts.scheme not in ("data", "chrome"):
                    found.add(f"{parts.scheme}://{parts.netloc}")
        return found
