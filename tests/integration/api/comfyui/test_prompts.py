"""Prompts of ComfyUI's clients: the client of its script_examples, Open WebUI's engine, templates, and what is refused."""

from __future__ import annotations

import io
import json
import struct
import time
import urllib.request
import uuid

import httpx
import pytest
from PIL import Image

from api.http_limits import HttpLimits
from tests import comfyui_graphs as graphs
from tests.integration.api.comfyui.farm import (
    SECONDS,
    Event,
    Farm,
    ended,
    events_to_end,
    png,
    socket_of,
    tiny,
    types,
    upload,
    wait_claim,
)
from tests.integration.api.running import serving


def test_the_client_of_the_script_examples_gets_its_image(farm: Farm) -> None:
    client_id = str(uuid.uuid4())
    with socket_of(farm, client_id) as ws:
        # urllib names no JSON: the body is sent as a form.
        body = json.dumps({"prompt": tiny(), "client_id": client_id}).encode()
        sent = urllib.request.Request(f"{farm.url}/prompt", data=body)  # noqa: S310 -- the API of this test
        with urllib.request.urlopen(sent) as answer:  # noqa: S310
            prompt_id = json.loads(answer.read())["prompt_id"]
        assert farm.http.get(f"/history/{prompt_id}").json() == {}
        job = farm.claim()
        farm.worker.redis.set(farm.worker.keys.preview(job.id, 0), b"\x89PNG preview")
        farm.worker.progress(job, step=2, steps=4, value=0.5)
        received: list[Event | bytes] = []
        while not any(isinstance(message, bytes) for message in received):
            message = ws.recv()
            received.append(message if isinstance(message, bytes) else json.loads(message))
        farm.worker.finish(job)
        received += events_to_end(ws, prompt_id)
    assert types(received)[:2] == ["execution_start", "execution_cached"]
    assert types(received)[-3:] == ["executed", "execution_success", "executing"]
    nodes = [event["data"]["node"] for event in received if isinstance(event, dict) and event["type"] == "executing"]
    assert nodes == ["4", "6", "7", "5", "3", "8", "9", None]
    steps = [event["data"] for event in received if isinstance(event, dict) and event["type"] == "progress"]
    assert steps[0] == {"value": 2, "max": 4, "prompt_id": prompt_id, "node": "3"}
    preview = next(message for message in received if isinstance(message, bytes))
    assert (struct.unpack(">II", preview[:8]), preview[8:]) == ((1, 2), b"\x89PNG preview")
    entry = farm.history(prompt_id)
    assert entry["status"] | {"messages": []} == {"status_str": "success", "completed": True, "messages": []}
    assert [name for name, _ in entry["status"]["messages"]] == ["execution_start", "execution_cached", "execution_success"]
    assert (entry["prompt"][1], entry["prompt"][4]) == (prompt_id, ["9"])
    assert entry["prompt"][2] == tiny()
    (image,) = entry["outputs"]["9"]["images"]
    assert (image["type"], image["filename"].startswith("SD1.5_")) == ("output", True)
    shown = farm.http.get("/view", params=image)
    assert (shown.headers["content-type"], Image.open(io.BytesIO(shown.content)).size) == ("image/png", (64, 64))
    small = farm.http.get("/view", params=image | {"preview": "webp;90"})
    assert small.headers["content-type"] == "image/webp"


def test_open_webui_generates_and_edits_as_it_always_does(farm: Farm) -> None:
    headers = {"Authorization": "Bearer none", "User-Agent": "Mozilla/5.0"}
    info = farm.http.get("/object_info", headers=headers).json()
    assert "demo.safetensors" in info["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"][0]
    assert info["UNETLoader"]["input"]["required"]["unet_name"][0] == ["z_image_turbo_bf16.safetensors"]
    sent = farm.http.post("/api/upload/image", files={"image": ("file.png", png(), "image/png")}, data={"type": "input"})
    client_id = str(uuid.uuid4())
    with (
        socket_of(farm, client_id, header=[f"{name}: {value}" for name, value in headers.items()]) as ws,
        farm.worker.working(),
    ):
        for graph in (tiny(), graphs.image_to_image(sent.json()["name"])):
            graph["3"]["inputs"]["seed"] = 1125899906842624
            answer = farm.http.post("/prompt", json={"prompt": graph, "client_id": client_id}, headers=headers).json()
            assert any("beyond 32 bits" in text for text in answer["warnings"])
            events_to_end(ws, answer["prompt_id"])
            history = farm.http.get(f"/history/{answer['prompt_id']}", headers=headers).json()[answer["prompt_id"]]
            for name, output in history["outputs"].items():
                assert graph[name]["class_type"] == "SaveImage"
                for image in output["images"]:
                    assert farm.http.get("/view", params=image, headers=headers).content.startswith(b"\x89PNG")


