"""Requests that the API refuses, and its error messages."""

from __future__ import annotations

import httpx
import pytest

from db.workers import Registration, heartbeat, register
from tests.integration.api.conftest import SettingsMaker
from tests.integration.api.running import WorkerSide, serving

GOOD = {"prompt": "a red fox", "width": 64, "height": 64}


@pytest.fixture(params=["sqlite"])
def database_url(request: pytest.FixtureRequest, fresh_sqlite: str) -> str:
    """Use SQLite only: refusals do not depend on the database."""
    return fresh_sqlite


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"width": 500}, "width", "use 496 or 512"),
        ({"width": 0}, "width", "0 is out of range"),
        ({"height": 100_000}, "height", "64 to 2048"),
        ({"promt": "x"}, "promt", "Did you mean prompt"),
        ({"steps": 8, "num_inference_steps": 9}, "steps", "has the same meaning as 'num_inference_steps'"),
        ({"num_inference_steps": 0}, "num_inference_steps", "1 to 100"),
        ({"guidance_scale": 99}, "guidance_scale", "0 to 30"),
        ({"num_images": 17}, "num_images", "1 to 16"),
        ({"seed": -2}, "seed", "-1"),
        ({"seed": 2**32}, "seed", "4294967295"),
        ({"prompt": " "}, "prompt", "empty"),
        ({"prompt": "x" * 10_001}, "prompt", "10001 characters"),
        ({"prompt": "a\x00b"}, "prompt", "NUL"),
        ({"prompt": 5}, "prompt", "string"),
        ({"preset": "squar-512"}, "preset", "square-512"),
        ({"model": "sd-9"}, "model", "Known models"),
        ({"priority": 10}, "priority", "less than or equal to 9"),
        ({"strength": 0.5}, "strength", "init_image"),
        ({"start_sigma": 0.5}, "start_sigma", "init_image"),
        ({"mask": "x"}, "mask", "There is no upload"),
        ({"mask_feather": 8}, "mask_feather", "send mask with it"),
        ({"metadata": {"a": "\x00"}}, "metadata.a", "NUL"),
    ],
)
def test_bad_fields_are_named_with_the_fix(
    shared_api: httpx.Client, change: dict[str, object], field: str, words: str
) -> None:
    answer = shared_api.post("/v1/jobs", json=GOOD | change)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"]
    assert problem["type"].endswith(problem["code"])
    assert [error["field"] for error in problem["errors"]] == [field]
    assert words in problem["errors"][0]["message"]


def test_a_malformed_size_is_explained(shared_api: httpx.Client) -> None:
    problem = shared_api.post("/v1/jobs", json={"prompt": "x", "size": "big"}).json()
    assert problem["errors"] == [{"field": "size", "message": problem["errors"][0]["message"]}]
    assert '"512x512"' in problem["errors"][0]["message"]


def test_a_field_of_a_batchs_jobs_belongs_into_base(shared_api: httpx.Client) -> None:
    problem = shared_api.post("/v1/batches", json={"prompts": ["x"], "width": 128, "promts": []}).json()
    found = {error["field"]: error["message"] for error in problem["errors"]}
    assert found["width"] == "It is a field of the batch's jobs: put it into `base`."
    assert "Did you mean prompts" in found["promts"]


def test_every_wrong_value_is_reported_at_once(shared_api: httpx.Client) -> None:
    problem = shared_api.post("/v1/jobs", json=GOOD | {"width": 100, "seed": -5, "num_images": 0}).json()
    assert {error["field"] for error in problem["errors"]} == {"width", "seed", "num_images"}


@pytest.mark.parametrize("body", [b"{", b"", b"[]", b'"x"', b'{"prompt": "\\ud800"}', b'{"prompt": NaN}', b"\xff\xfe"])
def test_bodies_that_are_not_a_job_are_4xx(shared_api: httpx.Client, body: bytes) -> None:
    answer = shared_api.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.json()["code"] in ("malformed_json", "invalid_parameters", "bad_request")


@pytest.mark.parametrize(("body", "words"), [(b"[" * 100_000, "nested too deeply"), (b'{"prompt": "\xff"}', "UTF-8")])
def test_a_body_that_cannot_be_read_is_explained(shared_api: httpx.Client, body: bytes, words: str) -> None:
    answer = shared_api.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_json")
    assert words in answer.json()["detail"]


def test_unknown_ids_and_paths_are_problem_documents(shared_api: httpx.Client) -> None:
    assert shared_api.get("/v1/jobs/nonsense").json()["code"] == "job_not_found"
    missing = "019ab000-0000-7000-8000-000000000000"
    assert shared_api.get(f"/v1/jobs/{missing}").json()["code"] == "job_not_found"
    assert shared_api.get(f"/v1/images/{missing}/content").json()["code"] == "image_not_found"
    assert shared_api.get("/v1/nothing").json()["code"] == "not_found"
    assert shared_api.delete("/v1/models").json()["code"] == "method_not_allowed"
    assert shared_api.post("/v1/workers/nobody/pause").json()["code"] == "worker_not_found"
    assert shared_api.get("/v1/models/nothing").json()["code"] == "model_not_found"


