"""The calls and sockets of ComfyUI that follow, interrupt and close prompts, and who may use them."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack

import pytest
import websocket
from sqlalchemy import update

from api.app import create_app
from core.settings import Settings
from db.api_keys import NewKey, create_key
from db.database import Database
from db.sql import now
from db.tables import ComfyPrompt
from tests import comfyui_graphs as graphs
from tests.conftest import Migrate
from tests.integration.api.comfyui.farm import (
    Farm,
    events_to_end,
    png,
    socket_of,
    tiny,
    types,
)
from tests.integration.api.running import WorkerSide, serving


def test_sockets_of_other_sites_pages_and_other_hosts_are_refused(farm: Farm) -> None:
    for options in ({"origin": "https://evil.example"}, {"host": "evil.example"}):
        with pytest.raises(websocket.WebSocketBadStatusException) as caught, socket_of(farm, "x", **options):
            pass
        assert caught.value.status_code == 403
    with pytest.raises(websocket.WebSocketBadStatusException), socket_of(farm, "x", path="/elsewhere"):
        pass
    with socket_of(farm, "x", path="/api/ws", origin=farm.url) as ws:
        ws.send(json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}}))
        assert json.loads(ws.recv())["type"] == "feature_flags"


def test_a_second_socket_of_a_client_takes_over_and_a_late_one_hears_the_node(farm: Farm) -> None:
    with socket_of(farm, "twice") as first, socket_of(farm, "twice") as second:
        prompt_id = farm.queue(tiny(), client_id="twice")
        job = farm.claim()
        while json.loads(second.recv())["data"].get("node") != "3":
            pass
        with socket_of(farm, "twice") as third:
            assert json.loads(third.recv())["data"]["node"] == "3"
            farm.worker.finish(job)
            assert "execution_success" in types(events_to_end(third, prompt_id))
        first.settimeout(0.01)
        with pytest.raises(websocket.WebSocketTimeoutException):
            while json.loads(first.recv())["type"] == "status":
                pass


def test_one_task_serves_many_idle_sockets(farm: Farm) -> None:
    """The sockets of an owner get each length of the queue once, and nothing while nothing changes."""
    threads_before = threading.active_count()
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket_of(farm, f"idle-{number}")) for number in range(40)]
        prompt_id = farm.queue(tiny())
        farm.worker.finish(farm.claim())
        for ws in sockets:
            while json.loads(ws.recv())["data"]["status"]["exec_info"]["queue_remaining"]:
                pass
        assert threading.active_count() < threads_before + len(sockets), "no thread for each socket"
    assert farm.history(prompt_id)["status"]["completed"]


def test_the_end_of_a_prompt_by_another_process_is_told_without_an_event(farm: Farm) -> None:
    with socket_of(farm, "waiting") as ws:
        farm.queue(tiny())
        job = farm.claim()
        told = [0]
        while not told[-1]:
            told.append(json.loads(ws.recv())["data"]["status"]["exec_info"]["queue_remaining"])
        with farm.worker.database.write() as session:
            session.execute(update(ComfyPrompt).where(ComfyPrompt.completed_at.is_(None)).values(completed_at=now()))
        while told[-1]:
            told.append(json.loads(ws.recv())["data"]["status"]["exec_info"]["queue_remaining"])
        farm.worker.finish(job)
    assert told[-2:] == [1, 0]


def test_interrupt_ends_what_runs_and_leaves_what_waits(farm: Farm) -> None:
    with socket_of(farm, "me") as ws:
        running = farm.queue(tiny(), client_id="me")
        waiting, removed = farm.queue(tiny()), farm.queue(tiny())
        job = farm.claim()
        queue = farm.http.get("/queue").json()
        assert [row[1] for row in queue["queue_running"]] == [running]
        assert [row[1] for row in queue["queue_pending"]] == [waiting, removed]
        assert farm.http.get("/prompt").json() == {"exec_info": {"queue_remaining": 3}}
        farm.http.post("/queue", json={"delete": [removed, running]})
        farm.http.post("/interrupt", json={"prompt_id": waiting})
        assert [row[1] for rows in farm.http.get("/queue").json().values() for row in rows] == [running, waiting]
        farm.http.post("/api/interrupt")
        assert farm.http.get(f"/v1/jobs/{job.id}").json()["cancel_requested"]
        farm.cancel(farm.worker, job)
        events = events_to_end(ws, running)
    assert types(events)[-2:] == ["execution_interrupted", "executing"]
    entry = farm.history(running)
    assert (entry["status"]["status_str"], entry["status"]["completed"], entry["outputs"]) == ("error", False, {})
    assert [row[1] for row in farm.http.get("/queue").json()["queue_pending"]] == [waiting]
    assert farm.http.get(f"/history/{removed}").json() == {}


def test_a_failure_is_told_with_its_node_and_later_steps_are_not_submitted(farm: Farm) -> None:
    with socket_of(farm, "me") as ws:
        prompt_id = farm.queue(graphs.latent_hires_template(), client_id="me")
        farm.worker.fail(farm.claim())
        events = events_to_end(ws, prompt_id)
    error = next(event["data"] for event in events if isinstance(event, dict) and event["type"] == "execution_error")
    assert (error["node_id"], error["node_type"], error["exception_type"]) == ("3", "KSampler", "non_finite_latents")
    assert error["exception_message"] == "The numbers overflowed."
    assert farm.worker.claim() is None
    assert farm.history(prompt_id)["status"]["status_str"] == "error"


def test_owners_see_their_own_only(farm: Farm) -> None:
    mine, other = ({"X-Client-Label": label} for label in ("ann", "bob"))
    upload_of_ann = farm.http.post("/upload/image", files={"image": ("ann.png", png())}, headers=mine).json()["name"]
    prompt = farm.http.post("/prompt", json={"prompt": tiny(), "prompt_id": "shared"}, headers=mine).json()["prompt_id"]
    assert [len(farm.http.get("/queue", headers=who).json()["queue_pending"]) for who in (mine, other)] == [1, 0]
    farm.http.post("/queue", json={"clear": True}, headers=other)
    assert farm.http.post("/prompt", json={"prompt": tiny(), "prompt_id": "shared"}, headers=other).status_code == 200
    with farm.worker.working():
        for who in (mine, other):
            with socket_of(farm, "x", header=[f"X-Client-Label: {who['X-Client-Label']}"]) as ws:
                while not farm.http.get(f"/history/{prompt}", headers=who).json():
                    ws.recv()
    assert farm.http.get("/history").json().get(prompt) is None
    farm.http.post("/history", json={"delete": [prompt]}, headers=other)
    assert [bool(farm.http.get("/history", headers=who).json()) for who in (mine, other)] == [True, False]
    view = {"filename": upload_of_ann, "type": "input"}
    assert [farm.http.get("/view", params=view, headers=who).status_code for who in (mine, other)] == [200, 404]
    refused = farm.http.post("/prompt", json={"prompt": graphs.image_to_image(upload_of_ann)}, headers=other)
    assert refused.json()["node_errors"]["10"]["errors"][0]["type"] == "custom_validation_failed"


def test_keys_are_in_force_on_calls_and_sockets(farm: Farm, settings: Settings, migrate: Migrate) -> None:
    url = settings.database_url.replace("test.db", "keys.db")
    migrate(url)
    closed = Settings(
        _env_file=None, data_dir=settings.data_dir, database_url=url, redis_url=settings.redis_url, redis_prefix="keys:"
    )
    database = Database(url)
    keys = [create_key(database, NewKey(name=name, owner=name))[1] for name in ("ann", "bob")]
    worker = WorkerSide(closed)
    worker.ready()
    with serving(closed) as address:
        locked = Farm(closed, address, {"demo": worker})
        no_key = locked.http.post("/prompt", json={"prompt": tiny()})
        assert (no_key.status_code, no_key.json()["error"]["type"]) == (401, "unauthorized")
        with pytest.raises(websocket.WebSocketBadStatusException) as caught, socket_of(locked, "x"):
            pass
        assert caught.value.status_code == 401
        ann, bob = ({"Authorization": f"Bearer {key}"} for key in keys)
        with socket_of(locked, "x", header=[f"Authorization: Bearer {keys[0]}"]) as ws:
            answer = locked.http.post("/prompt", json={"prompt": tiny(), "client_id": "x"}, headers=ann).json()
            job = worker.claim()
            assert job is not None
            worker.finish(job)
            events_to_end(ws, answer["prompt_id"])
        history = locked.http.get("/history", headers=ann).json()
        image = history[answer["prompt_id"]]["outputs"]["9"]["images"][0]
        assert locked.http.get("/history", headers=bob).json() == {}
        assert [locked.http.get("/view", params=image, headers=who).status_code for who in (ann, bob, {})] == [200, 404, 401]
        locked.http.close()
    worker.close()
    database.dispose()


def test_one_setting_turns_it_off(settings: Settings) -> None:
    paths = create_app(settings.model_copy(update={"comfyui": False})).openapi()["paths"]
    assert not [path for path in paths if path.startswith(("/prompt", "/queue", "/view", "/upload/image"))]
    assert "/prompt" in create_app(settings).openapi()["paths"]
