"""LoRAs over HTTP: the list, jobs of every face that name some, and refusals."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from core.catalogue import loras
from core.catalogue.loras import LoraHashes, hash_file
from core.settings import Settings
from imagefarm import ImageFarm
from tests.integration.api.conftest import SettingsMaker
from tests.integration.api.running import WorkerSide
from tests.unit.models.test_lora_facts import write_lora
from tests.unit.models.test_loras import SD15, Z_IMAGE


@pytest.fixture
def database_url(fresh_sqlite: str) -> str:
    """Use SQLite only: the behaviour does not depend on the database."""
    return fresh_sqlite


@pytest.fixture
def settings(make_settings: SettingsMaker, tmp_path: Path) -> Settings:
    """Return settings with LoRAs in a model's folder, for all models, and in a ComfyUI folder."""
    comfy = tmp_path / "comfy"
    settings = make_settings(weights_dirs=[comfy])
    models = settings.resolved_models_dir
    told: dict[str, object] = {"modelspec.trigger_phrase": "inkstyle", "ss_base_model_version": "zimage"}
    write_lora(models / "loras/style/ink.safetensors", Z_IMAGE, told)
    write_lora(models / "demo/loras/own.safetensors", Z_IMAGE)
    write_lora(comfy / "loras/v1.5 gold.safetensors", Z_IMAGE, {"sshs_model_hash": "cd" * 32})
    write_lora(comfy / "loras/photo.safetensors", SD15)
    (comfy / "loras/broken.safetensors").write_bytes(b"")
    return settings


def test_the_list_says_what_each_file_is(api: httpx.Client) -> None:
    items = {item["name"]: item for item in api.get("/v1/loras").json()["items"]}
    assert list(items) == ["own", "ink", "broken", "photo", "v1.5 gold"]
    assert items["ink"] == {
        "name": "ink",
        "file": "style/ink.safetensors",
        "place": "models_dir",
        "families": ["z-image"],
        "models": ["demo", "z-image-turbo", "z-image"],
        "trigger_words": ["inkstyle"],
        "title": None,
        "base": "zimage",
        "key_style": "diffusers",
        "layers": 1,
        "bytes": items["ink"]["bytes"],
        "hash": None,
        "sha256": None,
        "problem": None,
    }
    assert items["own"]["models"] == ["demo"]
    assert "lcm-sd15" in items["photo"]["models"]
    assert items["v1.5 gold"]["hash"] == "cd" * 6, "stored by its trainer"
    assert items["broken"]["problem"] == "is empty: download it again"
    assert items["broken"]["models"] == []


