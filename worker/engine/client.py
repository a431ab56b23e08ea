"""Run the engine process for a worker: spawn it, submit requests, deliver its events, replace it when it fails."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from typing import Literal, Protocol, cast

from core.backoff import backoff_seconds
from core.child_python import child_environment, module_command
from core.errors import RenderError
from core.render import RenderRequest
from worker.engine.early_start import take_early
from worker.engine.messages import (
    Cancel,
    Canceled,
    Channel,
    Command,
    EngineEvent,
    EngineInfo,
    EngineLost,
    Heartbeat,
    Load,
    LoadFailed,
    Loading,
    Message,
    Ready,
    Release,
    Rendered,
    RequestFailed,
    Stop,
    Submit,
    Unloaded,
)
from worker.engine.spec import EXIT_MEANINGS, EngineSpec
from worker.engine.watchdog import Watchdog

__all__ = ["EngineClient", "EngineProcess", "EngineSpec", "EngineState"]

log = logging.getLogger(__name__)
EngineState = Literal["starting", "loading", "ready", "failed", "unloaded", "stopped"]
MIN_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS = 0.5, 30.0
FINAL_LOAD_CODES = frozenset({"invalid_input", "unknown_model"})
"""Load failures that a retry cannot fix."""
KILLED_BY_KERNEL = "its worker did not send the signal; the kernel does when memory runs out"
_EXIT_WAIT_SECONDS = 10.0


class ChildProcess(Protocol):
    """What is used of `subprocess.Popen`."""

    pid: int

    def kill(self) -> None: ...

    def wait(self, timeout: float | None = None) -> int: ...


StartProcess = Callable[[str, int, dict[str, str]], ChildProcess]
"""Starts a module with the number of the inherited socket as its argument, and with an environment."""


def spawn(module: str, fd: int, environment: dict[str, str]) -> ChildProcess:
    """Start an interpreter of its own: beside this process's threads, a fork would not be safe."""
    return subprocess.Popen(module_command(module, str(fd)), pass_fds=[fd], stdin=subprocess.DEVNULL, env=environment)


def _start(module: str, start: StartProcess) -> tuple[ChildProcess, socket.socket]:
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            return start(module, theirs.fileno(), child_environment()), ours
        except BaseException:
            ours.close()
            raise


