"""Sessions of the web page: a cookie without the key in it, which ends with sign-out and with the key."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from sqlalchemy import select, update

from api import api_keys
from core.sessions import SESSION_SECONDS
from core.settings import Settings
from db.api_keys import NewKey, create_key, list_keys, revoke_key
from db.sql import now
from db.tables import ApiKey, PageSession
from tests.integration.api.conftest import BOTH, SettingsMaker
from tests.integration.api.running import WorkerSide, serving
from worker.reaper.retention import RetentionRound

COOKIE = "imagefarm_session"


@pytest.fixture(autouse=True)
def uncached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every request read the database, so that nothing has to wait until a cached answer is old."""
    monkeypatch.setattr(api_keys, "FRESH_SECONDS", -1.0)


@pytest.fixture
def key(worker: WorkerSide) -> str:
    return create_key(worker.database, NewKey(name="studio"))[1]


@pytest.fixture
def url(settings: Settings, key: str) -> Iterator[str]:
    with serving(settings) as found:
        yield found


@pytest.fixture
def page(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=120) as client:
        yield client


def sign_in(page: httpx.Client, key: str) -> httpx.Response:
    answer = page.post("/v1/session", json={"key": key})
    assert answer.status_code == 200, answer.text
    return answer


def rows(worker: WorkerSide) -> list[PageSession]:
    with worker.database.read() as session:
        return list(session.scalars(select(PageSession)))


def test_neither_the_cookie_nor_the_database_contains_the_key_or_the_token(
    page: httpx.Client, key: str, worker: WorkerSide
) -> None:
    assert page.get("/v1/jobs").status_code == 401
    answer = sign_in(page, key)
    token = page.cookies[COOKIE]
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie and "path=/" in cookie
    assert key not in str(answer.headers) + answer.text
    assert key.split("_", 2)[2] not in token
    assert page.get("/v1/jobs").status_code == 200
    assert page.get("/v1/session").json()["signed_in"] is True
    stored = repr([vars(row) for row in rows(worker)])
    assert token not in stored and key.split("_", 2)[2] not in stored


def test_two_sign_ins_have_different_tokens(url: str, page: httpx.Client, key: str) -> None:
    sign_in(page, key)
    with httpx.Client(base_url=url) as other:
        sign_in(other, key)
        assert other.cookies[COOKIE] != page.cookies[COOKIE]
        other.delete("/v1/session")
    assert page.get("/v1/jobs").status_code == 200, "another browser's sign-out ends only its own session"


def test_a_session_counts_as_its_key(url: str, page: httpx.Client, key: str, worker: WorkerSide) -> None:
    sign_in(page, key)
    job = page.post("/v1/jobs", json={"prompt": "a red fox", "width": 64, "height": 64}).json()
    owned = httpx.get(f"{url}/v1/jobs/{job['id']}", headers={"Authorization": f"Bearer {key}"})
    assert owned.status_code == 200
    assert page.post("/v1/workers/box-cpu/pause").json()["code"] == "scope_missing"
    assert list_keys(worker.database)[0].last_used_at is not None


@BOTH
def test_a_copied_cookie_ends_with_the_sign_out(url: str, page: httpx.Client, key: str) -> None:
    sign_in(page, key)
    copied = {COOKIE: page.cookies[COOKIE]}
    assert httpx.get(f"{url}/v1/jobs", cookies=copied).status_code == 200
    assert page.delete("/v1/session").status_code == 204
    assert COOKIE not in page.cookies
    assert httpx.get(f"{url}/v1/jobs", cookies=copied).status_code == 401


@BOTH
def test_a_new_sign_in_ends_the_browsers_previous_session(url: str, page: httpx.Client, key: str) -> None:
    sign_in(page, key)
    previous = {COOKIE: page.cookies[COOKIE]}
    sign_in(page, key)
    assert httpx.get(f"{url}/v1/jobs", cookies=previous).status_code == 401
    assert page.get("/v1/jobs").status_code == 200


@BOTH
def test_revoking_the_key_ends_its_sessions(page: httpx.Client, key: str, worker: WorkerSide) -> None:
    sign_in(page, key)
    revoke_key(worker.database, key.split("_")[1])
    assert page.get("/v1/jobs").status_code == 401
    assert page.get("/v1/session").json()["signed_in"] is False
    assert [row.revoked_at is not None for row in rows(worker)] == [True]