def test_the_list_has_an_entity_tag(api: httpx.Client, settings: Settings) -> None:
    first = api.get("/v1/loras")
    again = api.get("/v1/loras", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    write_lora(settings.resolved_models_dir / "loras/new.safetensors", Z_IMAGE)
    changed = api.get("/v1/loras", headers={"If-None-Match": first.headers["etag"]})
    assert changed.status_code == 200
    assert len(changed.json()["items"]) == 6


def test_one_lora_has_its_hashes_which_the_list_then_shows(api: httpx.Client) -> None:
    with ImageFarm(str(api.base_url)) as farm:
        (one,) = farm.loras("ink").items
        listed = {lora.name: lora for lora in farm.loras().items}
    assert one.hash is not None
    assert one.sha256 is not None
    assert (len(one.hash), len(one.sha256)) == (12, 64)
    assert listed["ink"] == one
    for name in ("nothing", "..%2f..%2fetc%2fpasswd", "style%2fink", "ink.safetensors"):
        missing = api.get(f"/v1/loras/{name}")
        assert missing.status_code == 404, name


def test_a_job_stores_its_loras_and_the_prompt_without_tags(api: httpx.Client, worker: WorkerSide) -> None:
    body = {"prompt": "a cat <lora:ink:0.5>, snow", "loras": [{"name": "v1.5 gold", "scale": 0.8}]}
    job = api.post("/v1/jobs", json=body).json()
    loras = [{"name": "ink", "scale": 0.5}, {"name": "v1.5 gold", "scale": 0.8}]
    assert (job["input"]["prompt"], job["input"]["loras"]) == ("a cat, snow", loras)
    assert job["warnings"] == []
    claimed = worker.claim()
    assert claimed is not None
    worker.finish(claimed)
    copy = api.post(f"/v1/jobs/{job['id']}/retry").json()
    assert copy["retried_from"] == job["id"]
    assert copy["input"]["loras"] == loras
    assert api.get("/v1/jobs", params={"q": "cat snow"}).json()["items"][-1]["input"]["loras"] == loras
    assert "loras" not in api.post("/v1/jobs", json={"prompt": "plain", "loras": None}).json()["input"]


REFUSED: tuple[tuple[dict[str, object], str, str], ...] = (
    ({"prompt": "a <lora:nothing:1>"}, "unknown_lora", "Available for demo: ink, own, v1.5 gold."),
    ({"prompt": "a", "loras": [{"name": "../loras/ink"}]}, "unknown_lora", "There is no LoRA '../loras/ink' here."),
    ({"prompt": "a", "loras": [{"name": "photo"}]}, "wrong_lora_family", "is for Stable Diffusion 1.5, and the job is"),
    ({"prompt": "a", "loras": [{"name": "broken"}]}, "damaged_lora", "is empty: download it again"),
    ({"prompt": "a <lora:ink:x>"}, "invalid_parameters", "is not a number"),
    ({"prompt": "a", "loras": [{"name": "ink", "scale": 9}]}, "invalid_parameters", "less than or equal to 4"),
    ({"prompt": "a", "loras": [{"name": "ink"}] * 9}, "invalid_parameters", "at most 8"),
    ({"prompt": "a", "loras": "ink"}, "invalid_parameters", "list"),
)


def test_a_job_is_refused_with_what_to_do(api: httpx.Client) -> None:
    for body, code, message in REFUSED:
        answer = api.post("/v1/jobs", json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
        assert message in answer.text
        assert answer.json()["errors"][0]["field"].startswith(("loras", "prompt"))
    text = '{"prompt": "a", "loras": [{"name": "ink", "scale": NaN}]}'
    answer = api.post("/v1/jobs", content=text, headers={"content-type": "application/json"})
    assert answer.status_code == 422, answer.text


def test_a_batch_combines_loras(api: httpx.Client) -> None:
    axes = {"loras": [[], [{"name": "ink"}], [{"name": "ink", "scale": 0.5}, {"name": "own"}]]}
    answer = api.post("/v1/batches", json={"prompts": ["a", "b"], "axes": axes})
    assert answer.status_code == 202, answer.text
    batch = api.get(f"/v1/batches/{answer.json()['id']}").json()
    jobs = {job["id"]: job for job in api.get("/v1/jobs").json()["items"]}
    found = [jobs[item["job_id"]]["input"].get("loras", []) for item in batch["jobs"]]
    assert [[(lora["name"], lora["scale"]) for lora in each] for each in found] == [
        [], [("ink", 1.0)], [("ink", 0.5), ("own", 1.0)],
    ] * 2  # fmt: skip
    assert api.get(f"/v1/batches/{answer.json()['id']}/contact-sheet").status_code == 200
    wrong = api.post("/v1/batches", json={"prompts": ["a"], "axes": {"loras": [[{"name": "nothing"}]]}})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "unknown_lora")


def test_the_openai_face_takes_loras(api: httpx.Client, worker: WorkerSide) -> None:
    with worker.working():
        answer = api.post(
            "/v1/images/generations", json={"prompt": "a <lora:own>", "loras": [{"name": "ink", "scale": 0.3}]}
        )
    assert answer.status_code == 200, answer.text
    job = api.get(f"/v1/jobs/{answer.json()['job_id']}").json()
    assert job["input"]["loras"] == [{"name": "ink", "scale": 0.3}, {"name": "own", "scale": 1.0}]
    refused = api.post("/v1/images/generations", json={"prompt": "a <lora:nothing>"})
    assert refused.json()["error"]["code"] == "unknown_lora"


def test_the_a1111_face_takes_tags_and_lists_loras(api: httpx.Client, worker: WorkerSide) -> None:
    with worker.working():
        answer = api.post("/sdapi/v1/txt2img", json={"prompt": "a cat <lora:ink:0.7:0.4>", "steps": 2})
    assert answer.status_code == 200, answer.text
    info = json.loads(answer.json()["info"])
    assert info["prompt"] == "a cat"
    assert any("has several values" in warning for warning in info["warnings"])
    job = api.get(f"/v1/jobs/{info['job_id']}").json()
    assert job["input"]["loras"] == [{"name": "ink", "scale": 0.7}]
    rows = api.get("/sdapi/v1/loras").json()
    assert [row["name"] for row in rows] == ["ink", "own", "photo", "v1.5 gold"]
    assert rows[0]["path"] == "style/ink.safetensors"
    assert rows[0]["metadata"]["modelspec.trigger_phrase"] == "inkstyle"
    assert api.post("/sdapi/v1/refresh-loras").status_code == 200
    with worker.working():
        left_out = json.loads(
            api.post("/sdapi/v1/txt2img", json={"prompt": "<lora:nothing:1> a <lora:ink:1>"}).json()["info"]
        )
    assert left_out["warnings"][-1].startswith("There is no LoRA 'nothing' here. Available for demo: ink")
    assert [each["name"] for each in api.get(f"/v1/jobs/{left_out['job_id']}").json()["input"]["loras"]] == ["ink"]


def test_files_are_read_whole_one_at_a_time(api: httpx.Client, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each key may ask for hashes: many such calls must leave threads and the disk to others."""
    names = [f"many{number}" for number in range(6)]
    for name in names:
        write_lora(settings.resolved_models_dir / f"loras/{name}.safetensors", Z_IMAGE)
    running, most = 0, 0
    lock = threading.Lock()

    def slow(path: Path) -> LoraHashes:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.05)
        with lock:
            running -= 1
        return hash_file(path)

    monkeypatch.setattr(loras, "hash_file", slow)
    with ThreadPoolExecutor(len(names)) as pool:
        answers = list(pool.map(lambda name: api.get(f"/v1/loras/{name}").json()["items"][0]["sha256"], names))
    assert (len(answers), all(answers), most) == (6, True, 1)
