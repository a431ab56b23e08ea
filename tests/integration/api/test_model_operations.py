"""Operations on models over HTTP: who may start them, what is refused, waiting and entity tags."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from core.api_keys import Scope
from db import model_operations
from db.api_keys import NewKey, create_key
from db.model_operations import Report
from tests.integration.api.running import WorkerSide


@pytest.fixture
def database_url(fresh_sqlite: str) -> str:
    """Use SQLite only: the behaviour does not depend on the database."""
    return fresh_sqlite


@pytest.fixture
def reader(api: httpx.Client, worker: WorkerSide) -> Iterator[httpx.Client]:
    """Provide a client that may read and submit, and give `api` a key that may everything."""
    admin = create_key(worker.database, NewKey("admin", scopes=(Scope.ADMIN,)))[1]
    other = create_key(worker.database, NewKey("other", scopes=(Scope.SUBMIT, Scope.READ_ALL)))[1]
    api.headers["Authorization"] = f"Bearer {admin}"
    with httpx.Client(base_url=api.base_url, headers={"Authorization": f"Bearer {other}"}, timeout=120) as client:
        yield client


def test_only_admins_start_and_cancel_operations_and_see_who_did(api: httpx.Client, reader: httpx.Client) -> None:
    started = api.post("/v1/models/sd-turbo/pull")
    assert started.status_code == httpx.codes.ACCEPTED
    path = started.headers["Location"]
    assert path == f"/v1/model-operations/{started.json()['id']}"
    for method, refused in (
        ("POST", "/v1/models/sd-turbo/pull"),
        ("POST", "/v1/models/sd-turbo/verify"),
        ("DELETE", "/v1/models/sd-turbo?weights=true"),
        ("POST", f"{path}/cancel"),
    ):
        answer = reader.request(method, refused)
        assert (answer.status_code, answer.json()["code"]) == (httpx.codes.FORBIDDEN, "scope_missing"), refused
    seen = reader.get(path).json()
    assert (seen["state"], seen["requested_by"]) == ("queued", None)
    assert api.get(path).json()["requested_by"].startswith("key:")
    assert [each["id"] for each in reader.get("/v1/model-operations?model=sd-turbo").json()["items"]] == [seen["id"]]
    assert reader.get("/v1/model-operations?model=sdxl").json()["items"] == []
    assert api.post(f"{path}/cancel").json()["state"] == "canceled"


def test_unknown_models_and_operations_are_not_found(api: httpx.Client) -> None:
    for method, path, code in (
        ("POST", "/v1/models/nope/pull", "model_not_found"),
        ("POST", "/v1/models/..%2F..%2Fetc/pull", "not_found"),
        ("POST", "/v1/models/%00/verify", "model_not_found"),
        ("DELETE", "/v1/models/nope", "model_not_found"),
        ("GET", "/v1/model-operations/nope", "operation_not_found"),
        ("GET", "/v1/model-operations/01890000-0000-7000-8000-000000000000", "operation_not_found"),
        ("POST", "/v1/model-operations/01890000-0000-7000-8000-000000000000/cancel", "operation_not_found"),
    ):
        answer = api.request(method, path)
        assert (answer.status_code, answer.json()["code"]) == (httpx.codes.NOT_FOUND, code), path


def test_weights_that_a_live_worker_serves_stay(api: httpx.Client) -> None:
    answer = api.delete("/v1/models/demo?weights=true")
    assert (answer.status_code, answer.json()["code"]) == (httpx.codes.CONFLICT, "model_in_use")
    answer = api.delete("/v1/models/sd-turbo")
    assert (answer.status_code, answer.json()["code"]) == (httpx.codes.CONFLICT, "model_shipped")
    assert "?weights=true" in answer.json()["detail"]
    assert api.delete("/v1/models/sd-turbo?weights=true").json()["kind"] == "remove-weights"


def test_a_waiting_client_gets_news_and_no_repetition(api: httpx.Client, worker: WorkerSide) -> None:
    path = api.post("/v1/models/sd-turbo/pull").headers["Location"]
    first = api.get(path)
    tag = first.headers["ETag"]
    assert api.get(path, headers={"If-None-Match": tag}).status_code == httpx.codes.NOT_MODIFIED
    held = model_operations.claim(worker.database, "box-1", 60.0)
    assert held is not None
    model_operations.report(worker.database, held, Report("downloading", 5, 10, "a.safetensors"), 60.0)
    news = api.get(path, params={"wait": 60}, headers={"If-None-Match": tag})
    assert news.json()["progress"] == {"stage": "downloading", "done_bytes": 5, "total_bytes": 10, "detail": "a.safetensors"}
    assert news.json()["executor"] == "box-1"
    model_operations.fail(worker.database, held, "not_enough_disk", "Free some space.")
    ended = api.get(path, params={"wait": 60}).json()
    assert (ended["state"], ended["progress"]) == ("failed", None)
    assert ended["error"] == {"code": "not_enough_disk", "message": "Free some space."}


def test_an_operation_that_waits_states_why(api: httpx.Client, worker: WorkerSide, monkeypatch: pytest.MonkeyPatch) -> None:
    path = api.post("/v1/models/sd-turbo/pull").headers["Location"]
    assert api.get(path).json()["reason"] is None
    monkeypatch.setattr("api.views.model_operations.UNCLAIMED_SECONDS", -10.0)
    assert "imagefarm model-manager" in api.get(path).json()["reason"]
    held = model_operations.claim(worker.database, "box-1", 60.0)
    assert held is not None
    model_operations.give_back(worker.database, held, "Another pull of sd-turbo is running.")
    assert api.get(path).json()["reason"] == "Another pull of sd-turbo is running."
