"""The unchanged official `openai` package against the API."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator

import httpx
import openai
import pytest
from PIL import Image as Pillow

from tests.integration.api.conftest import SettingsMaker
from tests.integration.api.running import WorkerSide, serving


@pytest.fixture
def database_url(fresh_sqlite: str) -> str:
    """Use SQLite only: the behaviour does not depend on the database."""
    return fresh_sqlite


@pytest.fixture
def client(api: httpx.Client) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{api.base_url}/v1", api_key="unused", max_retries=0) as found:
        yield found


def opened(data: bytes) -> Pillow.Image:
    return Pillow.open(io.BytesIO(data))


def test_images_by_url(client: openai.OpenAI, worker: WorkerSide) -> None:
    with worker.working():
        answer = client.images.generate(prompt="a red fox", n=2, size="64x96", model="demo")
    assert answer.data is not None and len(answer.data) == 2
    url = answer.data[1].url
    assert url is not None and url.startswith("http://127.0.0.1")
    assert opened(httpx.get(url).content).size == (64, 96)


def test_images_as_base64_in_another_format_with_additional_fields(client: openai.OpenAI, worker: WorkerSide) -> None:
    with worker.working():
        answer = client.images.generate(
            prompt="a red fox",
            response_format="b64_json",
            output_format="webp",
            model="dall-e-3",
            quality="hd",
            extra_body={"seed": 11, "num_inference_steps": 4, "width": 64, "height": 64, "colour": "red"},
        )
    assert answer.data is not None
    assert opened(base64.b64decode(answer.data[0].b64_json or "")).format == "WEBP"
    extra = answer.model_extra or {}
    assert (answer.data[0].model_extra or {})["seed"] == 11
    assert extra["model"] == "demo"
    assert any("dall-e-3" in warning for warning in extra["warnings"])
    assert any("'colour' has no effect" in warning for warning in extra["warnings"])
    assert any("quality 'hd'" in warning for warning in extra["warnings"])
    assert "noise" in extra["notice"]


def test_models_have_the_shape_of_openai(client: openai.OpenAI) -> None:
    models = {model.id: model for model in client.models.list()}
    assert (models["demo"].model_extra or {})["served"] is True
    assert client.models.retrieve("demo").owned_by == "imagefarm"


def test_errors_become_the_exceptions_of_the_package(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as bad:
        client.images.generate(prompt="x", size="65x64")
    assert bad.value.param == "width"
    assert bad.value.code == "invalid_parameters"
    assert "64 or 80" in bad.value.message
    with pytest.raises(openai.BadRequestError) as many:
        client.images.generate(prompt="x", n=99)
    assert many.value.param == "n"
    with pytest.raises(openai.NotFoundError) as unknown:
        client.images.generate(prompt="x", model="sd-9")
    assert unknown.value.code == "unknown_model"
    with pytest.raises(openai.ConflictError) as unserved:
        client.images.generate(prompt="x", model="z-image-turbo")
    assert unserved.value.code == "model_not_served"
    with pytest.raises(openai.BadRequestError):
        client.images.generate(prompt=None)


def test_a_failed_job_is_an_error_and_is_not_retried(client: openai.OpenAI, worker: WorkerSide) -> None:
    import threading

    failed: list[openai.APIStatusError] = []

    def ask() -> None:
        with pytest.raises(openai.InternalServerError) as caught:
            client.with_options(max_retries=5).images.generate(prompt="x")
        failed.append(caught.value)

    thread = threading.Thread(target=ask)
    thread.start()
    job = None
    while job is None:
        job = worker.claim()
    worker.fail(job)
    thread.join(120)
    assert failed[0].code == "non_finite_latents"
    assert worker.claim() is None, "the package sent the request again"


def test_a_long_job_is_answered_with_the_url_to_poll(make_settings: SettingsMaker, worker: WorkerSide) -> None:
    with serving(make_settings(sync_wait_seconds=0.2)) as url:
        with (
            openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=3) as client,
            pytest.raises(openai.InternalServerError) as late,
        ):
            client.images.generate(prompt="x")
        assert late.value.status_code == 504
        assert isinstance(late.value.body, dict)
        assert httpx.get(url + late.value.body["job_url"]).json()["status"] == "queued"
        assert len(httpx.get(f"{url}/v1/jobs").json()["items"]) == 1, "the package sent the request again"