def test_sillytavern_reads_its_lists_and_polls_its_image(farm: Farm) -> None:
    assert farm.http.get("/system_stats").is_success
    info = farm.http.get("/object_info").json()
    lists = {"KSampler": ("sampler_name", "scheduler"), "CheckpointLoaderSimple": ("ckpt_name",), "VAELoader": ("vae_name",)}
    for kind, names in (lists | {"UNETLoader": ("unet_name",), "UnetLoaderGGUF": ("unet_name",)}).items():
        assert all(isinstance(info[kind]["input"]["required"][name][0], list) for name in names)
    body = json.dumps({"prompt": tiny()})
    with farm.worker.working():
        sent = farm.http.post("/prompt", content=body, headers={"Content-Type": "text/plain;charset=UTF-8"})
        prompt_id = sent.json()["prompt_id"]
        while not (item := farm.http.get(f"/history/{prompt_id}").json().get(prompt_id)):
            pass
    assert item["status"]["status_str"] == "success"
    image = next(iter(item["outputs"].values()))["images"][0]
    address = f"/view?filename={image['filename']}&subfolder={image['subfolder']}&type={image['type']}"
    assert farm.http.get(address).content.startswith(b"\x89PNG")


def test_comfyuis_own_templates_run_as_they_are(farm: Farm) -> None:
    templates = {
        "z-image-turbo": graphs.z_image_template(256),
        "sd15": graphs.checkpoint_template(),
        "sdxl": graphs.checkpoint_template("sd_xl_base_1.0.safetensors", 256),
        "sdxl with its refiner": graphs.refiner_template(side=256),
    }
    for name, graph in templates.items():
        model = name.partition(" ")[0]
        answer = farm.http.post("/prompt", json={"prompt": graph})
        assert answer.status_code == 200, answer.text
        job = farm.claim(model)
        assert (job.face, job.model) == ("comfyui", model)
        farm.workers[model].finish(job)
        if model == "z-image-turbo":
            assert (job.input["prompt"], job.input["num_inference_steps"], job.input["guidance_scale"]) == (
                "harbor boats and pastel houses., family friendly", 8, 1.0,
            )  # fmt: skip
            assert not any("no effect" in text for text in answer.json()["warnings"])
        if name == "sdxl with its refiner":
            assert job.input["num_inference_steps"] == 25
            assert "sd_xl_refiner_1.0.safetensors" in answer.json()["warnings"][0]
    away = farm.http.post("/prompt", json={"prompt": graphs.checkpoint_template("dreamshaper_8.safetensors")})
    assert away.status_code == 400
    error = away.json()["node_errors"]["4"]["errors"][0]
    assert (error["type"], "'dreamshaper_8.safetensors' not in [" in error["details"]) == ("value_not_in_list", True)
    assert error["extra_info"]["received_value"] == "dreamshaper_8.safetensors"


