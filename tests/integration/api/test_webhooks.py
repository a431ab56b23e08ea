"""Webhooks against a real receiver."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import queue
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from api import webhooks
from core.errors import Unavailable
from core.settings import Settings
from core.webhooks import RETRY_SECONDS, generate_secret
from db.tables import Base
from db.webhook_collector import Collector
from tests.integration.api.conftest import BOTH, SettingsMaker
from tests.integration.api.running import WorkerSide, serving

BODY = {"prompt": "a red fox", "width": 64, "height": 64}


@pytest.fixture(autouse=True)
def long_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a busy machine neither delay an answer beyond its deadline nor see the second try of a message."""
    monkeypatch.setattr(webhooks, "TIMEOUT_SECONDS", 120.0)
    monkeypatch.setattr("db.webhook_deliveries.RETRY_SECONDS", (3600.0, *RETRY_SECONDS[1:]))


class Receiver:
    """Stores received messages; answers with the statuses in `answers`, then with 204."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/hook"
        self.received: queue.Queue[tuple[dict[str, str], bytes]] = queue.Queue()
        self.answers: queue.SimpleQueue[int] = queue.SimpleQueue()

    def next(self) -> tuple[dict[str, str], dict[str, Any]]:
        headers, body = self.received.get(timeout=120)
        return headers, json.loads(body)


@contextmanager
def receiving() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            found.received.put(({name.lower(): value for name, value in self.headers.items()}, body))
            status = 204 if found.answers.empty() else found.answers.get()
            self.send_response(status)
            if status == 302:
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = Receiver(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join(120)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture
def api(make_settings: SettingsMaker, worker: WorkerSide) -> Iterator[httpx.Client]:
    with serving(make_settings(webhook_allow_private=True)) as url, httpx.Client(base_url=url, timeout=120) as client:
        yield client


def finish_one(worker: WorkerSide) -> None:
    job = worker.claim()
    assert job is not None
    worker.finish(job)


def with_webhook(receiver: Receiver) -> dict[str, Any]:
    return BODY | {"webhook": {"url": receiver.url, "secret": generate_secret()}}


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def signed(secret: str, headers: dict[str, str], body: bytes) -> str:
    """Compute the signature as the specification's verifiers do."""
    message = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return "v1," + base64.b64encode(hmac.new(key, message, hashlib.sha256).digest()).decode()


@BOTH
def test_the_end_of_a_job_is_delivered_with_a_signature(api: httpx.Client, worker: WorkerSide, receiver: Receiver) -> None:
    secret = generate_secret()
    job = api.post("/v1/jobs", json=BODY | {"webhook": {"url": receiver.url, "secret": secret}}).json()
    assert secret not in json.dumps(job)
    finish_one(worker)
    headers, body = receiver.received.get(timeout=120)
    assert headers["webhook-signature"] == signed(secret, headers, body)
    message = json.loads(body)
    assert (message["type"], message["data"]["id"], message["data"]["status"]) == ("job.succeeded", job["id"], "succeeded")
    assert datetime.fromisoformat(message["timestamp"]).tzinfo is not None
    delivery = _settled_delivery(api)
    assert (delivery["status"], delivery["last_status"], delivery["event"]) == ("delivered", 204, "job.succeeded")
    assert delivery["id"] == headers["webhook-id"]


def _settled_delivery(api: httpx.Client) -> dict[str, object]:
    while True:
        rows = api.get("/v1/webhooks/deliveries").json()["items"]
        if rows and rows[0]["tries"] and rows[0]["last_seconds"] is not None:
            found: dict[str, object] = rows[0]
            return found


