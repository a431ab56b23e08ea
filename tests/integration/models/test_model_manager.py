"""Operations on models through the API of a farm as `imagefarm up` starts it; its reaper runs them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from core.errors import Conflict
from core.schemas.model_operations import ModelOperation
from imagefarm import ImageFarm
from tests.integration.farm.client import wait_until
from tests.integration.models.conftest import catalogue_row
from tests.integration.models.hub_server import HubServer
from tests.servers.farm import FarmProcess, running_farm
from worker.models.tiny_models import build_tiny_model

TURBO = catalogue_row("z-image-turbo")
BIG = "transformer/diffusion_pytorch_model.safetensors"
HELD_AFTER = 500_000

Operation = dict[str, Any]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    turbo = build_tiny_model(TURBO.id, tmp_path_factory.mktemp("repo") / "turbo")
    with HubServer({TURBO.weights.repo: turbo}) as server:
        yield server


@pytest.fixture(scope="module")
def farm(hub: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarmProcess]:
    directory = tmp_path_factory.mktemp("farm")
    settings = {
        "HF_ENDPOINT": hub.url,
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(directory / "hub"),
        "IMAGEFARM_WORKERS": "0",
        "IMAGEFARM_LEASE_SECONDS": "15",
    }
    with running_farm(directory, "--model", "demo", "--device", "cpu", **settings) as running:
        yield running


@pytest.fixture
def client(farm: FarmProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=farm.api, timeout=300) as opened:
        yield opened


def post(client: httpx.Client, path: str, status: int = httpx.codes.ACCEPTED) -> Operation:
    answer = client.post(path)
    assert answer.status_code == status, answer.text
    found: Operation = answer.json()
    return found


def follow(client: httpx.Client, operation: Operation, reached: Callable[[Operation], bool]) -> Operation:
    """Return the operation once `reached`, waiting for one change after the other."""
    path, tag, end = f"/v1/model-operations/{operation['id']}", "", time.monotonic() + 400
    while not reached(operation):
        assert time.monotonic() < end, operation
        answer = client.get(path, params={"wait": 20}, headers={"If-None-Match": tag}) if tag else client.get(path)
        if answer.status_code != httpx.codes.NOT_MODIFIED:
            operation, tag = answer.json(), answer.headers["ETag"]
        if not reached(operation):
            assert operation["ended_at"] is None, operation
    return operation


def ended(operation: Operation) -> bool:
    return operation["ended_at"] is not None


def arrived(hub: HubServer, operation: Operation) -> bool:
    """Return whether everything that the hub does not hold back has arrived."""
    progress = operation["progress"]
    if progress is None or progress["stage"] != "downloading":
        return False
    held_back = (hub.repos[TURBO.weights.repo] / BIG).stat().st_size - HELD_AFTER
    return bool(progress["done_bytes"] >= progress["total_bytes"] - held_back)


def children(farm: FarmProcess) -> list[psutil.Process]:
    found = []
    for each in farm.left_behind():
        with suppress(psutil.NoSuchProcess):
            if "worker.models.operation_process" in each.cmdline():
                found.append(each)
    return found


def test_a_pull_is_followed_canceled_resumed_and_survives_its_executor(
    farm: FarmProcess, client: httpx.Client, hub: HubServer
) -> None:
    part = farm.data_dir / "models" / ".downloads" / TURBO.id / f"{BIG}.part"
    hub.held_after[BIG] = HELD_AFTER
    first = post(client, "/v1/models/z-image-turbo/pull")
    assert post(client, "/v1/models/z-image-turbo/pull")["id"] == first["id"]
    assert client.post("/v1/models/z-image-turbo/verify").json()["code"] == "model_busy"
    held = follow(client, first, partial(arrived, hub))
    assert held["progress"]["total_bytes"] > held["progress"]["done_bytes"]
    assert held["executor"]

    requested = post(client, f"/v1/model-operations/{first['id']}/cancel", httpx.codes.OK)
    assert requested["cancel_requested"]
    canceled = follow(client, requested, ended)
    assert (canceled["state"], canceled["error"]) == ("canceled", None)
    wait_until(lambda: children(farm) == [])
    kept = part.stat().st_size
    assert 0 < kept <= HELD_AFTER

    hub.ranges.clear()
    second = post(client, "/v1/models/z-image-turbo/pull")
    follow(client, second, partial(arrived, hub))
    assert hub.ranges[0] == (BIG, f"bytes={kept}-")
    (child,) = children(farm)
    os.kill(farm.pid_of("reaper"), signal.SIGKILL)
    child.wait(200)  # It ends with its parent.
    kept = part.stat().st_size
    hub.ranges.clear()
    hub.release.set()
    done = follow(client, second, ended)
    assert (done["state"], done["result"]) == ("succeeded", {"already_here": False})
    assert hub.ranges == [(BIG, f"bytes={kept}-")]

    verified = follow(client, post(client, "/v1/models/z-image-turbo/verify"), ended)["result"]
    assert verified["state"] == "ok"
    assert {file["state"] for file in verified["files"]} == {"ok"}
    weights = farm.data_dir / "models" / TURBO.id / "weights"
    flip_byte(weights / BIG)
    verified = follow(client, post(client, "/v1/models/z-image-turbo/verify"), ended)["result"]
    assert verified["state"] == "damaged"
    assert [file["name"] for file in verified["files"] if file["state"] == "damaged"] == [BIG]

    answer = client.delete("/v1/models/z-image-turbo", params={"weights": True})
    assert answer.status_code == httpx.codes.ACCEPTED
    removed = follow(client, answer.json(), ended)["result"]
    assert removed["folders"] == ["weights"]
    assert removed["freed_bytes"] > HELD_AFTER
    assert not weights.exists()
    kinds = [each["kind"] for each in client.get("/v1/model-operations").json()["items"]]
    assert kinds == ["remove-weights", "verify", "verify", "pull", "pull"]


def test_the_client_follows_an_operation_whose_error_states_the_remedy(farm: FarmProcess) -> None:
    with ImageFarm(farm.api) as opened:
        management, seen = opened.model_management, list[ModelOperation]()
        failed = management.wait(management.pull("z-image"), timeout_seconds=400, on_progress=seen.append)
        assert (failed.state, seen[-1]) == ("failed", failed)
        assert [each.revision for each in seen] == sorted({each.revision for each in seen})
        assert failed.error is not None
        assert failed.error.code == "hub_not_found"
        assert "private" in failed.error.message
        failed = management.wait(management.verify("z-image"), timeout_seconds=400)
        assert failed.error is not None
        assert failed.error.code == "weights_missing"
        assert [each.kind for each in management.operations("z-image").items] == ["verify", "pull"]
        with pytest.raises(Conflict) as caught:
            management.remove("z-image")
        assert caught.value.code == "model_shipped"


def test_no_operation_leaves_a_trace_of_its_end_in_the_log(farm: FarmProcess) -> None:
    assert "Traceback" not in farm.output
    assert "Fatal" not in farm.output


def flip_byte(file: Path) -> None:
    """Change one bit in the middle of a file, as a failing disk does: its header and size stay the same."""
    with file.open("r+b") as opened:
        opened.seek(file.stat().st_size // 2)
        byte = opened.read(1)[0]
        opened.seek(-1, os.SEEK_CUR)
        opened.write(bytes([byte ^ 1]))
