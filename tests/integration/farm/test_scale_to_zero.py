"""Workers follow the queue from none and back to none, as deploy/kubernetes/keda tells KEDA to let them."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import yaml

from benchmarks.faults.parts import FarmParts, Part
from tests.integration.farm.client import Client
from tests.integration.farm.conftest import StartFarm
from tests.servers.farm import ROOT

OBJECT = ROOT / "deploy" / "kubernetes" / "keda" / "scaled-object.yaml"


@dataclass
class Keda:
    """What KEDA does with a trigger of the kind `metrics-api`, polled by hand, and with fewer seconds of cooldown.

    Above the activation value there are as many replicas as metric divided by target, rounded up; at it there is none once
    the cooldown is over. Its replicas are worker processes of one farm.
    """

    api: httpx.Client
    workers: list[Part]
    cooldown_seconds: float
    last_active: float = -math.inf

    def __post_init__(self) -> None:
        manifests = yaml.safe_load_all(OBJECT.read_text(encoding="utf-8"))
        self.spec: dict[str, Any] = next(each["spec"] for each in manifests if each["kind"] == "ScaledObject")
        trigger = self.spec["triggers"][0]["metadata"]
        url = urlsplit(trigger["url"])
        self._path, self._query = url.path, dict(parse_qsl(url.query)) | {"model": "demo"}
        self._field, self._target = trigger["valueLocation"], float(trigger["targetValue"])
        self._activation = float(trigger["activationTargetValue"])

    def read(self) -> dict[str, Any]:
        """Return what the endpoint of the trigger reports."""
        found: dict[str, Any] = self.api.get(self._path, params=self._query).raise_for_status().json()
        return found

    @property
    def running(self) -> list[Part]:
        return [worker for worker in self.workers if worker.process is not None and worker.process.poll() is None]

    def poll(self) -> int:
        """Start or stop workers by one reading; return how many there are to be."""
        metric = float(self.read()[self._field])
        if metric > self._activation:
            self.last_active = time.monotonic()
            wanted = min(max(math.ceil(metric / self._target), 1), len(self.workers))
        else:
            cooling = time.monotonic() - self.last_active < self.cooldown_seconds
            wanted = min(len(self.running), 1) if cooling else self.spec["minReplicaCount"]
        for worker in [worker for worker in self.workers if worker not in self.running][
            : max(wanted - len(self.running), 0)
        ]:
            worker.start()
        for worker in self.running[wanted:]:
            assert worker.stop() in (0, -signal.SIGTERM)  # One that is still being imported ends by the signal.
        return wanted


def poll_until(keda: Keda, reached: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 300
    while not reached():
        assert time.monotonic() < deadline, what
        keda.poll()
        time.sleep(0.1)


def add_workers(farm: FarmParts, count: int) -> list[Part]:
    names = [f"pod{number}" for number in range(count)]
    for name in names:
        farm.add(name, ["worker"], IMAGEFARM_WORKER_NAME=name)
    return [farm.parts[name] for name in names]


def test_workers_follow_the_queue_from_none_and_back_to_none(start_farm: StartFarm) -> None:
    farm = start_farm(workers=0, synthetic_step_seconds=0.02)
    wait_answer(farm.url)
    with Client(farm.url) as client:
        keda = Keda(client.http, add_workers(farm, 2), cooldown_seconds=600.0)
        assert keda.poll() == 0
        first = client.submit()["id"]
        assert "No worker of this model is up" in client.job(first)["queue"]["reason"]
        assert keda.read()["desired_workers"] == 1
        assert keda.poll() == 1
        poll_until(keda, lambda: client.job(first)["status"] == "succeeded", "the job ends")
        assert len(keda.running) == 1

        poll_until(keda, lambda: keda.read()["cold_start_seconds"] is not None, "the cold start is reported")
        seen = keda.read()
        assert 0 < seen["cold_start_seconds"] < keda.spec["cooldownPeriod"]
        assert seen["cooldown_seconds"] >= 4 * seen["cold_start_seconds"]
        assert (seen["open_jobs"], keda.poll()) == (0, 1), "a worker that has just loaded is kept for the cooldown"
        keda.cooldown_seconds = 0.0
        poll_until(keda, lambda: not keda.running, "the cooldown ends")
        keda.cooldown_seconds = 600.0

        again = [client.submit(f"again {number}")["id"] for number in range(6)]
        told = f"A start takes about {seen['cold_start_seconds']:.0f} s."
        client.wait_for(again[0], lambda job: told in job["queue"]["reason"])  # From a shared snapshot.
        assert keda.poll() == 2, "six jobs at four for each worker"
        poll_until(keda, lambda: all(client.job(job)["status"] == "succeeded" for job in again), "all jobs end")
        assert {client.job(job)["attempt"] for job in [first, *again]} == {1}


def wait_answer(url: str) -> None:
    deadline = time.monotonic() + 300
    while True:
        try:
            httpx.get(f"{url}/healthz", timeout=10).raise_for_status()
        except httpx.HTTPError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        else:
            return
