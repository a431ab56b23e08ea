"""Every address refuses requests under a name that is not the farm's, so that DNS rebinding reaches none."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import httpx
import pytest

from api.app import create_app
from core.settings import Settings
from db.api_keys import NewKey, create_key
from db.database import Database
from tests.conftest import Migrate
from tests.integration.api.conftest import SettingsMaker
from tests.integration.api.running import serving

EVIL = {"Host": "evil.example", "Origin": "http://evil.example"}
SOME_ID = "019ab000-0000-7000-8000-000000000000"
UNLISTED = [
    ("GET", path)
    for path in ("/", "/index.html", "/js/main.js", "/docs", "/openapi.json", "/nothing", "/v1/nothing", "/sdapi/v1/x")
]


@cache
def every_operation() -> list[tuple[str, str]]:
    """Return (method, path) of the OpenAPI document's operations, and of addresses that it does not list."""
    paths: dict[str, dict[str, Any]] = create_app(Settings(_env_file=None)).openapi()["paths"]
    return [(method.upper(), path) for path in paths for method in paths[path]] + UNLISTED


@pytest.fixture
def database_url(fresh_sqlite: str) -> str:
    """Use SQLite only: the behaviour does not depend on the database."""
    return fresh_sqlite


@pytest.fixture(scope="module", params=["no key", "keys", "a valid key", "open access"])
def caller(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, shared_settings: Settings, migrate: Migrate
) -> Iterator[httpx.Client]:
    """Provide a client of a farm with and without keys, with and without a valid one."""
    url = f"sqlite:///{tmp_path_factory.mktemp('hosts') / 'api.db'}"
    migrate(url)
    headers = {}
    if "key" in request.param and request.param != "no key":
        database = Database(url)
        key = create_key(database, NewKey(name="k"))[1]
        database.dispose()
        headers = {"Authorization": f"Bearer {key}"} if request.param == "a valid key" else {}
    access: dict[str, object] = {"database_url": url}
    if request.param == "open access":
        access |= {"open_access": True, "host": "0.0.0.0", "allowed_hosts": "localhost"}
    settings = Settings(_env_file=None, **{**shared_settings.model_dump(exclude_unset=True), **access})
    with serving(settings) as url, httpx.Client(base_url=url, headers=headers, timeout=120) as client:
        yield client


def test_every_address_refuses_another_name(caller: httpx.Client) -> None:
    operations = every_operation()
    assert len(operations) > 70
    assert {("GET", "/readyz"), ("GET", "/metrics"), ("POST", "/v1/session"), ("POST", "/sdapi/v1/txt2img")} <= {*operations}
    assert ("POST", "/v1/images/generations") in operations
    for method, path in operations:
        answer = caller.request(method, _filled(path), headers=EVIL)
        assert answer.status_code == 403, (method, path, answer.text)
        if method != "HEAD":
            assert "unknown_host" in answer.text
            assert "IMAGEFARM_ALLOWED_HOSTS=evil.example" in answer.text


def test_the_farms_own_names_are_answered_everywhere(caller: httpx.Client) -> None:
    for name in ("localhost", "127.0.0.1:7860", "[::1]:1"):
        for path in ("/", "/healthz", "/readyz", "/v1/session", "/docs", "/openapi.json", "/js/main.js"):
            assert caller.get(path, headers={"Host": name}).status_code == 200, (name, path)


def test_a_listed_name_is_answered(make_settings: SettingsMaker) -> None:
    with serving(make_settings(allowed_hosts="host.docker.internal")) as url:
        named = {"Host": "host.docker.internal:7860", "Origin": "http://host.docker.internal:7860"}
        assert httpx.get(f"{url}/v1/jobs", headers=named).status_code == 200
        assert httpx.post(f"{url}/sdapi/v1/options", json={}, headers=named).status_code == 200
        assert httpx.get(f"{url}/v1/jobs", headers=EVIL).status_code == 403


def test_the_faces_refuse_in_their_own_shape(make_settings: SettingsMaker) -> None:
    with serving(make_settings()) as url:
        native = httpx.get(f"{url}/v1/jobs", headers=EVIL)
        assert (native.headers["content-type"], native.json()["code"]) == ("application/problem+json", "unknown_host")
        openai = httpx.post(f"{url}/v1/images/generations", json={}, headers=EVIL).json()
        assert openai["error"]["code"] == "unknown_host"
        a1111 = httpx.get(f"{url}/sdapi/v1/options", headers=EVIL).json()
        assert (a1111["error"], a1111["code"]) == ("Forbidden", "unknown_host")


def _filled(path: str) -> str:
    return "/".join(SOME_ID if part.startswith("{") else part for part in path.split("/"))
