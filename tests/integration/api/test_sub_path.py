"""Behind a proxy under a path: every link that the API writes leads back to the API."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from urllib.parse import urljoin, urlsplit

import httpx
import pytest

from tests.integration.api.conftest import SettingsMaker
from tests.integration.api.running import WorkerSide, serving
from tests.servers.proxy import SubPathProxy, proxied

GOOD = {"prompt": "a red fox", "width": 64, "height": 64}
PUBLIC = "https://pictures.test/farm"

Opened = Callable[..., httpx.Client]


@pytest.fixture
def database_url(fresh_sqlite: str) -> str:
    """Use SQLite only: the behaviour does not depend on the database."""
    return fresh_sqlite


@pytest.fixture
def open_farm(make_settings: SettingsMaker, worker: WorkerSide) -> Iterator[Opened]:
    """Return a function that opens a farm behind a proxy that serves it under /farm."""
    with ExitStack() as stack:

        def open_one(*, strip: bool = True, headers: dict[str, str] | None = None, **settings: object) -> httpx.Client:
            url = stack.enter_context(serving(make_settings(**settings)))
            outer = stack.enter_context(proxied(SubPathProxy(url, "/farm", strip=strip, headers=headers)))
            stack.enter_context(worker.working())
            return stack.enter_context(httpx.Client(base_url=outer, timeout=120))

        yield open_one


def links_in(value: object) -> Iterator[str]:
    """Yield every path in an answer that looks like one of the API's."""
    if isinstance(value, dict):
        for each in value.values():
            yield from links_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from links_in(each)
    elif isinstance(value, str) and "/v1/" in value and " " not in value:
        yield value


def assert_followed(client: httpx.Client, links: list[str]) -> None:
    """Follow links as a browser resolves them: they are paths of the proxy's host."""
    assert links
    for found in links:
        assert found.startswith("/farm/v1/"), found
        if found.endswith(("/cancel", "/retry", "/events")):
            continue
        assert client.get(urljoin(str(client.base_url), found)).status_code == 200, found


@pytest.mark.parametrize("strip", [True, False], ids=["prefix stripped", "prefix passed on"])
def test_links_follow_the_public_url(open_farm: Opened, strip: bool) -> None:
    farm = open_farm(strip=strip, public_url=PUBLIC)
    submitted = farm.post("/v1/jobs", json=GOOD)
    assert submitted.headers["location"] == f"/farm/v1/jobs/{submitted.json()['id']}"
    job = farm.get(f"/v1/jobs/{submitted.json()['id']}?wait=120").json()
    assert job["outputs"][0]["content_url"].startswith("/farm/v1/images/")
    assert_followed(farm, list(links_in(job)))
    assert_followed(farm, list(links_in(farm.get(job["outputs"][0]["url"].removeprefix("/farm")).json())))
    assert_followed(farm, list(links_in(farm.get("/v1/jobs").json())))


def test_links_of_batches_follow(open_farm: Opened) -> None:
    farm = open_farm(public_url=PUBLIC)
    submitted = farm.post("/v1/batches", json={"prompts": ["a", "b"], "base": {"width": 64, "height": 64}})
    assert submitted.status_code == 202, submitted.text
    assert submitted.headers["location"].startswith("/farm/v1/batches/")
    whole = farm.get(f"/v1/batches/{submitted.json()['id']}?wait=120").json()
    assert_followed(farm, list(links_in(whole)))
    assert f"/farm/v1/batches/{whole['id']}/contact-sheet" in list(links_in(whole))


def test_links_of_uploads_and_retried_submits_follow(open_farm: Opened) -> None:
    farm = open_farm(public_url=PUBLIC)
    for _ in range(2):  # the second is the answer as it was kept
        again = farm.post("/v1/jobs", json=GOOD, headers={"Idempotency-Key": "once"})
        assert again.json()["urls"]["self"].startswith("/farm/v1/jobs/")
    picture = farm.get(f"/v1/jobs/{again.json()['id']}?wait=120").json()["outputs"][0]["content_url"]
    data = farm.get(picture.removeprefix("/farm")).content
    upload = farm.post("/v1/uploads", content=data, headers={"Content-Type": "image/png"})
    assert upload.status_code == 201
    assert upload.headers["location"].startswith("/farm/v1/uploads/")


