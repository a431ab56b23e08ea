"""An engine that dies, hangs or cannot load is reported and replaced, and no process is left."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from core.errors import RenderError
from tests.integration.engine.conftest import StartEngine
from tests.integration.engine.recorder import Recorder, a_request
from worker.engine.client import EngineClient
from worker.engine.heartbeat import MAX_TIMEOUTS_WITHOUT_EVENT
from worker.engine.messages import EngineLost, LoadFailed, Loading, Rendered, RequestFailed, Step

Engine = tuple[EngineClient, Recorder]


@pytest.fixture
def replaced(engine: Engine) -> Iterator[Engine]:
    """Return the module's engine, which the test must end; afterwards its replacement must render."""
    client, recorder = engine
    assert client.info is not None
    before = client.info.process_id
    yield client, recorder
    after = recorder.wait_ready().info.process_id
    assert after != before
    assert not psutil.pid_exists(before)
    client.submit(a_request(9))
    assert isinstance(recorder.wait_end("job/1/9"), Rendered)


@pytest.mark.parametrize(("fault", "reason"), [("exit", "status 3"), ("segfault", "SIGSEGV"), ("sticky", "status 70")])
def test_a_dying_engine_is_reported_and_replaced(replaced: Engine, fault: str, reason: str) -> None:
    client, recorder = replaced
    client.submit(a_request(0, "slow", steps=10_000))
    client.submit(a_request(1, fault))
    lost = recorder.wait(EngineLost)
    assert sorted(lost.request_ids) == ["job/1/0", "job/1/1"]
    assert reason in lost.reason


def test_an_engine_killed_during_a_step_is_replaced(replaced: Engine) -> None:
    client, recorder = replaced
    client.submit(a_request(0, "slow", steps=10_000))
    recorder.wait(Step)
    assert client.info is not None
    os.kill(client.info.process_id, signal.SIGKILL)
    lost = recorder.wait(EngineLost)
    assert lost.request_ids == ("job/1/0",)
    assert "memory" in lost.reason


def test_a_hung_step_is_noticed_and_the_engine_replaced(replaced: Engine) -> None:
    client, recorder = replaced
    client.submit(a_request(0, "hang"))
    lost = recorder.wait(EngineLost)
    assert lost.request_ids == ("job/1/0",)
    assert "it sent nothing" in lost.reason
    assert "memory" not in lost.reason


def test_a_long_step_that_computes_is_not_a_hang(engine: Engine) -> None:
    client, recorder = engine
    client.submit(a_request(0, "long", steps=1))
    done = recorder.wait_end("job/1/0")
    assert isinstance(done, Rendered)
    assert done.timings.steps_seconds > client.spec.step_timeout_seconds


def test_endless_computing_is_a_hang(start_engine: StartEngine) -> None:
    client, recorder = start_engine(step_timeout_seconds=0.4)
    longest = 0.0
    for number in range(1, 6):  # One that this machine keeps from computing for 0.4 s counts as hung too.
        recorder.wait_ready(number)
        client.submit(a_request(0, "spin"))
        started = time.monotonic()
        lost = recorder.wait(EngineLost, number)
        assert lost.request_ids == ("job/1/0",)
        assert "it sent nothing" in lost.reason
        longest = time.monotonic() - started
        if longest > MAX_TIMEOUTS_WITHOUT_EVENT * client.spec.step_timeout_seconds:
            break
    assert longest > MAX_TIMEOUTS_WITHOUT_EVENT * client.spec.step_timeout_seconds


def test_a_frozen_process_is_replaced(replaced: Engine) -> None:
    client, recorder = replaced
    assert client.info is not None
    os.kill(client.info.process_id, signal.SIGSTOP)
    client.submit(a_request(0))
    assert recorder.wait(EngineLost).request_ids == ("job/1/0",)


