"""The page and the API viewer behind a proxy under a path, and the viewer without the internet."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from selenium.webdriver import Chrome

from benchmarks.faults.parts import FarmParts
from tests.e2e.browser.chromium import resize, use_scheme
from tests.e2e.browser.page import Page
from tests.servers.proxy import SubPathProxy, proxied


@pytest.fixture
def proxy(slow_farm: FarmParts) -> SubPathProxy:
    """Serve a farm, which knows nothing of it, under /farm."""
    return SubPathProxy(slow_farm.url, "/farm", strip=True)


@pytest.fixture
def page(proxy: SubPathProxy, driver: Chrome) -> Iterator[Page]:
    """Show the browser the farm through the proxy only."""
    with proxied(proxy) as url:
        resize(driver, (1360, 900))
        use_scheme(driver, dark=False)
        page = Page(driver, url)
        driver.get("about:blank")  # what an earlier page says is no part of the test
        page.console()
        page.log_requests()
        yield page
        driver.get("about:blank")


def test_page_renders_and_shows_pictures_under_a_path(page: Page, proxy: SubPathProxy) -> None:
    page.open()
    page.console()
    page.more()
    page.write("#steps", "2")
    page.render("under a path")
    page.wait_state("succeeded")
    width, _ = page.image_size()
    assert width > 0
    shown = page.until(lambda: page.script("return document.querySelector('#cards img')?.naturalWidth"), "no thumbnail")
    assert shown > 0
    assert urlsplit(str(page.attribute("#download", "href"))).path.startswith("/farm/v1/images/")
    assert proxy.strays == []
    assert page.console() == []


def test_viewer_works_under_a_path_and_asks_no_other_host(page: Page, proxy: SubPathProxy) -> None:
    page.requested()
    page.visit("docs")
    page.until(lambda: len(page.find_all(".opblock")) > 5, "the description was not shown")
    # Swagger UI draws only the part of a long description that is in view.
    scroll = "window.scrollBy(0, 700); return document.querySelector('[id*=healthz] .opblock-summary-control')"
    page.until(lambda: page.script(scroll), "the operation is not there")
    # It draws the operations anew while the description grows, and loses a click of that moment.
    open_it = """
        const block = document.querySelector("[id*=healthz]");
        block?.scrollIntoView({block: "center"});
        block?.querySelector("[aria-expanded='false']")?.click();
        return document.querySelector(".try-out__btn");
    """
    page.until(lambda: page.script(open_it), "the operation did not open")
    nested = '"errors": [\n    {\n      "field": "string"'  # of a component that another one names
    page.until(lambda: nested in "".join(page.texts("[id*=healthz] .responses-table")), "no example of a problem is shown")
    page.script("document.querySelector('.try-out__btn').click()")
    page.until(lambda: page.find_all(".execute"), "it cannot be tried")
    page.script("document.querySelector('.execute').click()")
    status = page.until(lambda: page.find_all(".live-responses-table .response .response-col_status"), "no answer came")
    assert status[0].text.startswith("200")
    assert page.find(".request-url pre").text == f"{page.url}/healthz"
    origin = f"{urlsplit(page.url).scheme}://{urlsplit(page.url).netloc}"
    assert {host for host in page.requested() if host.startswith("http")} == {origin}
    assert page.console() == []
    assert proxy.strays == []
