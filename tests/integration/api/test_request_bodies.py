"""JSON routes take JSON only, say how to send it, and take null for what is not given."""

from __future__ import annotations

import gzip

import httpx
import pytest

from core.ids import new_id
from tests.integration.api.running import WorkerSide


@pytest.fixture
def api(shared_api: httpx.Client) -> httpx.Client:
    return shared_api


def json_routes(api: httpx.Client) -> list[tuple[str, str]]:
    """Return (method, path) of every route that takes JSON alone; ComfyUI's take any type."""
    paths = api.get("/openapi.json").json()["paths"]
    return [
        (method.upper(), path.replace("{image_id}", new_id()))
        for path, methods in paths.items()
        for method, operation in methods.items()
        if operation.get("requestBody", {}).get("content", {}).keys() == {"application/json"}
        and operation["tags"] != ["comfyui"]
    ]


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain;charset=UTF-8"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "multipart/form-data; boundary=x"},
        {"content-type": "application/jsonp"},
        {},
    ],
)
def test_a_body_that_is_not_sent_as_json_is_refused_on_every_json_route(api: httpx.Client, headers: dict[str, str]) -> None:
    routes = json_routes(api)
    shaped = ("/v1/images/generations", "/v1/models", "/sdapi/", "/internal/")
    assert len(routes) >= 10
    before = api.get("/v1/jobs").json()["items"]
    for method, path in routes:
        answer = api.request(method, path, content=b'{"prompt": "a red fox"}', headers=headers)
        body = answer.json()
        detail = body["error"]["message"] if path == "/v1/images/generations" else body["detail"]
        code = body["error"]["code"] if path == "/v1/images/generations" else body["code"]
        assert (answer.status_code, code) == (415, "unsupported_media_type"), (method, path, answer.text)
        assert "-H 'Content-Type: application/json'" in detail
        assert ("error" in body) == path.startswith(shaped), path
    assert api.get("/v1/jobs").json()["items"] == before


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8", "application/vnd.api+json"])
def test_every_json_type_is_taken(api: httpx.Client, kind: str) -> None:
    answer = api.post("/v1/jobs", content=b'{"prompt": "a red fox"}', headers={"content-type": kind})
    assert answer.status_code == 202, answer.text


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (gzip.compress(b'{"prompt": "x"}'), "send it uncompressed"),
        (b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"prompt": "x", "seed": ' + b"9" * 5000 + b"}", "too many digits"),
    ],
    ids=["compressed", "deep", "long number"],
)
def test_json_that_cannot_be_read_is_explained(api: httpx.Client, body: bytes, reason: str) -> None:
    answer = api.post("/v1/jobs", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_json")
    assert reason in answer.json()["detail"]


def test_clients_may_send_null_for_what_is_not_given(api: httpx.Client, shared_worker: WorkerSide) -> None:
    job = api.post("/v1/jobs", json={"prompt": "x", "seed": None, "num_images": None, "metadata": None, "strict": None})
    assert (job.status_code, job.json()["input"]["num_images"]) == (202, 1), job.text
    batch = {"prompts": ["x"], "seeds": None, "axes": None, "base": {"seed": None}, "priority": None, "shared_seed": None}
    assert api.post("/v1/batches", json=batch).status_code == 202
    hook = {"url": "https://example.com/hook", "events": None, "all_owners": None}
    assert api.post("/v1/webhooks", json=hook).status_code == 201
    with shared_worker.working():
        openai = api.post(
            "/v1/images/generations", json={"prompt": "x", "seed": None, "steps": None, "user": None, "n": None}
        )
        a1111 = api.post("/sdapi/v1/txt2img", json={"prompt": "x", "seed": None, "styles": None, "eta": None, "width": None})
    assert (openai.status_code, a1111.status_code) == (200, 200), (openai.text[:200], a1111.text[:200])
    task = {"id_task": "t", "id_live_preview": None, "live_preview": None}
    assert api.post("/internal/progress", json=task).status_code == 200