@BOTH
def test_endpoints_receive_the_chosen_events_of_their_owners_jobs(
    api: httpx.Client, worker: WorkerSide, receiver: Receiver
) -> None:
    made = api.post("/v1/webhooks", json={"url": receiver.url, "events": ["canceled"]}, headers={"X-Client-Label": "a"})
    assert made.status_code == 201
    assert made.json()["secret"].startswith("whsec_")
    assert api.get("/v1/webhooks").json()["items"][0]["secret"] is None
    for label in ("b", "a"):
        job = api.post("/v1/jobs", json=BODY, headers={"X-Client-Label": label}).json()
        api.post(f"/v1/jobs/{job['id']}/cancel")
    _, message = receiver.next()
    assert (message["data"]["owner"], message["data"]["status"]) == ("client:a", "canceled")
    assert receiver.received.empty()
    assert api.delete(f"/v1/webhooks/{made.json()['id']}").status_code == 204
    assert api.delete(f"/v1/webhooks/{made.json()['id']}").status_code == 404


@BOTH
def test_a_failed_delivery_is_logged_and_redelivered(api: httpx.Client, worker: WorkerSide, receiver: Receiver) -> None:
    receiver.answers.put(500)
    api.post("/v1/jobs", json=BODY | {"webhook": {"url": receiver.url, "secret": generate_secret()}})
    finish_one(worker)
    receiver.next()
    delivery = _settled_delivery(api)
    assert (delivery["status"], delivery["last_status"], delivery["tries"]) == ("pending", 500, 1)
    assert delivery["next_try_at"] is not None
    again = api.post(f"/v1/webhooks/deliveries/{delivery['id']}/redeliver")
    assert again.status_code == 202
    headers, _ = receiver.next()
    assert headers["webhook-id"] == delivery["id"]


def test_redirects_are_not_followed(api: httpx.Client, worker: WorkerSide, receiver: Receiver) -> None:
    receiver.answers.put(302)
    api.post("/v1/jobs", json=BODY | {"webhook": {"url": receiver.url, "secret": generate_secret()}})
    finish_one(worker)
    receiver.next()
    assert "not followed" in str(_settled_delivery(api)["last_error"])
    assert receiver.received.empty()


@BOTH
def test_a_restart_loses_no_message(make_settings: SettingsMaker, worker: WorkerSide, receiver: Receiver) -> None:
    settings = make_settings(webhook_allow_private=True)
    with serving(settings) as url:
        hook = {"url": receiver.url, "secret": generate_secret()}
        assert httpx.post(f"{url}/v1/jobs", json=BODY | {"webhook": hook}).status_code == 202
    finish_one(worker)
    with serving(settings):
        assert receiver.next()[1]["data"]["status"] == "succeeded"