def test_openai_urls_are_whole_and_public(open_farm: Opened) -> None:
    farm = open_farm(public_url=PUBLIC)
    answer = farm.post("/v1/images/generations", json={"prompt": "x", "size": "64x64", "response_format": "url"})
    url = answer.json()["data"][0]["url"]
    assert url.startswith(f"{PUBLIC}/v1/images/")
    parts = urlsplit(url)
    assert farm.get(f"{parts.path.removeprefix('/farm')}?{parts.query}").headers["content-type"] == "image/png"


def test_trusted_proxy_states_the_address(open_farm: Opened) -> None:
    stated = {"X-Forwarded-Prefix": "/farm", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "pictures.test"}
    farm = open_farm(headers=stated, trusted_proxies="127.0.0.1")
    answer = farm.post("/v1/images/generations", json={"prompt": "x", "size": "64x64", "response_format": "url"})
    assert answer.json()["data"][0]["url"].startswith(f"{PUBLIC}/v1/images/")
    assert answer.status_code == 200
    assert_followed(farm, list(links_in(farm.get("/v1/jobs").json())))


@pytest.mark.parametrize("trusted", ["", "10.0.0.0/8"])
def test_nobody_else_is_believed(open_farm: Opened, trusted: str) -> None:
    stated = {"X-Forwarded-Prefix": "/evil", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.test"}
    farm = open_farm(headers=stated, trusted_proxies=trusted)
    answer = farm.post("/v1/images/generations", json={"prompt": "x", "size": "64x64", "response_format": "url"})
    assert answer.json()["data"][0]["url"].startswith("http://127.0.0.1:")
    assert "evil" not in json.dumps(farm.get("/v1/jobs").json())


def test_page_of_the_public_address_may_write(open_farm: Opened) -> None:
    farm = open_farm(public_url=PUBLIC)
    assert farm.post("/v1/jobs", json=GOOD, headers={"Origin": "https://pictures.test"}).status_code == 202
    refused = farm.post("/v1/jobs", json=GOOD, headers={"Origin": "https://evil.test"})
    assert refused.json()["code"] == "cross_site_request"


def test_redirects_stay_under_the_path(open_farm: Opened) -> None:
    farm = open_farm(public_url=PUBLIC)
    assert farm.get("/v1/jobs/").headers["location"] == "/farm/v1/jobs"
    assert farm.get("/v1/jobs/", follow_redirects=False).status_code == 307


def test_description_and_errors_work_under_the_path(open_farm: Opened) -> None:
    farm = open_farm(strip=False, public_url=PUBLIC)
    document = farm.get("/openapi.json").json()
    assert urljoin(f"{farm.base_url}openapi.json", document["servers"][0]["url"]) == str(farm.base_url)
    assert farm.get("/docs").status_code == 200
    assert "swagger-ui" in farm.get("/docs").text
    assert farm.get("/vendor/swagger-ui/swagger-ui.css").status_code == 200
    assert set(farm.get("/sdapi/v1/nothing").json()) >= {"error", "detail"}
    assert farm.put("/v1/presets").headers["allow"] == "GET, HEAD"


def test_webhooks_carry_public_links(make_settings: SettingsMaker, worker: WorkerSide) -> None:
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    bodies: list[dict[str, object]] = []
    came = threading.Event()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()
            came.set()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Receiver) as receiver:
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        settings = make_settings(
            public_url=PUBLIC,
            webhook_allow_private=True,
            webhook_url=f"http://127.0.0.1:{receiver.server_port}/",
            webhook_secret="whsec_" + "A" * 44,
        )
        with serving(settings) as url, worker.working():
            httpx.post(f"{url}/v1/jobs", json=GOOD)
            assert came.wait(120)
        receiver.shutdown()
    assert "/farm/v1/jobs/" in json.dumps(bodies[0])