def test_a_body_beyond_the_limit_is_refused_with_or_without_content_length(
    make_settings: SettingsMaker, worker: WorkerSide
) -> None:
    with serving(make_settings(max_body_bytes=1000)) as url, httpx.Client(base_url=url) as api:
        announced = api.post("/v1/jobs", json=GOOD | {"negative_prompt": "x" * 2000})
        assert (announced.status_code, announced.json()["code"]) == (413, "body_too_large")
        chunks = (b'{"prompt": "' + b"x" * 600, b"x" * 600 + b'"}')
        streamed = api.post("/v1/jobs", content=iter(chunks), headers={"Content-Type": "application/json"})
        assert (streamed.status_code, streamed.json()["code"]) == (413, "body_too_large")
        assert api.post("/v1/jobs", json=GOOD).status_code == 202


def test_another_sites_page_cannot_write(shared_api: httpx.Client) -> None:
    foreign = shared_api.post("/v1/jobs", json=GOOD, headers={"Origin": "https://evil.example"})
    assert (foreign.status_code, foreign.json()["code"]) == (403, "cross_site_request")
    own = shared_api.post(
        "/v1/jobs", json=GOOD, headers={"Origin": f"http://{shared_api.base_url.host}:{shared_api.base_url.port}"}
    )
    assert own.status_code == 202


def test_a_model_without_workers_is_refused_with_what_to_do(shared_api: httpx.Client) -> None:
    refused = shared_api.post("/v1/jobs", json=GOOD | {"model": "z-image-turbo"})
    assert (refused.status_code, refused.json()["code"]) == (409, "model_not_served")
    assert "Served now: demo" in refused.json()["detail"]
    assert "imagefarm worker --model z-image-turbo" in refused.json()["detail"]
    row = shared_api.get("/v1/models/z-image-turbo").json()
    assert (row["served"], row["accepts_jobs"], row["state"]) == (False, False, "not_served")


def test_a_restart_of_the_only_worker_refuses_no_jobs(api: httpx.Client, worker: WorkerSide) -> None:
    heartbeat(worker.database, worker.name, "run-1", state="stopped")
    accepted = api.post("/v1/jobs", json=GOOD | {"model": "demo"})
    assert accepted.status_code == 202


def test_a_restarting_worker_among_others_refuses_no_jobs(make_settings: SettingsMaker, worker: WorkerSide) -> None:
    register(worker.database, Registration("other", "run-1", "sd-turbo", "cpu", 1))
    heartbeat(worker.database, "other", "run-1", state="stopped")
    with serving(make_settings()) as url, httpx.Client(base_url=url) as api:
        job = api.post("/v1/jobs", json=GOOD | {"model": "sd-turbo"})
        assert job.status_code == 202
        waiting = api.get(job.headers["location"]).json()
        assert "No worker of this model is up" in waiting["queue"]["reason"]


def test_a_replay_is_answered_when_no_worker_serves_the_model_any_more(
    make_settings: SettingsMaker, worker: WorkerSide
) -> None:
    register(worker.database, Registration("other", "run-1", "sd-turbo", "cpu", 1))
    with serving(make_settings()) as url, httpx.Client(base_url=url) as api:
        body, key = GOOD | {"model": "sd-turbo"}, {"Idempotency-Key": "k"}
        first = api.post("/v1/jobs", json=body, headers=key)
        assert first.status_code == 202
        heartbeat(worker.database, "other", "run-1", state="failed", message="no card")
    with serving(make_settings()) as url, httpx.Client(base_url=url) as api:
        assert "no card" in api.post("/v1/jobs", json=body).json()["detail"]
        assert api.post("/v1/jobs", json=body, headers=key).json() == first.json()


def test_warnings_and_aliases_are_applied(shared_api: httpx.Client) -> None:
    job = shared_api.post(
        "/v1/jobs",
        json={"prompt": "猫 🐈" * 900, "size": "64x96", "steps": 40, "cfg_scale": 1, "negative_prompt": "x", "n": 2},
    ).json()
    assert (job["input"]["width"], job["input"]["height"]) == (64, 96)
    assert 0 <= job["input"]["seed"] <= 2**32 - 2
    assert job["input"]["num_images"] == 2
    assert any("negative_prompt has no effect while guidance is off" in warning for warning in job["warnings"])
    assert any("5.0x" in warning for warning in job["warnings"])


def test_messages_speak_of_json_and_characters(shared_api: httpx.Client) -> None:
    answer = shared_api.post("/v1/jobs", json=["a"])
    assert answer.json()["detail"] == "body: must be a JSON object."
    answer = shared_api.post("/v1/styles", json={"name": "x" * 101, "prompt": "ink"})
    assert answer.json()["detail"] == "name: has 101 characters: send at most 100."
    answer = shared_api.post("/v1/images/edits", files={"image": ("a.png", b"", "image/png")})
    assert answer.json()["error"]["message"] == "prompt: is missing: send it."


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize("path", ["/free", "/userdata/x", "/js/none.js", "/js", "/img/", "/" + "x" * 300, "/%00"])
def test_an_address_without_anything_is_404_for_every_method(shared_api: httpx.Client, method: str, path: str) -> None:
    assert shared_api.request(method, path).status_code == 404


@pytest.mark.parametrize("path", ["/", "/index.html", "/js/main.js", "/favicon.ico", "/docs"])
def test_a_file_of_the_page_takes_reads_only(shared_api: httpx.Client, path: str) -> None:
    assert shared_api.get(path).status_code == 200
    assert shared_api.post(path).status_code == 405
