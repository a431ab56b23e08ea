"""POST /v1/parameters: a picture's settings as fields of a job, with this farm's models and LoRAs."""

from __future__ import annotations

import json

import httpx
import pytest

from api.parameters import find_model
from core.catalogue import load_catalogue
from core.settings import Settings
from tests.integration.api.running import WorkerSide
from tests.integration.api.test_exports import finish_all, submit
from tests.unit.imagefile import pictures
from tests.unit.models.test_lora_facts import write_lora
from tests.unit.models.test_loras import Z_IMAGE

PNG = {"Content-Type": "image/png"}


@pytest.fixture
def database_url(fresh_sqlite: str) -> str:
    """Use SQLite only: the behaviour does not depend on the database."""
    return fresh_sqlite


def ask(api: httpx.Client, data: bytes) -> dict[str, object]:
    kind = "image/png" if data.startswith(b"\x89PNG") else "image/webp" if data.startswith(b"RIFF") else "image/jpeg"
    answer = api.post("/v1/parameters", content=data, headers={"Content-Type": kind})
    assert answer.status_code == 200, answer.text
    found: dict[str, object] = answer.json()
    return found


def test_our_own_image_can_be_submitted_as_it_is(api: httpx.Client, worker: WorkerSide) -> None:
    job = submit(api, "灯塔, a lighthouse", seed=9)
    finish_all(worker)
    output = api.get(f"/v1/jobs/{job['id']}").json()["outputs"][0]
    data = api.get(output["content_url"]).content
    found = ask(api, data)
    assert (found["source"], found["fields"]["model"]) == ("imagefarm", "demo")  # type: ignore[index]
    answer = api.post("/v1/jobs", json=found["fields"])
    assert answer.status_code == 202
    same = ("prompt", "seed", "width", "height", "num_inference_steps", "guidance_scale")
    assert {name: answer.json()["input"][name] for name in same} == {name: job["input"][name] for name in same}  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("z_image_turbo_bf16.safetensors", "z-image-turbo"),
        ("z_image_turbo-Q8_0.gguf", "z-image-turbo"),
        ("SD1.5\\\\v1-5-pruned-emaonly-fp16.safetensors", "sd15"),
        ("sd_xl_base_1.0.safetensors", "sdxl"),
        ("sd_xl_turbo_1.0_fp16.safetensors", "sdxl-turbo"),
        ("flux-2-klein-4b-fp8.safetensors", "flux2-klein-4b"),
        ("tinydiffusion", "tiny-sd"),
        ("Demo", "demo"),
        ("someones-mix_v9.safetensors", None),
    ],
)
def test_models_are_matched_by_usual_names(name: str, model: str | None) -> None:
    found = find_model(name, load_catalogue())
    assert (found.id if found else None) == model


def test_foreign_names_are_matched_or_named(api: httpx.Client, settings: Settings) -> None:
    folder = settings.resolved_models_dir / "loras"
    folder.mkdir(parents=True)
    graph = json.loads(json.dumps(pictures.Z_IMAGE))
    for number, lora in enumerate(("ink", "gold"), 30):
        graph[str(number)] = {
            "class_type": "LoraLoaderModelOnly",
            "inputs": {
                "lora_name": f"styles/{lora}.safetensors",
                "strength_model": 0.5,
                "model": graph["2"]["inputs"]["model"],
            },
        }
        graph["2"]["inputs"]["model"] = [str(number), 0]
    write_lora(folder / "ink.safetensors", Z_IMAGE)
    found = ask(api, pictures.png(prompt=json.dumps(graph)))
    assert found["fields"]["model"] == "z-image-turbo"  # type: ignore[index]
    assert found["fields"]["loras"] == [{"name": "ink", "scale": 0.5}]  # type: ignore[index]
    assert found["unmapped"]["loras"] == [{"name": "gold", "scale": 0.5}]  # type: ignore[index]
    assert any("not here, or not for this model: gold" in warning for warning in found["warnings"])  # type: ignore[attr-defined]
    found = ask(api, pictures.with_comment(pictures.CIVITAI))
    assert found["unmapped"]["model"] == "Pony, V6" and "model" not in found["fields"]  # type: ignore[index, operator]
    found = ask(api, pictures.with_comment("holiday", "WEBP"))
    assert (found["source"], found["fields"]) == (None, {})


def test_a_form_is_taken_like_a_body(api: httpx.Client) -> None:
    data = pictures.png(parameters=pictures.A1111)
    answer = api.post("/v1/parameters", data={"note": "x"}, files={"file": ("a.png", data, "image/png")})
    assert answer.status_code == 200, answer.text
    assert answer.json() == ask(api, data)
    answer = api.post("/v1/parameters", files={"note": (None, "x")})
    assert (answer.status_code, answer.json()["code"]) == (422, "no_file")


def test_what_is_no_picture_is_refused(api: httpx.Client) -> None:
    for body, headers, status, code in (
        (b"GIF89a", PNG, 422, "image_format"),
        (b"", PNG, 422, "image_format"),
        (pictures.png()[:60], PNG, 422, "image_unreadable"),
        (b"{}", {"Content-Type": "application/json"}, 415, "unsupported_media_type"),
        (b"--x\r\n", {"Content-Type": "multipart/form-data"}, 422, "no_file"),
        (b"--x\r\n\r\n", {"Content-Type": "multipart/form-data; boundary=x"}, 422, "no_file"),
    ):
        answer = api.post("/v1/parameters", content=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (status, code), (body, answer.text)
