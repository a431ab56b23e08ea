"""Times of load, first image and later images, as a whole farm reports them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.faults.parts import FarmParts
from tests.integration.farm.client import Client
from tests.integration.farm.conftest import StartFarm

ClientOf = Callable[[FarmParts], Client]


def test_load_first_and_later_images_are_reported_separately(start_farm: StartFarm, client_of: ClientOf) -> None:
    client = client_of(start_farm(renderer="diffusers", heartbeat_seconds=0.2))
    for _ in range(3):
        client.wait(client.submit(num_inference_steps=2)["id"], "succeeded")
    info = _info_after(client, later=2)
    assert info["load_seconds"] > 0
    assert info["first_image"]["num_inference_steps"] == 2
    assert info["later_images"]["by_size"][0]["count"] == 2
    _wait_metrics(
        client,
        imagefarm_worker_load_seconds=info["load_seconds"],
        imagefarm_worker_first_image_seconds=info["first_image"]["seconds"],
        imagefarm_worker_image_seconds=info["later_images"]["median_seconds"],
    )


def _wait_metrics(client: Client, **expected: float) -> None:
    """Wait until the worker's metrics have these values; the API reads its workers from time to time."""
    deadline = time.monotonic() + 300
    while (found := _metrics(client, expected.keys())) != expected:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def _metrics(client: Client, names: Collection[str]) -> dict[str, float]:
    families = text_string_to_metric_families(client.http.get("/metrics").text)
    samples = [sample for family in families for sample in family.samples if sample.name in names]
    return {sample.name: sample.value for sample in samples if sample.labels["worker"] == "worker0"}


def _info_after(client: Client, later: int) -> dict[str, Any]:
    """Wait for the heartbeat that reports `later` later images and return the worker's info."""
    deadline = time.monotonic() + 300
    while True:
        info: dict[str, Any] = client.http.get("/v1/workers").json()["items"][0]["info"]
        if info.get("later_images", {}).get("count") == later:
            return info
        assert time.monotonic() < deadline, info
        time.sleep(0.05)


def test_a_job_reports_how_long_it_waited_for_the_model(start_farm: StartFarm, client_of: ClientOf) -> None:
    farm = start_farm(synthetic_load_seconds=0.5)
    client = client_of(farm)
    ready = client.wait(client.submit()["id"], "succeeded")["timings"]
    assert ready["loading_seconds"] == 0.0
    assert farm.parts["worker0"].stop() == 0
    early = client.submit()["id"]
    farm.parts["worker0"].start()
    waited = client.wait(early, "succeeded")["timings"]
    assert 0.5 <= waited["loading_seconds"] <= waited["queued_seconds"]