def test_the_watchdog_is_off_while_the_engine_is_idle(engine: Engine) -> None:
    client, recorder = engine
    client.submit(a_request(0, steps=2))
    recorder.wait_end("job/1/0")
    assert recorder.is_quiet(EngineLost, seconds=client.spec.step_timeout_seconds + 1)


def test_a_load_that_takes_too_long_is_ended(start_engine: StartEngine) -> None:
    _, recorder = start_engine(memory_policy="never", load_timeout_seconds=1.0)
    lost = recorder.wait(EngineLost)
    assert lost.request_ids == ()
    assert "loading" in lost.reason


def test_an_engine_killed_while_loading_is_restarted(start_engine: StartEngine) -> None:
    client, recorder = start_engine(memory_policy="die")
    assert "SIGKILL" in recorder.wait(EngineLost).reason
    recorder.wait(EngineLost, 2)
    assert client.state != "ready"


def test_missing_weights_are_reported_with_a_remedy(start_engine: StartEngine, tmp_path: Path) -> None:
    client, recorder = start_engine(model="sd-turbo", models_dir=tmp_path)
    failed = recorder.wait(LoadFailed)
    assert failed.code == "model_unavailable"
    assert "imagefarm models pull sd-turbo" in failed.message
    again = recorder.wait(LoadFailed, 2)
    assert again.code == failed.code, "weights may have been pulled meanwhile, so loading is retried"
    assert client.state in ("failed", "starting", "loading")


def test_an_unknown_model_is_final(start_engine: StartEngine) -> None:
    client, recorder = start_engine(model="nonsense")
    assert recorder.wait(LoadFailed).code == "unknown_model"
    client._thread.join(120)
    assert not client._thread.is_alive()
    assert client.state == "failed"


def test_a_request_before_the_engine_is_ready_is_refused(start_engine: StartEngine) -> None:
    client, recorder = start_engine()
    with pytest.raises(RenderError) as caught:
        client.submit(a_request(0))
    assert caught.value.code == "engine_lost"
    recorder.wait_ready()


def test_stop_lets_requests_finish_and_refuses_new_ones(start_engine: StartEngine) -> None:
    client, recorder = start_engine()
    process = recorder.wait_ready().info.process_id
    client.submit(a_request(0, "slow", steps=60))
    recorder.wait(Step)
    stopping = threading.Thread(target=client.stop, args=[60])
    stopping.start()
    assert client._stopping.wait(120)
    client.submit(a_request(1))
    late = recorder.wait_end("job/1/1")
    assert isinstance(late, Rendered | RequestFailed)
    assert isinstance(late, Rendered) or late.code == "worker_drained"
    stopping.join()
    assert isinstance(recorder.wait_end("job/1/0"), Rendered)
    assert client.state == "stopped"
    assert not psutil.pid_exists(process)


def test_stop_without_grace_ends_the_engine_at_once(start_engine: StartEngine) -> None:
    client, recorder = start_engine()
    process = recorder.wait_ready().info.process_id
    client.submit(a_request(0, "hang"))
    client.stop(0)
    assert recorder.wait(EngineLost).request_ids == ("job/1/0",)
    assert not psutil.pid_exists(process)


def test_stop_while_loading(start_engine: StartEngine) -> None:
    client, recorder = start_engine()
    recorder.wait(Loading)
    client.stop(0)
    assert client.state == "stopped"


def test_the_engine_ends_with_its_parent(models_dir: Path) -> None:
    script = textwrap.dedent(
        f"""
        import os, pathlib, signal
        from tests.integration.engine.conftest import new_client
        from tests.integration.engine.recorder import a_request
        from worker.engine.client import spawn
        from worker.engine.messages import Step
        client, recorder = new_client(pathlib.Path({str(models_dir)!r}), spawn)
        client.start()
        process = recorder.wait_ready().info.process_id
        client.submit(a_request(0, "slow", steps=10_000))
        recorder.wait(Step)
        print(process, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False).stdout
    engine = int(output)
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(engine).wait(120)
    assert not psutil.pid_exists(engine)
