"""The client survives restarts, lost responses and refusals."""

from __future__ import annotations

import threading
import time
import uuid
from typing import Any

import pytest

from benchmarks.faults.parts import FarmParts
from core.errors import FarmError, TooManyRequests, Unavailable
from core.lifecycle import JobStatus
from imagefarm import ImageFarm
from tests.integration.imagefarm.lossy_proxy import lossy_proxy
from tests.servers.ports import free_port

SMALL: dict[str, Any] = {"width": 64, "height": 64, "num_inference_steps": 2}


@pytest.mark.parametrize("faults", [("lose",), ("lose", "502", "lose"), ("503",), ("429", "429")], ids=" ".join)
def test_a_submit_with_lost_or_refused_responses_makes_one_job(
    running: FarmParts, farm: ImageFarm, faults: tuple[str, ...]
) -> None:
    word = f"w{uuid.uuid4().hex}"
    with lossy_proxy(running.url, *faults) as proxy, ImageFarm(proxy.url, "") as client:
        job = client.submit(f"a {word}", **SMALL)
        assert client.wait(job).status is JobStatus.SUCCEEDED
    assert [found.id for found in farm.jobs(query=word)] == [job.id]
    submits = proxy.seen[: len(faults) + 1]
    assert len(submits) == len(faults) + 1
    assert len(set(submits)) == 1 and submits[0]


def test_submit_and_wait_survive_a_restart_of_the_api(running: FarmParts, farm: ImageFarm) -> None:
    word, api = f"w{uuid.uuid4().hex}", running.parts["api"]
    long = farm.submit(f"long {word}", **SMALL | {"num_inference_steps": 30})
    ended: list[object] = []
    waiting = threading.Thread(target=lambda: ended.append(farm.wait(long)))
    waiting.start()
    api.kill()
    submitting = threading.Thread(target=lambda: ended.append(farm.wait(farm.submit(f"short {word}", **SMALL))))
    submitting.start()
    api.start()
    for thread in (waiting, submitting):
        thread.join(300)
    assert [getattr(job, "status", job) for job in ended] == [JobStatus.SUCCEEDED] * 2
    assert len(list(farm.jobs(query=word))) == 2


def test_a_retry_whose_response_is_lost_is_not_repeated(running: FarmParts, farm: ImageFarm) -> None:
    job = farm.wait(farm.submit("a cat", **SMALL))
    before = len(list(farm.jobs()))
    with lossy_proxy(running.url, "lose") as proxy, ImageFarm(proxy.url, "") as client, pytest.raises(Unavailable):
        client.retry(job)
    assert len(list(farm.jobs())) == before + 1


def test_retries_end_with_the_budget(running: FarmParts) -> None:
    with (
        lossy_proxy(running.url, *["429"] * 99) as proxy,
        ImageFarm(proxy.url, "", retry_seconds=0) as client,
        pytest.raises(TooManyRequests),
    ):
        client.submit("a cat", **SMALL)
    assert len(proxy.seen) == 1


def test_an_address_without_a_farm_fails_soon_with_advice() -> None:
    started = time.monotonic()
    with ImageFarm(f"http://127.0.0.1:{free_port()}", "") as client, pytest.raises(Unavailable) as caught:
        client.queue()
    assert time.monotonic() - started < 50, "it retries for a minute only when the farm has answered before"
    assert caught.value.code == "farm_unreachable"
    assert "imagefarm up" in caught.value.message


def test_closing_the_client_stops_retries_of_other_threads(running: FarmParts) -> None:
    raised: list[FarmError] = []
    with lossy_proxy(running.url, *["503"] * 10_000) as proxy:
        client = ImageFarm(proxy.url, "", retry_seconds=600)

        def submit() -> None:
            try:
                client.submit("a cat", **SMALL)
            except FarmError as error:
                raised.append(error)

        thread = threading.Thread(target=submit)
        thread.start()
        while not proxy.seen:
            thread.join(0.02)
        client.close()
        thread.join(120)
    assert [type(error) for error in raised] == [Unavailable]