def test_a_chain_continues_where_it_was_when_the_api_starts_again(farm: Farm) -> None:
    graph = graphs.latent_hires_template(batch=2)
    workflow = {"nodes": [], "version": 0.4}
    prompt_id = farm.queue(graph, prompt_id="my own id", extra_data={"extra_pnginfo": {"workflow": workflow}})
    assert prompt_id == "my own id"
    again = farm.http.post("/prompt", json={"prompt": graph, "prompt_id": prompt_id})
    assert (again.status_code, again.json()["error"]["type"]) == (409, "prompt_id_in_use")
    first = farm.claim()
    assert first.input["num_images"] == 2
    assert json.loads(first.requested["comfyui"]["workflow"]) == workflow
    assert json.loads(first.requested["comfyui"]["prompt"]) == graph
    # No event announces the end: it is found as after a restart, by the query of a process that has just started.
    done = farm.worker.finish(first, publish=False)
    with (
        serving(farm.settings, HttpLimits(head_seconds=5.0)) as url,
        httpx.Client(base_url=url, timeout=SECONDS) as other,
        socket_of(Farm(farm.settings, url, {}), "late") as ws,
    ):
        time.sleep(5.5)  # No deadline of a request may end a socket.
        second = [wait_claim(farm), wait_claim(farm)]
        images = [image["id"] for image in other.get(f"/v1/jobs/{done.id}").json()["outputs"]]
        assert [job.input["parent"]["image"] for job in second] == images
        assert [job.input["seed"] for job in second] == [6, 7]
        assert {job.input["num_inference_steps"] for job in second} == {8}, "4 steps are half of a schedule of 8"
        assert {(job.input["width"], job.input["strength"], job.input["refine_mode"]) for job in second} == {
            (128, 0.5, "hires")
        }
        assert other.get("/queue").json()["queue_running"][0][1] == prompt_id
        for job in second:
            farm.worker.finish(job)
        while json.loads(ws.recv())["data"]["status"]["exec_info"]["queue_remaining"]:
            pass
        outputs = other.get(f"/history/{prompt_id}").json()[prompt_id]["outputs"]
    assert [len(outputs[name]["images"]) for name in ("9", "12")] == [2, 2]
    assert outputs["12"]["images"][0]["subfolder"] == "hires"
    assert Image.open(io.BytesIO(farm.http.get("/view", params=outputs["12"]["images"][1]).content)).size == (128, 128)


def test_hires_by_a_network_and_enlarging_are_the_farms_own(farm: Farm) -> None:
    refused = farm.http.post("/prompt", json={"prompt": graphs.network_hires_template()}).json()["node_errors"]["11"]
    assert "upscaler" in refused["errors"][0]["message"], "the worker has reported no upscalers"
    prompt_id = farm.queue(graphs.enlarged())
    with farm.worker.working():
        job = wait_claim(farm, "upscale")
    assert (job.kind, job.input["upscaler"], job.input["scale"], job.input["width"]) == (
        "upscale",
        "realesrgan-x4plus",
        4,
        256,
    )
    assert (job.prompt, job.input["source"]["width"]) == ("beautiful scenery nature glass bottle", 64)
    farm.workers["upscale"].finish(job)
    assert prompt_id in ended(farm, prompt_id)


def test_inpainting_takes_its_mask_from_the_transparent_area(farm: Farm) -> None:
    name = upload(farm, png(hole=True), "with hole.png")["name"]
    farm.queue(graphs.inpaint(name))
    job = farm.claim()
    assert job.input["mask"]["white_share"] == pytest.approx(((32 + 6) / 64) ** 2, abs=0.01)
    assert job.input["init_image"]["upload_id"] != job.input["mask"]["upload_id"]
    opaque = upload(farm, png(), "opaque.png")["name"]
    answer = farm.http.post("/prompt", json={"prompt": graphs.inpaint(opaque)})
    assert "black everywhere" in answer.json()["node_errors"]["3"]["errors"][0]["message"]