class EngineProcess:
    """A started engine, connected by a socket pair."""

    def __init__(self, spec: EngineSpec, start: StartProcess = spawn) -> None:
        early = take_early(spec.module) if start is spawn else None
        self._process, ours = (early.process, early.end) if early is not None else _start(spec.module, start)
        self._channel = Channel.over(ours)
        with contextlib.suppress(OSError):  # receive() notices a child that died at once.
            self.send(Load(spec))

    @property
    def process_id(self) -> int:
        return self._process.pid

    def send(self, message: Command) -> None:
        """Send one command. Raises OSError when the process has ended."""
        self._channel.send(message)

    def receive(self) -> Message:
        """Block until the next message. Raises EOFError or OSError when the process has ended."""
        return self._channel.receive()

    def kill(self) -> None:
        """Kill it at once, from any thread; receive() then raises."""
        self._process.kill()

    def wait(self, seconds: float) -> bool:
        """Return whether the process ended within that time."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
            return True
        return False

    def reap(self) -> str:
        """Wait for its end, killing it if need be, close its channel and return how it ended."""
        if not self.wait(_EXIT_WAIT_SECONDS):
            self.kill()
        code = self._process.wait()
        self._channel.close()
        return _describe_exit(code)


def _describe_exit(code: int) -> str:
    if code >= 0:
        meaning = f", {EXIT_MEANINGS[code]}" if code in EXIT_MEANINGS else ""
        return f"the engine exited with status {code}{meaning}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"the engine was ended by {name}"


class EngineClient:
    """The worker's handle of its engine, across restarts of the process.

    Events arrive on one thread, in order; `on_event` may call any method except `stop`. Every submitted request ends in
    exactly one of Rendered, Canceled, RequestFailed or EngineLost.
    """

    def __init__(self, spec: EngineSpec, on_event: Callable[[EngineEvent], None], start: StartProcess = spawn) -> None:
        self.spec = spec
        self._start_process = start
        self.state: EngineState = "starting"
        self.info: EngineInfo | None = None
        self._on_event = on_event
        self._lock = threading.RLock()
        self._process: EngineProcess | None = None
        self._in_flight: dict[str, None] = {}
        self._killed_because = ""
        self._failures = 0
        self._gave_up = False
        self._waits_for_model = False
        self._changed = threading.Event()
        self._stopping = threading.Event()
        self._watchdog = Watchdog(self._kill)
        self._thread = threading.Thread(target=self._run, name=f"engine-{spec.model}", daemon=True)

    def start(self) -> None:
        """Spawn the engine and return at once. Call it once."""
        self._thread.start()

    def submit(self, request: RenderRequest, init_image: bytes | None = None, mask: bytes | None = None) -> None:
        """Submit one image. Raises RenderError `engine_lost` when no engine is ready."""
        with self._lock:
            process = self._process
            if self.state != "ready" or process is None:
                raise RenderError(f"The engine is {self.state}, not ready for requests.", code="engine_lost")
            if request.id in self._in_flight:
                raise RenderError(f"Request {request.id} is already in flight.", code="invalid_input")
            self._in_flight[request.id] = None
            if len(self._in_flight) == 1:
                self._expect_progress()
        self._send(process, Submit(request, init_image or b"", mask or b""))

    def cancel(self, request_id: str) -> None:
        """Cancel the request at its next step; does nothing when it is not in flight."""
        with self._lock:
            process = self._process if request_id in self._in_flight else None
        if process is not None:
            self._send(process, Cancel(request_id))

    def switch(self, spec: EngineSpec) -> None:
        """Load another model, or the same one again, in place of the present one. No request may be in flight.

        Ends in Ready or LoadFailed. A process that keeps running keeps the former model in host memory where that fits;
        else a new process loads it.
        """
        with self._lock:
            process = self._process if self.state == "ready" or self._waits_for_model else None
            self.spec, self._gave_up, self._waits_for_model, self._failures = spec, False, False, 0
            if process is not None:
                self.state, self.info = "loading", None
                self._watchdog.arm(spec.load_timeout_seconds, "it did not finish loading in time")
            else:
                self._changed.set()
        if process is not None:
            self._send(process, Load(spec))

    def release(self, model: str) -> None:
        """Free the host memory that the process keeps for a model other than the loaded one."""
        with self._lock:
            process = self._process
        if process is not None:
            self._send(process, Release(model))

    def unload(self) -> None:
        """End the process once its requests are done, and start none until `switch`. Ends in Unloaded."""
        with self._lock:
            process = self._process
            if process is None or self.state != "ready":
                return
            self.state = "unloaded"
            self._watchdog.arm(self.spec.step_timeout_seconds, "it did not end when its model was to be unloaded")
        self._send(process, Stop())

    def stop(self, grace_seconds: float) -> None:
        """Let the engine finish its requests for at most `grace_seconds`, then end it. Must not be called by `on_event`."""
        self._stopping.set()
        self._changed.set()
        with self._lock:
            process = self._process
        if process is not None:
            self._send(process, Stop())
            if not process.wait(grace_seconds):
                self._kill("it was stopped before its requests were done")
        if self._thread.is_alive():
            self._thread.join()
        self._watchdog.close()
        self.state = "stopped"

    def _send(self, process: EngineProcess, message: Command) -> None:
        # A broken pipe means that the engine has ended: the receiving thread notices and reports its requests as lost.
        with contextlib.suppress(OSError):
            process.send(message)

    def _kill(self, reason: str) -> None:
        with self._lock:
            if self._process is not None:
                self._killed_because = reason
                self._process.kill()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._failures += 1
            try:
                self._run_once()
            except Exception:
                log.exception("could not run the engine for %s", self.spec.model)
            if self._gave_up:
                return
            self._pause()

    def _pause(self) -> None:
        """Wait for the next model after an unload, else for the backoff; another model or the end of the worker ends it."""
        pause = backoff_seconds(self._failures, MIN_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS)
        self._changed.wait(None if self.state == "unloaded" else pause)

    def _run_once(self) -> None:
        """Run one engine process from spawn to end."""
        with self._lock:
            self._killed_because, self.info, self.state = "", None, "starting"
            if not self._stopping.is_set():
                self._changed.clear()
            process = self._process = EngineProcess(self.spec, self._start_process)
            self._watchdog.arm(self.spec.load_timeout_seconds, "it did not finish loading in time")
        if self._stopping.is_set():  # stop() may have come before there was a process to stop.
            self._send(process, Stop())
        self._receive_until_end(process)
        self._watchdog.disarm()
        self._report_end(process.reap())

    def _receive_until_end(self, process: EngineProcess) -> None:
        """Receive messages and deliver them until the process ends."""
        while True:
            try:
                message = process.receive()
            except (EOFError, OSError):
                return
            if self.state == "ready":
                self._watchdog.disarm()  # Time spent in the worker's own code must not count against the engine.
            self._update(message)
            if not isinstance(message, Heartbeat):
                self._deliver(cast(EngineEvent, message))
            self._expect_progress()

    def _update(self, message: Message) -> None:
        """Update state, info and the requests in flight."""
        with self._lock:
            match message:
                case Loading():
                    self.state = "loading"
                case Ready(info):
                    self.state, self.info = "ready", info
                case LoadFailed(code, _, process_ends):
                    self.state = "failed"
                    self._gave_up, self._waits_for_model = code in FINAL_LOAD_CODES and process_ends, not process_ends
                    self._watchdog.disarm()
                case Rendered(request_id) | Canceled(request_id) | RequestFailed(request_id):
                    self._in_flight.pop(request_id, None)
                    self._failures = 0

    def _expect_progress(self) -> None:
        """Move the watchdog's deadline: while requests are in flight, a message must arrive after each step."""
        with self._lock:
            if self.state != "ready":
                return
            if self._in_flight:
                seconds = self.spec.step_timeout_seconds
                self._watchdog.arm(seconds, f"it sent nothing for {seconds:g} s during a step")
            else:
                self._watchdog.disarm()

    def _report_end(self, ending: str) -> None:
        with self._lock:
            lost, self._in_flight = tuple(self._in_flight), {}
            failed_to_load, unloaded = self.state == "failed", self.state == "unloaded"
            self._process, self.info, self._waits_for_model = None, None, False
            if self._stopping.is_set():
                self.state = "stopped"
            elif not (failed_to_load or unloaded):
                self.state = "starting"
            why = self._killed_because or (KILLED_BY_KERNEL if ending.endswith("SIGKILL") else "")
            reason = f"{ending}: {why}" if why else ending
        if lost or not (failed_to_load or unloaded or self._stopping.is_set()):
            self._deliver(EngineLost(lost, reason))
        if unloaded and not self._stopping.is_set():
            self._failures = 0
            self._deliver(Unloaded())

    def _deliver(self, event: EngineEvent) -> None:
        try:
            self._on_event(event)
        except Exception:
            log.exception("the worker could not handle %s", type(event).__name__)