class TestWithoutReceivers:
    """A farm's jobs cost no query about webhooks where nobody receives any, and no message is lost for that."""

    @pytest.fixture
    def looks(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        """Return the times of the collectors' looks, which are not repeated by themselves."""
        found: list[float] = []
        look = Collector.is_idle

        def noted(collector: Collector) -> bool:
            found.append(time.monotonic())
            return look(collector)

        monkeypatch.setattr(Collector, "is_idle", noted)
        for name, seconds in (("IDLE_SECONDS", 3600.0), ("PAUSE_SECONDS", 0.0), ("QUIET_PAUSE_SECONDS", 0.0)):
            monkeypatch.setattr(webhooks, name, seconds)
        return found

    def test_only_jobs_that_name_a_webhook_are_looked_at(
        self, looks: list[float], api: httpx.Client, worker: WorkerSide, receiver: Receiver
    ) -> None:
        wait_until(lambda: len(looks) == 1)
        for _ in range(3):
            job = api.post("/v1/jobs", json=BODY).json()["id"]
            finish_one(worker)
            assert api.get(f"/v1/jobs/{job}", params={"wait": 60}).json()["status"] == "succeeded"
        time.sleep(0.3)
        assert len(looks) == 1
        job = api.post("/v1/jobs", json=with_webhook(receiver)).json()["id"]
        finish_one(worker)
        assert receiver.next()[1]["data"]["id"] == job

    def test_a_message_of_a_canceled_job_is_written(self, looks: list[float], api: httpx.Client, receiver: Receiver) -> None:
        wait_until(lambda: len(looks) == 1)
        job = api.post("/v1/jobs", json=with_webhook(receiver)).json()["id"]
        api.post(f"/v1/jobs/{job}/cancel")
        assert receiver.next()[1]["data"]["status"] == "canceled"

    def test_the_end_of_a_job_by_an_earlier_version_is_looked_at(
        self, looks: list[float], api: httpx.Client, worker: WorkerSide, receiver: Receiver
    ) -> None:
        """Its message does not say whether the job names a webhook."""
        wait_until(lambda: len(looks) == 1)
        api.post("/v1/jobs", json=with_webhook(receiver))
        job = worker.claim()
        assert job is not None
        done = worker.finish(job, publish=False)
        change = {"job": done.id, "revision": done.revision, "status": done.status}
        worker.redis.publish(worker.keys.changes, json.dumps([change]))
        assert receiver.next()[1]["data"]["id"] == job.id

    def test_a_receiver_that_an_ended_process_added_gets_messages_after_the_next_look(
        self, make_settings: SettingsMaker, worker: WorkerSide, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(webhooks, "IDLE_SECONDS", 0.5)
        settings = make_settings(webhook_allow_private=True)
        with serving(settings) as url:
            with serving(settings) as other:
                assert httpx.post(f"{other}/v1/webhooks", json={"url": receiver.url}, timeout=120).status_code == 201
            job = httpx.post(f"{url}/v1/jobs", json=BODY, timeout=120).json()["id"]
            finish_one(worker)
            assert receiver.next()[1]["data"]["id"] == job


def test_private_targets_are_refused_at_submit_and_at_delivery(
    make_settings: SettingsMaker, worker: WorkerSide, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = socket.getaddrinfo

    def resolve_name(host: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 -- the function's own
        return resolve("127.0.0.1" if host == "hook.example" else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_name)
    with serving(make_settings()) as url, httpx.Client(base_url=url) as api:
        for target in (
            "http://127.0.0.1/x",
            "http://169.254.169.254/latest",
            "http://[::ffff:10.0.0.1]/",
            "http://localhost/",
            "http://2130706433/",
            "http://0177.0.0.1/",
            "http://0x7f.1/",
            "http://[::127.0.0.1]/",
        ):
            refused = api.post("/v1/jobs", json=BODY | {"webhook": {"url": target, "secret": generate_secret()}})
            assert refused.json()["code"] == "private_webhook_target", target
        for target in (
            "ftp://example.com/",
            "http://user:pw@example.com/",
            "nonsense",
            "http://exa mple.com/",
            "http://[1/",
        ):
            assert api.post("/v1/jobs", json=BODY | {"webhook": {"url": target}}).status_code == 422, target
        unsigned = api.post("/v1/jobs", json=BODY | {"webhook": {"url": "https://example.com/"}})
        assert unsigned.json()["errors"][0]["field"] == "webhook.secret"
        # A name that turns out to be a private address only when it is resolved.
        hook = {"url": receiver.url.replace("127.0.0.1", "hook.example"), "secret": generate_secret()}
        assert api.post("/v1/jobs", json=BODY | {"webhook": hook}).status_code == 202
        finish_one(worker)
        assert "private address" in str(_settled_delivery(api)["last_error"])
        assert receiver.received.empty()


@BOTH
def test_receivers_that_never_answer_delay_their_own_owner_only(
    api: httpx.Client, worker: WorkerSide, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """60 messages, more than are sent at a time, go to a receiver that never answers and never reach their deadline."""
    monkeypatch.setattr(webhooks, "TIMEOUT_SECONDS", 3600.0)
    with socket.create_server(("127.0.0.1", 0), backlog=512) as silent:
        hanging = {"url": f"http://127.0.0.1:{silent.getsockname()[1]}/", "secret": generate_secret()}
        batch = {"prompts": ["x"], "seeds": list(range(60)), "base": {"width": 64, "height": 64}, "webhook": hanging}
        made = api.post("/v1/batches", json=batch, headers={"X-Client-Label": "slow"})
        assert made.status_code == 202, made.text
        api.post(f"/v1/batches/{made.json()['id']}/cancel").raise_for_status()
        connection, _ = silent.accept()  # its messages are on their way
        body = BODY | {"webhook": {"url": receiver.url, "secret": generate_secret()}}
        for _ in range(6):
            job = api.post("/v1/jobs", json=body, headers={"X-Client-Label": "quick"}).json()
            api.post(f"/v1/jobs/{job['id']}/cancel")
            assert receiver.next()[1]["data"]["id"] == job["id"]
        connection.close()


@BOTH
def test_secrets_are_stored_encrypted(settings: Settings, worker: WorkerSide, receiver: Receiver) -> None:
    allowed = settings.model_copy(update={"webhook_allow_private": True})
    hook, own = generate_secret(), generate_secret()
    with serving(allowed) as url, httpx.Client(base_url=url) as api:
        assert api.post("/v1/webhooks", json={"url": receiver.url, "secret": hook}).json()["secret"] == hook
        webhook = {"url": receiver.url + "/own", "secret": own}
        api.post("/v1/jobs", json=BODY | {"webhook": webhook}, headers={"Idempotency-Key": "1"}).raise_for_status()
        api.post("/v1/batches", json={"prompts": ["x"], "webhook": webhook}).raise_for_status()
        with worker.database.read() as session:
            stored = "".join(repr(session.execute(select(table)).all()) for table in Base.metadata.sorted_tables)
        assert "webhook" in stored
        assert not any(secret.removeprefix("whsec_") in stored for secret in (hook, own))
        assert all(value not in api.get("/v1/webhooks").text for value in (hook, "enc:"))
    with serving(allowed):  # a new process reads the same key
        finish_one(worker)
        received = [receiver.received.get(timeout=120) for _ in range(2)]
    signatures = {headers["webhook-signature"] for headers, _ in received}
    assert signatures == {signed(secret, headers, body) for secret, (headers, body) in _pairs(hook, own, received)}
    assert stat.S_IMODE((settings.data_dir / "secret.key").stat().st_mode) == 0o600


def _pairs(
    hook: str, own: str, received: list[tuple[dict[str, str], bytes]]
) -> list[tuple[str, tuple[dict[str, str], bytes]]]:
    """Return each message with the secret that it is signed with, whatever their order."""
    return [
        (next(each for each in (hook, own) if signed(each, *message) == message[0]["webhook-signature"]), message)
        for message in received
    ]


def test_a_lost_key_is_reported_in_the_delivery_log(
    make_settings: SettingsMaker, worker: WorkerSide, receiver: Receiver
) -> None:
    with serving(make_settings(webhook_allow_private=True, secret_key="a" * 32)) as url:
        hook = {"url": receiver.url, "secret": generate_secret()}
        httpx.post(f"{url}/v1/jobs", json=BODY | {"webhook": hook}).raise_for_status()
    with (
        serving(make_settings(webhook_allow_private=True, secret_key="b" * 32)) as url,
        httpx.Client(base_url=url) as api,
    ):
        finish_one(worker)
        delivery = _settled_delivery(api)
        assert (delivery["status"], delivery["tries"]) == ("pending", 1)
        assert "IMAGEFARM_SECRET_KEY" in str(delivery["last_error"])
        assert receiver.received.empty()


def test_an_owner_cannot_register_endpoints_without_limit(make_settings: SettingsMaker, worker: WorkerSide) -> None:
    with serving(make_settings(max_webhooks_per_owner=2)) as url, httpx.Client(base_url=url) as api:
        for _ in range(2):
            assert api.post("/v1/webhooks", json={"url": "https://example.com/"}).status_code == 201
        refused = api.post("/v1/webhooks", json={"url": "https://example.com/"})
        assert (refused.status_code, refused.json()["code"]) == (409, "too_many_webhooks")


def test_a_database_that_stays_away_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    logged_errors = webhooks._LoggedErrors()

    def fail(text: str) -> None:
        with logged_errors():
            raise Unavailable(text)

    fail("read-only")
    fail("read-only")
    fail("away")
    with logged_errors():
        pass
    fail("away")
    assert [record.args for record in caplog.records] == [("read-only",), ("away",), ("away",)]
