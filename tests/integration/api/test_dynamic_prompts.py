"""Wildcards and dynamic prompts over HTTP: jobs, images of one job, batches, other faces."""

from __future__ import annotations

import subprocess
import sys

import httpx
import pytest

from tests.integration.api.running import WorkerSide

COLORS = {"red", "green", "blue"}


@pytest.fixture
def database_url(fresh_sqlite: str) -> str:
    """Use SQLite only: the behaviour does not depend on the database."""
    return fresh_sqlite


def with_colors(api: httpx.Client) -> None:
    answer = api.put("/v1/wildcards/color", json={"text": "red\ngreen\nblue\n"})
    assert answer.status_code == 201, answer.text


def test_wildcards_are_stored_listed_and_deleted(api: httpx.Client) -> None:
    with_colors(api)
    again = api.put("/v1/wildcards/color", json={"text": "red\ngreen\nblue\nblack\n"})
    assert (again.status_code, again.json()["count"], again.json()["text"]) == (200, 4, "red\ngreen\nblue\nblack\n")
    assert api.get("/v1/wildcards").json()["items"][0]["values"] == ["red", "green", "blue", "black"]
    assert api.put("/v1/wildcards/a.b", json={"text": "x"}).json()["code"] == "wildcard_name"
    assert api.put("/v1/wildcards/loop", json={"text": "__loop__"}).json()["code"] == "wildcard_loop"
    assert api.put("/v1/wildcards/empty", json={"text": "# x"}).json()["code"] == "wildcard_invalid"
    assert api.delete("/v1/wildcards/color").status_code == 204
    assert api.get("/v1/wildcards/color").json()["code"] == "wildcard_not_found"


def test_each_image_of_a_job_has_its_own_text(api: httpx.Client, worker: WorkerSide) -> None:
    with_colors(api)
    body = {"prompt": "a __color__ fox", "negative_prompt": "{x|y}", "dynamic": True, "seed": 5, "num_images": 8}
    given = api.post("/v1/jobs", json=body).json()["input"]
    assert len(given["prompts"]) == 8 and given["prompts"][0] == given["prompt"]
    assert {text.split()[1] for text in given["prompts"]} <= COLORS and len(set(given["prompts"])) > 1
    assert set(given["negative_prompts"]) == {"x", "y"}
    assert given["expanded_from"]["prompt"] == "a __color__ fox" and given["expanded_from"]["dynamic"] is True
    assert api.post("/v1/jobs", json=body).json()["input"] == given, "the same seed"
    single = api.post("/v1/jobs", json=body | {"seed": 7, "num_images": 1}).json()["input"]
    assert (single["prompt"], "prompts" in single) == (given["prompts"][2], False), "image i has the text of seed + i"
    claimed = worker.claim()
    assert claimed is not None
    worker.finish(claimed)
    outputs = api.get(f"/v1/jobs/{claimed.id}").json()["outputs"]
    image = api.get(outputs[2]["url"]).json()["input"]
    assert (image["prompt"], image["seed"], "prompts" in image) == (given["prompts"][2], 7, False)


def test_wrong_texts_are_refused(api: httpx.Client) -> None:
    for prompt, code in (("__no__", "unknown_wildcard"), ("a {b", "invalid_template")):
        answer = api.post("/v1/jobs", json={"prompt": prompt, "dynamic": True})
        assert (answer.status_code, answer.json()["code"]) == (422, code)
    plain = api.post("/v1/jobs", json={"prompt": "__no__ {a|b}"}).json()
    assert plain["input"]["prompt"] == "__no__ {a|b}", "without `dynamic`, nothing is expanded"
    loras = {"prompt": "a {<lora:x:1>|b}", "dynamic": True, "num_images": 16, "seed": 1}
    assert api.post("/v1/jobs", json=loras).json()["code"] in ("dynamic_loras", "unknown_lora")


def test_styles_may_be_dynamic_and_batches_expand_by_seed(api: httpx.Client) -> None:
    with_colors(api)
    api.post("/v1/styles", json={"name": "tint", "prompt": "__color__ tint"})
    base = {"dynamic": True, "styles": ["tint"], "width": 64, "height": 64}
    batch = api.post("/v1/batches", json={"prompts": ["a fox"], "seeds": list(range(12)), "base": base}).json()
    jobs = {job["id"]: job for job in api.get("/v1/jobs").json()["items"]}
    texts = [jobs[item["job_id"]]["input"]["prompt"] for item in batch["jobs"]]
    assert {text.split()[2] for text in texts} == COLORS


def test_the_openai_face_expands_too(api: httpx.Client, worker: WorkerSide) -> None:
    with_colors(api)
    with worker.working():
        answer = api.post("/v1/images/generations", json={"prompt": "a __color__ fox", "dynamic": True, "seed": 5})
    job = api.get(f"/v1/jobs/{answer.json()['job_id']}").json()
    assert job["input"]["prompt"].split()[1] in COLORS


_FIRST_PARSES = """
import sys, threading
from api.dynamic_prompts import DynamicPrompts

sys.setswitchinterval(1e-6)
ready, wrong = threading.Barrier(16), []

def expand(number):
    ready.wait()
    try:
        DynamicPrompts({}, 1000).expand(number, f"a {{red|blue|{number}}} and {{2$$one|two|three}} fox")
    except Exception as error:
        wrong.append(error)

threads = [threading.Thread(target=expand, args=(number,)) for number in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(wrong), wrong[:1])
"""


def test_the_first_texts_of_a_process_may_come_at_the_same_time() -> None:
    done = subprocess.run([sys.executable, "-c", _FIRST_PARSES], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.startswith("0 "), done.stdout
