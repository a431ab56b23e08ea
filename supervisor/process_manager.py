"""Start the farm's processes, restart those that die or freeze, with exponential backoff, and stop them in order."""

from __future__ import annotations

import time
from dataclasses import dataclass

from core.backoff import backoff_seconds
from supervisor.child import Child, ChildSpec
from supervisor.console import Console
from supervisor.events import ChildEnded, Events, StopRequested
from supervisor.part_forks import PartForks

FIRST_SECONDS = 0.5
CAP_SECONDS = 30.0
SETTLED_SECONDS = 60.0
"""After this long a start counts as successful: the next failure is the first again."""


@dataclass
class RestartBackoff:
    """The restart backoff of one child."""

    failures: int = 0

    def next_delay_seconds(self, uptime_seconds: float) -> float:
        """Count a failure after `uptime_seconds`; return the pause before the next start."""
        self.failures = 1 if uptime_seconds >= SETTLED_SECONDS else self.failures + 1
        return backoff_seconds(self.failures, FIRST_SECONDS, CAP_SECONDS)


FROZEN_SECONDS = 30.0
"""A process that a signal has stopped for this long is killed: it may hold the lock of the SQLite file, and then no other
process can write. Postgres ends the transactions of frozen processes after the same time."""
FROZEN_TICK_SECONDS = 1.0
KILLED_SECONDS = 5.0
"""How long a killed process may take to end."""


class ProcessManager:
    """Owns the running children. Call its methods only from the main thread."""

    def __init__(self, console: Console, events: Events, frozen_seconds: float = FROZEN_SECONDS) -> None:
        self._console = console
        self._events = events
        self._frozen_seconds = frozen_seconds
        self._frozen: dict[Child, float] = {}
        self._looked_at = time.monotonic()
        self._running: dict[str, Child] = {}
        self._restarts: dict[str, RestartBackoff] = {}
        self._waiting: dict[str, tuple[float, ChildSpec]] = {}
        self._standing_by: dict[str, ChildSpec] = {}

    def start(self, spec: ChildSpec, forks: PartForks | None = None) -> None:
        child = Child(spec, self._on_line, self._events.child_ended, self._events.child_frozen, forks)
        self._running[spec.name] = child
        self._console.farm(f"{spec.name} starts as process {child.pid}")

    def stand_by(self, spec: ChildSpec) -> None:
        """Start the child only when it is wanted."""
        self._standing_by[spec.name] = spec

    def start_wanted(self) -> None:
        """Start the children that stand by; those that run or wait for their restart stay as they are."""
        while self._standing_by:
            _, spec = self._standing_by.popitem()
            self._console.farm(f"a job waits for {spec.name}")
            self.start(spec)

    def _on_line(self, spec: ChildSpec, text: str) -> None:
        if spec.quiet:
            self._console.file_only(spec.name, text)
        else:
            self._console.line(spec.name, text)

    def frozen(self, child: Child) -> None:
        """Kill the child soon, unless it is continued."""
        if child not in self._frozen:
            self._console.farm(
                f"{child.spec.name} (process {child.pid}) was stopped by a signal and may keep others from writing: it is "
                f"killed in {self._frozen_seconds:g} s unless you continue it with `kill -CONT {child.pid}`"
            )
        self._look_at_frozen()
        self._frozen[child] = 0.0

    def _look_at_frozen(self) -> None:
        """Count how long children are frozen, and kill those whose time is over.

        Time in which this process was frozen too does not count, so that whoever freezes a farm can continue it.
        """
        now = time.monotonic()
        passed, self._looked_at = min(now - self._looked_at, 2 * FROZEN_TICK_SECONDS), now
        for child in list(self._frozen):
            if not child.is_stopped:
                del self._frozen[child]
                if child.running:
                    self._console.farm(f"{child.spec.name} (process {child.pid}) was continued")
                continue
            self._frozen[child] += passed
            if self._frozen[child] >= self._frozen_seconds:
                del self._frozen[child]
                self._kill([child])

    def handle_due(self) -> None:
        """Restart the children whose backoff is over, and kill those that were frozen for too long."""
        self._look_at_frozen()
        now = time.monotonic()
        for name, (due_at, spec) in list(self._waiting.items()):
            if due_at <= now:
                del self._waiting[name]
                self.start(spec)

    def seconds_until_due(self, otherwise: float) -> float:
        """Return the seconds until `handle_due` has work, at most `otherwise`."""
        now = time.monotonic()
        if self._frozen:
            otherwise = min(otherwise, FROZEN_TICK_SECONDS)
        return min([otherwise, *(due_at - now for due_at, _ in self._waiting.values())])

    @property
    def count(self) -> int:
        """The number of children that run or wait for their restart."""
        return len(self._running) + len(self._waiting)

    def forget(self, child: Child) -> None:
        """Do not restart a child that ended by itself."""
        self._running.pop(child.spec.name, None)

    def ended(self, child: Child) -> None:
        """Schedule the restart of a child that ended by itself, unless it ended because nothing wants it."""
        name = child.spec.name
        self._running.pop(name, None)
        if child.spec.on_demand and child.exit_code == 0:
            self._console.farm(f"{name} had nothing to do and stopped; a job starts it again")
            self.stand_by(child.spec)
            return
        restarts = self._restarts.setdefault(name, RestartBackoff())
        delay = restarts.next_delay_seconds(child.uptime_seconds)
        self._waiting[name] = (time.monotonic() + delay, child.spec)
        more = f" (see logs/{name}.log for the reason)" if child.spec.quiet else ""
        again = f"restarts in {delay:g} s (failure {restarts.failures} in a row)"
        self._console.farm(f"{name} (process {child.pid}) {child.how_it_ended()}{more}; {again}")
        repaired = child.spec.repair(list(child.last_lines)) if child.spec.repair else None
        if repaired:
            self._console.farm(repaired)

    def stop(self) -> bool:
        """Stop all children, stage by stage. Returns False when one had to be killed."""
        self._waiting.clear()
        if not self._running:
            return True
        self._console.farm("stopping: running jobs finish or return to the queue; press Ctrl-C again to stop at once")
        clean = True
        for stage in sorted({child.spec.stop_stage for child in self._running.values()}):
            group = [child for child in self._running.values() if child.spec.stop_stage == stage]
            clean = self._stop_group(group) and clean
        self._console.farm("everything has stopped")
        return clean

    def _stop_group(self, group: list[Child]) -> bool:
        for child in group:
            child.terminate()
        deadlines = {child.spec.name: time.monotonic() + child.spec.stop_seconds for child in group}
        clean = True
        while remaining := [child for child in group if child.spec.name in self._running]:
            event = self._events.next(min(deadlines[child.spec.name] for child in remaining) - time.monotonic())
            match event:
                case ChildEnded(child):
                    self._running.pop(child.spec.name, None)
                    self._console.farm(f"{child.spec.name} stopped")
                case StopRequested():
                    self._console.farm("second stop request: stopping at once, without waiting for running jobs")
                    self._kill(list(self._running.values()))
                    deadlines = dict.fromkeys(deadlines, time.monotonic() + KILLED_SECONDS)
                    clean = False
                case None:
                    late = [child for child in remaining if deadlines[child.spec.name] <= time.monotonic()]
                    self._kill(late)
                    deadlines |= {child.spec.name: time.monotonic() + KILLED_SECONDS for child in late}
                    clean = False
        return clean

    def _kill(self, group: list[Child]) -> None:
        for child in group:
            self._console.farm(f"{child.spec.name} is killed")
            child.kill()
