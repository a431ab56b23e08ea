"""Styles over HTTP: owners, shared ones, jobs of every face, files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from cli.main import app
from core.styles import BUILT_IN
from db import styles
from db.tables import StyleRow
from imagefarm import ImageFarm
from tests.integration.api.conftest import BOTH
from tests.integration.api.running import WorkerSide

INK = {"name": "ink", "prompt": "ink drawing of {prompt}", "negative_prompt": "colour"}


def as_user(label: str) -> dict[str, str]:
    return {"X-Client-Label": label}


@BOTH
def test_a_style_is_added_changed_and_deleted(api: httpx.Client) -> None:
    added = api.post("/v1/styles", json=INK)
    assert (added.status_code, added.json()["scope"]) == (201, "own")
    path = f"/v1/styles/{added.json()['id']}"
    assert api.post("/v1/styles", json=INK).json()["code"] == "style_exists"
    other = api.post("/v1/styles", json=INK | {"name": "film"}).json()
    assert api.put(path, json=INK | {"name": "film"}).json()["code"] == "style_exists"
    changed = api.put(path, json=INK | {"prompt": "pen drawing of {prompt}"})
    assert (changed.status_code, changed.json()["prompt"]) == (200, "pen drawing of {prompt}")
    assert api.delete(f"/v1/styles/{other['id']}").status_code == 204
    listed = api.get("/v1/styles").json()["items"]
    assert [(item["name"], item["scope"]) for item in listed] == [("ink", "own"), ("standard-negative", "built-in")]
    assert api.delete(path).status_code == 204
    assert api.delete(path).json()["code"] == "style_not_found"
    assert api.delete("/v1/styles/standard-negative").json()["code"] == "style_built_in"
    for body in (
        {"name": "x"},
        {"name": " x", "prompt": "y"},
        {"name": "x\n", "prompt": "y"},
        {"name": "n" * 101, "prompt": "y"},
    ):
        assert api.post("/v1/styles", json=body).status_code == 422


@BOTH
def test_owners_have_their_own_and_share_those_of_the_administrator(api: httpx.Client) -> None:
    ann, bob = as_user("ann"), as_user("bob")
    mine = api.post("/v1/styles", json=INK, headers=ann).json()
    api.post("/v1/styles", json=INK | {"prompt": "shared"} | {"shared": True}, headers=ann)
    assert [item["scope"] for item in api.get("/v1/styles", headers=ann).json()["items"]] == ["own", "shared", "built-in"]
    assert [item["scope"] for item in api.get("/v1/styles", headers=bob).json()["items"]] == ["shared", "built-in"]
    assert api.delete(f"/v1/styles/{mine['id']}", headers=bob).json()["code"] == "style_not_found"

    def prompt_of(headers: dict[str, str]) -> str:
        job = api.post("/v1/jobs", json={"prompt": "a cat", "styles": ["ink"]}, headers=headers).json()
        found: str = job["input"]["prompt"]
        return found

    assert prompt_of(ann) == "ink drawing of a cat"
    assert prompt_of(bob) == "a cat, shared"


@BOTH
def test_a_job_keeps_its_texts_and_the_names_of_its_styles(api: httpx.Client, worker: WorkerSide) -> None:
    style = api.post("/v1/styles", json=INK).json()
    body = {"prompt": "a cat", "styles": ["ink", "standard-negative"], "guidance_scale": 4}
    job = api.post("/v1/jobs", json=body).json()
    given = job["input"]
    assert given["prompt"] == "ink drawing of a cat"
    assert given["negative_prompt"] == f"colour, {BUILT_IN[0].negative_prompt}"
    styles = ["ink", "standard-negative"]
    assert given["expanded_from"] == {"prompt": "a cat", "negative_prompt": "", "styles": styles, "dynamic": False}
    api.delete(f"/v1/styles/{style['id']}")
    claimed = worker.claim()
    assert claimed is not None
    worker.finish(claimed)
    again = api.post(f"/v1/jobs/{job['id']}/retry").json()
    assert again["input"] == given, "the style is gone, and is not applied twice"
    refused = api.post("/v1/jobs", json=body)
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_style")
    assert "expanded_from" not in api.post("/v1/jobs", json={"prompt": "plain"}).json()["input"]


def test_a_style_may_name_a_lora_and_is_limited_in_length(api: httpx.Client) -> None:
    api.post("/v1/styles", json={"name": "l", "prompt": "<lora:nothing:1>"})
    assert api.post("/v1/jobs", json={"prompt": "a", "styles": ["l"]}).json()["code"] == "unknown_lora"
    api.post("/v1/styles", json={"name": "many", "prompt": "{prompt}" * 1000})
    long = api.post("/v1/jobs", json={"prompt": "x" * 100, "styles": ["many"]})
    assert (long.status_code, long.json()["code"]) == (422, "prompt_too_long")


def test_a_negative_text_of_a_style_without_effect_is_said(api: httpx.Client) -> None:
    job = api.post("/v1/jobs", json={"prompt": "a", "styles": ["standard-negative"]}).json()
    assert job["warnings"][0].startswith(
        "The negative prompt of the styles (standard-negative) has no effect while guidance is off"
    )
    guided = api.post("/v1/jobs", json={"prompt": "a", "styles": ["standard-negative"], "cfg_scale": 4}).json()
    assert not any("has no effect" in warning for warning in guided["warnings"])
    own = api.post("/v1/jobs", json={"prompt": "a", "negative_prompt": "b", "styles": ["standard-negative"]}).json()
    assert own["warnings"][0].startswith("negative_prompt has no effect")


def test_a_batch_varies_styles(api: httpx.Client) -> None:
    api.post("/v1/styles", json=INK)
    batch = api.post("/v1/batches", json={"prompts": ["a cat"], "axes": {"styles": [[], ["ink"]]}}).json()
    jobs = {job["id"]: job for job in api.get("/v1/jobs").json()["items"]}
    prompts = [jobs[item["job_id"]]["input"]["prompt"] for item in batch["jobs"]]
    assert prompts == ["a cat", "ink drawing of a cat"]
    assert api.get(batch["urls"]["contact_sheet"]).status_code == 200
    wrong = api.post("/v1/batches", json={"prompts": ["a"], "axes": {"styles": [["no"]]}})
    assert wrong.json()["code"] == "unknown_style" and "Job 0:" in wrong.json()["detail"]


def test_the_a1111_face_lists_and_applies_styles(api: httpx.Client, worker: WorkerSide) -> None:
    api.post("/v1/styles", json=INK | {"shared": True})
    api.post("/v1/styles", json={"name": "standard-negative", "prompt": "own", "shared": True})
    listed = {item["name"]: item for item in api.get("/sdapi/v1/prompt-styles").json()}
    assert listed["ink"] == INK
    assert listed["standard-negative"]["prompt"] == "own", "the one that a job would get"
    with worker.working():
        answer = api.post("/sdapi/v1/txt2img", json={"prompt": "a cat", "styles": ["ink"]})
    assert '"styles": ["ink"]' in answer.json()["info"]
    assert "ink drawing of a cat" in answer.json()["info"]
    with worker.working():
        left_out = api.post("/sdapi/v1/txt2img", json={"prompt": "a", "styles": ["no"]})
    assert "There is no style 'no' here: it was left out." in left_out.json()["info"]


def test_files_are_imported_and_exported_on_the_command_line(api: httpx.Client, tmp_path: Path) -> None:
    file, written = tmp_path / "styles.csv", tmp_path / "out.json"
    file.write_text("name,prompt,negative_prompt\nink,ink drawing of {prompt},colour\nfilm,35mm,\n", encoding="utf-8")
    url = ["--url", str(api.base_url)]

    def run(*words: str) -> str:
        result = CliRunner().invoke(app, ["styles", *words, *url], standalone_mode=False)
        assert result.exception is None, result.exception
        return result.output

    assert run("import", str(file)) == "2 added, 0 replaced\n"
    assert "2 kept as they were" in run("import", str(file))
    assert run("import", str(file), "--replace") == "0 added, 2 replaced\n"
    run("add", "pen", "--prompt", "pen drawing")
    run("remove", "film")
    run("change", "ink", "--name", "wash", "--negative", "red")
    run("export", str(written))
    assert '"name": "pen"' in written.read_text(encoding="utf-8")
    assert run("import", str(written), "--replace") == "0 added, 2 replaced\n"
    shown = run("list")
    assert "pen drawing" in shown
    assert any({"wash", "red"} <= set(line.split()) and "ink drawing of" in line for line in shown.splitlines())
    with ImageFarm(str(api.base_url)) as farm, pytest.raises(Exception, match="cannot be read"):
        farm.styles.import_text("x", "a1111")


@BOTH
def test_a_job_reads_only_the_styles_that_it_names(api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        api.post("/v1/styles", json=INK | {"name": f"style {number}"})
    read: list[list[str]] = []

    def list_and_remember(*given: object) -> Sequence[StyleRow]:
        rows = styles.list_styles(*given)  # type: ignore[arg-type]
        read.append([row.name for row in rows])
        return rows

    monkeypatch.setattr("api.styles.list_styles", list_and_remember)
    assert api.post("/v1/jobs", json={"prompt": "a", "styles": ["style 1", "standard-negative"]}).status_code == 202
    assert read == [["style 1"]]
    unknown = api.post("/v1/jobs", json={"prompt": "a", "styles": ["style 9"]}).json()
    assert "style 0, style 1, style 2" in unknown["detail"]