def test_names_of_uploads_are_kept_and_mean_what_they_meant(farm: Farm) -> None:
    assert upload(farm, png(64), "a.png", subfolder="clip/x") == {"name": "a.png", "subfolder": "clip/x", "type": "input"}
    assert upload(farm, png(64), "a.png", subfolder="clip/x")["name"] == "a.png", "the same image keeps its name"
    assert upload(farm, png(80), "a.png", subfolder="clip/x")["name"] == "a (1).png"
    assert upload(farm, png(96), "a.png", subfolder="clip/x", overwrite="true")["name"] == "a.png"
    view = {"filename": "a.png", "subfolder": "clip/x", "type": "input"}
    assert Image.open(io.BytesIO(farm.http.get("/view", params=view).content)).size == (96, 96)
    farm.queue(graphs.image_to_image("clip/x/a.png"))
    job = farm.claim()
    assert job.input["init_image"]["width"] == 96
    done = farm.worker.finish(job)
    made = farm.http.get(f"/v1/jobs/{done.id}").json()["outputs"][0]["id"]
    farm.queue(graphs.image_to_image(f"ComfyUI_{made}_.png [output]"))
    assert farm.claim().input["init_image"]["image_id"] == made
    for wrong in ("../../etc/passwd", "a" * 300 + ".png", "a?b.png"):
        sent = farm.http.post("/upload/image", files={"image": (wrong, png(), "image/png")})
        assert sent.status_code in (200, 422)
        assert sent.status_code == 422 or sent.json()["name"] == "passwd"
    assert farm.http.post("/upload/image", data={"image": "text"}).json()["error"]["type"] == "no_file"
    assert farm.http.post("/upload/image", files={"image": ("x.png", b"no image")}).status_code == 422
    for gone in ("a.png", f"x_{uuid.uuid4()}_.png", "../../etc/passwd"):
        assert farm.http.get("/view", params={"filename": gone}).status_code == 404


def test_loras_go_by_their_files_and_the_model_is_checked(farm: Farm) -> None:
    lora = graphs.node("LoraLoaderModelOnly", lora_name="style/ink.safetensors", strength_model=0.8, model=["4", 0])
    farm.queue(tiny(model=["10", 0]) | {"10": lora})
    assert farm.claim().input["loras"] == [{"name": "ink", "scale": 0.8}]
    other = tiny("v1-5-pruned-emaonly.safetensors", model=["10", 0]) | {"10": lora}
    error = farm.http.post("/prompt", json={"prompt": other}).json()["node_errors"]["3"]["errors"][0]
    assert (error["type"], error["extra_info"]["code"]) == ("custom_validation_failed", "wrong_lora_family")


def test_what_is_no_prompt_is_answered_in_comfyuis_shape(farm: Farm) -> None:
    for body in (b"", b"{", b"[]", b'{"prompt": NaN}', b'{"prompt": ' + b"[" * 500 + b"]" * 500 + b"}", b"\xff"):
        answer = farm.http.post("/prompt", content=body)
        assert (answer.status_code, set(answer.json())) == (400, {"error", "node_errors"}), body
    bad = [
        {"prompt": tiny(), "prompt_id": "a\nb"},
        {"prompt": tiny(), "prompt_id": ""},
        {"prompt": tiny(), "number": "x"},
        {},
    ]
    for fields in bad:
        answer = farm.http.post("/prompt", json=fields)
        assert (answer.status_code, answer.json()["error"]["type"]) in ((400, "invalid_prompt"), (400, "no_prompt")), fields
    empty = tiny() | {"6": graphs.node("CLIPTextEncode", text="", clip=["4", 1])}
    assert farm.http.post("/prompt", json={"prompt": empty}).status_code == 200, "ComfyUI renders an empty prompt"
    farm.http.post("/queue", json={"clear": True})
    too_many = farm.http.post("/prompt", json={"prompt": graphs.checkpoint_template("demo.safetensors", 64, 17, cfg=1)})
    assert "num_images" in too_many.json()["node_errors"]["3"]["errors"][0]["message"]
    nul = {"/queue": {"delete": ["\0"]}, "/history": {"delete": ["\0"]}, "/interrupt": {"prompt_id": "\0"}}
    assert [farm.http.post(path, json=body).status_code for path, body in nul.items()] == [422] * 3, "PostgreSQL takes none"
    assert farm.http.get("/view", params={"filename": "\0", "type": "input"}).status_code == 404
    assert farm.http.get("/object_info/NoSuchNode").json() == {}
    assert farm.http.get("/system_stats").json()["system"]["comfyui_version"]
    assert farm.http.get("/api/queue").json() == {"queue_running": [], "queue_pending": []}
    assert farm.worker.claim() is None, "nothing was queued"
