"""OpenAI's face: the official package, and requests as other clients send them."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from db.jobs.read import read_snapshot
from db.tables import Job
from tests.integration.clients.conftest import ClientFarm, encoded, events_of, holed, opened, png


@pytest.fixture(scope="module")
def client(farm: ClientFarm) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{farm.url}/v1", api_key=farm.key, max_retries=0, timeout=120) as found:
        yield found


def stored(farm: ClientFarm, job_id: str) -> Job:
    return read_snapshot(farm.worker.database, job_id).job


def warnings_of(answer: Any) -> list[str]:  # noqa: ANN401 -- any response of the package
    found: list[str] = answer.model_extra["warnings"]
    return found


def test_a_gpt_image_name_answers_base64_alone_with_usage_and_echoed_fields(farm: ClientFarm, client: openai.OpenAI) -> None:
    with farm.worker.working():
        answer = client.images.generate(
            prompt="a fox", model="gpt-image-1", size="64x96", n=2, quality="high", background="opaque",
            output_format="webp", output_compression=20, moderation="low", user="me",
        )  # fmt: skip
        links = client.images.generate(prompt="a fox", model="dall-e-3", size="64x64", style="vivid")
    assert answer.data is not None and len(answer.data) == 2
    assert answer.data[0].url is None and "url" not in answer.data[0].model_fields_set
    assert opened(answer.data[1].b64_json).format == "WEBP"
    assert (answer.background, answer.output_format, answer.quality, answer.size) == ("opaque", "webp", "high", "64x96")
    assert answer.usage is not None and answer.usage.output_tokens == 2 * 4 * 6
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    assert any("quality 'high' has no effect: demo keeps its own" in text for text in warnings_of(answer))
    assert links.data is not None and links.data[0].b64_json is None
    assert httpx.get(links.data[0].url or "").status_code == 200, "the link is signed"
    assert "style 'vivid' has no effect here." in warnings_of(links)


def test_output_compression_sets_the_quality_of_jpeg(farm: ClientFarm, client: openai.OpenAI) -> None:
    with farm.worker.working():
        answers = [
            client.images.generate(
                prompt="x", model="gpt-image-1", size="512x512", output_format="jpeg", output_compression=percent
            )
            for percent in (0, 100)
        ]
    files = [opened(answer.data[0].b64_json) for answer in answers if answer.data]
    coarse, fine = [file.quantization[0] for file in files if isinstance(file, JpegImageFile)]
    assert sum(coarse) > sum(fine) == 64, "the steps between levels, of a plain picture too"


def test_an_edit_repaints_what_is_transparent_in_the_mask(farm: ClientFarm, client: openai.OpenAI) -> None:
    with farm.worker.working():
        answer = client.images.edit(
            image=[("a.png", png(), "image/png"), ("b.png", png(color="blue"), "image/png")],
            mask=("mask.png", holed(), "image/png"), prompt="a hat", model="gpt-image-1", n=2, size="auto",
            input_fidelity="high", extra_body={"seed": 7},
        )  # fmt: skip
    assert answer.data is not None and opened(answer.data[0].b64_json).size == (64, 64)
    assert any("Of 2 images the first was used" in text for text in warnings_of(answer))
    assert "input_fidelity 'high' has no effect here." in warnings_of(answer)
    job = stored(farm, str((answer.model_extra or {})["job_id"]))
    assert (job.input["seed"], job.input["num_images"], job.input["strength"]) == (7, 2, 1.0)
    assert job.input["mask"]["white_share"] == 0.25
    assert job.input["init_image"]["width"] == 64


def test_an_edit_in_json_takes_data_urls_and_images_of_the_farm(farm: ClientFarm) -> None:
    body: dict[str, Any] = {"prompt": "a hat", "model": "gpt-image-1", "n": None, "mask": None}
    with farm.worker.working():
        made = farm.http.post("/v1/images/generations", json={"prompt": "a fox", "size": "64x64"}).json()["data"][0]
        for image in ({"image_url": f"data:image/png;base64,{encoded(png())}"}, {"image_url": made["url"]}):
            answer = farm.http.post("/v1/images/edits", json=body | {"images": [image]})
            assert answer.status_code == 200, answer.text
        known = farm.http.post("/v1/images/edits", json=body | {"images": [{"file_id": made["image_id"]}]})
    assert farm.job(known.json()["job_id"])["parent"]["image"] == made["image_id"]
    fetched = farm.http.post("/v1/images/edits", json=body | {"images": [{"image_url": "https://example.com/a.png"}]})
    assert (fetched.status_code, fetched.json()["error"]["code"]) == (400, "image_url_not_fetched")


def test_an_image_without_a_mask_is_its_own_for_dall_e(farm: ClientFarm, client: openai.OpenAI) -> None:
    with farm.worker.working():
        answer = client.images.edit(image=("a.png", holed(), "image/png"), prompt="x", model="dall-e-2")
    assert answer.data is not None and answer.data[0].url
    assert stored(farm, str((answer.model_extra or {})["job_id"])).input["mask"]["white_share"] == 0.25


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # OpenAI has retired the call.
def test_a_variation_has_the_prompt_of_the_file_and_a_variation_seed(farm: ClientFarm, client: openai.OpenAI) -> None:
    with farm.worker.working():
        made = client.images.generate(prompt="a red fox", model="gpt-image-1", size="64x64", extra_body={"seed": 5})
        assert made.data is not None
        file = base64.b64decode(made.data[0].b64_json or "")
        first = client.images.create_variation(image=("fox.png", file, "image/png"), n=2, size="64x64")
        plain = client.images.create_variation(image=("red.png", png(), "image/png"))
    job = stored(farm, str((first.model_extra or {})["job_id"]))
    assert (job.input["prompt"], job.input["seed"], job.input["variation_strength"]) == ("a red fox", 5, 0.5)
    assert first.data is not None and len({image.url for image in first.data}) == 2
    assert stored(farm, str((plain.model_extra or {})["job_id"])).input["prompt"] == ""


def test_a_stream_sends_previews_and_then_the_image(farm: ClientFarm, client: openai.OpenAI) -> None:
    stream = client.images.generate(
        prompt="a fox", model="gpt-image-1", size="64x64", stream=True, partial_images=2, output_format="jpeg"
    )
    job = farm.claimed()
    events = iter(stream)
    farm.preview(job, "red", step=1, steps=8)  # Too early for the first of two.
    farm.preview(job, "green", step=4, steps=8)
    first = next(events)
    farm.preview(job, "blue", step=6, steps=8)
    second = next(events)
    farm.worker.finish(job)
    done = next(events)
    assert first.type == second.type == "image_generation.partial_image"
    assert (first.partial_image_index, second.partial_image_index) == (0, 1)
    partial = opened(first.b64_json)
    green = partial.convert("RGB").getpixel((32, 32))
    assert (partial.format, partial.size) == ("JPEG", (64, 64))
    assert isinstance(green, tuple) and green[1] > 100 > green[0]
    assert done.type == "image_generation.completed"
    assert opened(done.b64_json).size == (64, 64) and done.usage.output_tokens == 16
    assert next(events, None) is None


def test_a_streamed_edit_has_its_own_events_and_a_failure_is_an_error_event(farm: ClientFarm, client: openai.OpenAI) -> None:
    with farm.worker.working():
        fields = {"prompt": "x", "model": "gpt-image-1", "stream": "true"}
        text = farm.http.post("/v1/images/edits", data=fields, files={"image": ("a.png", png(), "image/png")}).text
    assert [name for name, _ in events_of(text)] == ["image_edit.completed"]
    stream = client.images.generate(prompt="x", size="64x64", stream=True)
    farm.worker.fail(farm.claimed())
    with pytest.raises(openai.APIError, match="overflowed"):
        next(iter(stream))


@pytest.mark.parametrize("streamed", [False, True])
def test_a_closed_connection_cancels_a_job_that_waits(farm: ClientFarm, streamed: bool) -> None:
    body = json.dumps({"prompt": "left", "size": "64x64", "stream": streamed})
    host, port = farm.url.removeprefix("http://").split(":")
    head = f"POST /v1/images/generations HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {farm.key}\r\n"
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        while not (waiting := farm.http.get("/v1/jobs?status=queued").json()["items"]):
            pass
    ended = farm.http.get(f"/v1/jobs/{waiting[0]['id']}?wait=120").json()
    assert (ended["input"]["prompt"], ended["status"]) == ("left", "canceled")


def test_what_has_started_or_has_a_key_outlives_its_connection(farm: ClientFarm) -> None:
    with httpx.Client(base_url=farm.url, headers=farm.http.headers) as leaving:
        body = {"prompt": "kept", "size": "64x64", "stream": True}
        keyed = leaving.build_request("POST", "/v1/images/generations", json=body, headers={"Idempotency-Key": "again"})
        leaving.send(keyed, stream=True).close()
        queued = farm.newest()["id"]
        started = leaving.send(leaving.build_request("POST", "/v1/images/generations", json=body), stream=True)
        first, second = farm.claimed(), farm.claimed()
        assert first.id == queued
        started.close()
    for job in (first, second):
        farm.worker.finish(job)
        assert farm.http.get(f"/v1/jobs/{job.id}?wait=120").json()["status"] == "succeeded"


def test_names_of_openai_mean_the_default_model_and_the_list_leads_with_what_is_served(client: openai.OpenAI) -> None:
    models = list(client.models.list())
    assert models[0].id == "demo" and (models[0].model_extra or {})["served"] is True
    served = [bool((model.model_extra or {})["served"]) for model in models]
    assert served == sorted(served, reverse=True)
    assert client.models.retrieve("gpt-image-1").id == "gpt-image-1"
    assert client.models.retrieve("demo").id == "demo"
    with pytest.raises(openai.NotFoundError) as unknown:
        client.models.retrieve("sd-9")
    assert unknown.value.code == "model_not_found"


def test_azures_header_is_a_key(farm: ClientFarm) -> None:
    with openai.AzureOpenAI(
        base_url=f"{farm.url}/v1", api_key=farm.key, api_version="2025-04-01-preview", max_retries=0
    ) as azure:
        assert "demo" in [model.id for model in azure.models.list()]


ERRORS = [
    ("POST", "/v1/images/generations", {"json": {}}, 400, "invalid_parameters"),
    (
        "POST",
        "/v1/images/generations",
        {"json": {"prompt": "x", "background": "transparent"}},
        400,
        "background_not_offered",
    ),
    ("POST", "/v1/images/generations", {"json": {"prompt": "x", "model": "no-such"}}, 404, "unknown_model"),
    ("POST", "/v1/images/generations", {"content": b"x"}, 415, "unsupported_media_type"),
    ("POST", "/v1/images/generations", {"content": b"x" * (33 * 2**20)}, 413, "body_too_large"),
    ("PUT", "/v1/images/generations", {}, 405, "method_not_allowed"),
    ("POST", "/v1/images/edits", {"data": {"prompt": "x"}, "files": {"other": b"x"}}, 400, "invalid_input"),
    ("POST", "/v1/images/edits", {"json": {"prompt": "x"}}, 400, "invalid_input"),
    ("POST", "/v1/images/edits", {"content": b"x"}, 415, "unsupported_media_type"),
    (
        "POST",
        "/v1/images/edits",
        {"data": {"prompt": "x"}, "files": {"image": png(), "mask": png()}},
        400,
        "mask_without_alpha",
    ),
    ("POST", "/v1/images/edits", {"data": {"prompt": "x"}, "files": {"image": b"no image"}}, 400, "image_format"),
    ("POST", "/v1/images/variations", {"json": {}}, 415, "unsupported_media_type"),
    ("GET", "/v1/models/no-such", {}, 404, "model_not_found"),
    ("DELETE", "/v1/models", {}, 405, "method_not_allowed"),
    ("POST", "/v1/chat/completions", {"json": {}}, 404, "not_found"),
]


@pytest.mark.parametrize(("method", "path", "sent", "status", "code"), ERRORS)
def test_errors_have_the_shape_of_openai(
    farm: ClientFarm, method: str, path: str, sent: dict[str, Any], status: int, code: str
) -> None:
    answer = farm.http.request(method, path, **sent)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("path", ["/v1/images/generations", "/v1/images/edits", "/v1/images/variations", "/v1/models"])
def test_a_missing_key_has_the_shape_of_openai(farm: ClientFarm, path: str) -> None:
    answer = httpx.request("GET" if path == "/v1/models" else "POST", farm.url + path, json={"prompt": "x"})
    assert (answer.status_code, answer.json()["error"]["type"]) == (401, "authentication_error")


OPEN_WEBUI = {"model": "gpt-image-1", "prompt": "a fox", "n": 1, "size": "512x512"}
LIBRECHAT = {"model": "gpt-image-1", "prompt": "a fox", "n": 1, "quality": "auto", "size": "auto", "background": "auto"}
N8N = {"prompt": "a fox", "model": "gpt-image-1", "n": 1, "size": "1024x1024", "quality": "medium", "user": "n8n"}
AI_SDK = {"model": "demo", "prompt": "a fox", "n": 2, "size": "512x512", "response_format": "b64_json", "seed": None}


@pytest.mark.parametrize("body", [OPEN_WEBUI, LIBRECHAT, N8N, AI_SDK], ids=["open-webui", "librechat", "n8n", "ai-sdk"])
def test_generations_of_other_clients_are_answered_with_base64_alone(farm: ClientFarm, body: dict[str, Any]) -> None:
    with farm.worker.working():
        answer = farm.http.post("/v1/images/generations", json=body)
    assert answer.status_code == 200, answer.text
    assert all("url" not in image and opened(image["b64_json"]) for image in answer.json()["data"])


@pytest.mark.parametrize("name", ["image", "image[]"], ids=["open-webui", "librechat, ai-sdk"])
def test_edits_of_other_clients(farm: ClientFarm, name: str) -> None:
    files = [(name, (f"{index}.png", png(), "image/png")) for index in range(2)]
    fields = {"model": "gpt-image-1", "prompt": "a hat", "n": "1", "size": "1024x1024"}
    with farm.worker.working():
        answer = farm.http.post("/v1/images/edits", data=fields, files=files)
    assert answer.status_code == 200, answer.text
    assert isinstance(opened(answer.json()["data"][0]["b64_json"]), Image.Image)


def test_a_request_that_is_sent_again_with_its_key_renders_once(farm: ClientFarm) -> None:
    with farm.worker.working():
        answers = [
            farm.http.post(
                "/v1/images/edits", data={"prompt": "x"}, files={"image": png()}, headers={"Idempotency-Key": "edit"}
            ).json()
            for _ in range(2)
        ]
    assert answers[0]["job_id"] == answers[1]["job_id"], json.dumps(answers)