@BOTH
def test_a_session_expires_with_its_key_or_by_itself(page: httpx.Client, key: str, worker: WorkerSide) -> None:
    short = create_key(worker.database, NewKey(name="short", expires_in_seconds=3600))[1]
    sign_in(page, short)
    with worker.database.write() as session:
        session.execute(update(ApiKey).where(ApiKey.name == "short").values(expires_at=now() - 1))
    assert page.get("/v1/jobs").status_code == 401
    sign_in(page, key)
    assert [round(row.expires_at - row.created_at) for row in rows(worker)] == [SESSION_SECONDS] * 2
    with worker.database.write() as session:
        session.execute(update(PageSession).values(expires_at=now() - 1))
    assert page.get("/v1/jobs").status_code == 401


@BOTH
def test_retention_deletes_ended_sessions_only(page: httpx.Client, key: str, settings: Settings, worker: WorkerSide) -> None:
    for _ in range(3):
        sign_in(page, key)
    kept = rows(worker)[0].id
    with worker.database.write() as session:
        session.execute(update(PageSession).values(revoked_at=None))
        session.execute(update(PageSession).where(PageSession.id != kept).values(expires_at=now() - 1))
    one_revoked = next(row.id for row in rows(worker) if row.id != kept)
    with worker.database.write() as session:
        later = now() + SESSION_SECONDS
        session.execute(update(PageSession).where(PageSession.id == one_revoked).values(revoked_at=now(), expires_at=later))
    retention_round = RetentionRound(settings)
    retention_round.round()
    retention_round.close()
    assert [row.id for row in rows(worker)] == [kept]


def test_a_wrong_key_gets_no_session(page: httpx.Client, key: str, worker: WorkerSide) -> None:
    wrong = key[:-1] + ("A" if key[-1] != "A" else "B")
    refused = page.post("/v1/session", json={"key": wrong})
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")
    assert "set-cookie" not in refused.headers
    assert rows(worker) == []


@pytest.mark.parametrize("value", ["", "x", "ifs_" + "A" * 43, "a key", "ifs_" + "é" * 43])
def test_an_invented_cookie_is_401(url: str, value: str) -> None:
    headers = [(b"Cookie", f"{COOKIE}={value}".encode())]
    assert httpx.get(f"{url}/v1/jobs", headers=headers).status_code == 401
    assert httpx.delete(f"{url}/v1/session", headers=headers).status_code == 204


def test_a_key_is_no_session_and_a_token_is_no_key(url: str, page: httpx.Client, key: str) -> None:
    assert httpx.get(f"{url}/v1/jobs", cookies={COOKIE: key}).status_code == 401
    sign_in(page, key)
    token = page.cookies[COOKIE]
    assert httpx.get(f"{url}/v1/jobs", headers={"Authorization": f"Bearer {token}"}).status_code == 401


def test_an_earlier_versions_cookie_with_the_key_is_deleted(page: httpx.Client, key: str) -> None:
    page.cookies.set("imagefarm_key", key, domain=page.base_url.host)
    assert page.get("/v1/jobs").status_code == 401
    page.get("/v1/session")
    assert "imagefarm_key" not in page.cookies


@pytest.fixture
def url_behind_proxy(make_settings: SettingsMaker, key: str) -> Iterator[str]:
    with serving(make_settings(trusted_proxies="127.0.0.1")) as found:
        yield found


def test_over_https_the_cookie_is_secure_and_bound_to_the_host(url_behind_proxy: str, key: str) -> None:
    """A trusted proxy reports https with X-Forwarded-Proto."""
    https, url = {"X-Forwarded-Proto": "https"}, url_behind_proxy
    answer = httpx.post(f"{url}/v1/session", json={"key": key}, headers=https)
    name, _, rest = answer.headers["set-cookie"].partition("=")
    assert name == "__Host-imagefarm_session"
    assert "secure" in rest.lower() and "path=/" in rest.lower() and "domain" not in rest.lower()
    cookie = {"Cookie": f"{name}={rest.partition(';')[0]}"}
    assert httpx.get(f"{url}/v1/jobs", headers=cookie | https).status_code == 200
    assert httpx.get(f"{url}/v1/jobs", headers=cookie).status_code == 401
