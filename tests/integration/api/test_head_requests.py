"""HEAD answers as GET does, without the body."""

from __future__ import annotations

import httpx
import pytest

from tests.integration.api.running import WorkerSide

GOOD = {"prompt": "a red fox", "width": 64, "height": 64}


@pytest.fixture
def database_url(fresh_sqlite: str) -> str:
    """Use SQLite only: the behaviour does not depend on the database."""
    return fresh_sqlite


@pytest.fixture
def job(api: httpx.Client, worker: WorkerSide) -> dict[str, object]:
    """One that has an image."""
    submitted = api.post("/v1/jobs", json=GOOD).json()
    claimed = worker.claim()
    assert claimed is not None
    worker.finish(claimed)
    answer: dict[str, object] = api.get(f"/v1/jobs/{submitted['id']}?wait=10").json()
    return answer


def test_every_path_that_takes_get_takes_head(api: httpx.Client, job: dict[str, object]) -> None:
    image = job["outputs"][0]["id"]  # type: ignore[index]
    paths = [path for path, operations in api.get("/openapi.json").json()["paths"].items() if "get" in operations]
    assert len(paths) > 25
    for pattern in [*paths, "/", "/docs", "/openapi.json", "/js/main.js", "/v1/images/{image_id}/content?format=webp"]:
        path = (
            pattern.replace("{job_id}", str(job["id"])).replace("{image_id}", str(image)).replace("{", "").replace("}", "")
        )
        if path == "/metrics":  # counts this very request
            assert api.head(path).status_code == 200
            continue
        same = ("etag", "content-type", "content-length", "cache-control", "content-security-policy", "vary")
        for _ in range(5):  # What a body says, and with it its length, may change between the two.
            head = api.head(path)
            with api.stream("GET", path) as get:
                told = [{n: answer.headers.get(n) for n in same} for answer in (head, get)]
            if told[0] == told[1]:
                break
        with api.stream("GET", path) as get:
            assert head.status_code == get.status_code, path
            assert head.content == b""
            assert told[0] == told[1], path
            # How a body is transferred says nothing where there is none (RFC 9112, 6.1).
            assert set(head.headers) == set(get.headers) - {"transfer-encoding"}, path


def test_head_states_the_length_of_the_file(api: httpx.Client, job: dict[str, object]) -> None:
    output = job["outputs"][0]  # type: ignore[index]
    assert api.head(output["content_url"]).headers["content-length"] == str(output["bytes"])


def test_head_of_a_stream_ends(api: httpx.Client) -> None:
    queued = api.post("/v1/jobs", json=GOOD).json()
    answer = api.head(f"/v1/jobs/{queued['id']}/events")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert api.get("/healthz").status_code == 200


def test_head_is_among_the_allowed_methods(api: httpx.Client) -> None:
    answer = api.put("/v1/presets", json={})
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("kind", ["content", "thumbnail"])
def test_weak_tags_match(api: httpx.Client, job: dict[str, object], kind: str) -> None:
    path = f"/v1/images/{job['outputs'][0]['id']}/{kind}"  # type: ignore[index]
    tag = api.get(path).headers["etag"]
    for known in (tag, f"W/{tag}", f'"x", W/{tag}', "*"):
        assert api.get(path, headers={"If-None-Match": known}).status_code == 304, known
    assert api.get(path, headers={"If-None-Match": 'W/"other"'}).status_code == 200


def test_strong_form_of_a_jobs_tag_matches(api: httpx.Client, job: dict[str, object]) -> None:
    tag = api.get(f"/v1/jobs/{job['id']}").headers["etag"]
    assert tag.startswith("W/")
    answer = api.get(f"/v1/jobs/{job['id']}", headers={"If-None-Match": tag.removeprefix("W/")})
    assert answer.status_code == 304
