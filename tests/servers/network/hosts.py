"""Start hosts as namespaces of this machine, run programs in them, cut them off, slow them down, and kill them.

Each host has its own addresses, host name and process ids, and everything in it ends with its first process: a host that is
killed leaves nothing behind, and neither does a test process that is killed. It needs Linux, root, iproute2, util-linux.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO

import psutil

from benchmarks.faults.parts import Process
from tests.servers.forked_parts import PART_IMPORTS, part_server

ROOT = Path(__file__).resolve().parents[3]
TOOLS = ("ip", "unshare", "nsenter", "setpriv", "mount")
TUN = Path("/dev/net/tun")
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
MTU = 16384
END_SECONDS = 300.0
"""The kernel ends a killed host in a moment, or in a minute where all cores are busy."""
OUTSIDE = 254
"""Last number of the address by which this process reaches the hosts."""
_FIRST_PROCESS = 'trap "" CHLD; echo "$1" > /proc/sys/kernel/hostname; ip link set lo up; echo ready; exec sleep infinity'


class HostsNotPermitted(RuntimeError):
    """This machine does not let this process create hosts; the message says why."""


@cache
def check_permitted() -> None:
    """Raise HostsNotPermitted unless hosts can be created here."""
    if sys.platform != "linux":
        raise HostsNotPermitted("network namespaces exist on Linux only")
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        raise HostsNotPermitted(f"these programs are missing: {', '.join(missing)}")
    if os.geteuid() != 0:
        raise HostsNotPermitted("only root may create network namespaces")
    probe = subprocess.run(
        ["unshare", "--net", "--uts", "--pid", "--mount", "--fork", "true"], capture_output=True, check=False
    )
    if probe.returncode != 0:
        raise HostsNotPermitted(f"this process may create no namespaces: {probe.stderr.decode().strip()}")
    try:
        os.close(_open_tun(f"ift{os.getpid()}"))
    except OSError as error:
        raise HostsNotPermitted(f"this process may create no network devices ({TUN}: {error.strerror})") from error


def _open_tun(name: str) -> int:
    """Create a device that hands IP packets to this process. It disappears with its descriptor."""
    fd = os.open(TUN, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH14x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    except OSError:
        os.close(fd)
        raise
    return fd


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")


class Program:
    """A program that runs in a host. `entering`: its parent, which is outside."""

    def __init__(self, entering: Process, log: Path) -> None:
        self._entering, self.log = entering, log

    def poll(self) -> int | None:
        return self._entering.poll()

    def wait(self, seconds: float) -> int:
        """Wait for its end and return its exit status."""
        return self._entering.wait(seconds)

    @property
    def process(self) -> psutil.Process | None:
        """The program's own process; None once it has ended."""
        try:
            return next(iter(psutil.Process(self._entering.pid).children()), None)
        except psutil.NoSuchProcess:
            return None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the program if it is running."""
        process = self.process
        if process is not None:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        if number == signal.SIGCONT:
            self.resume_entering()

    def resume_entering(self) -> None:
        """Let nsenter continue, which stops with its program and then reaps nothing; the host could not end."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self._entering.pid, signal.SIGCONT)

    def stop(self, seconds: float = 120.0) -> int:
        """Send SIGTERM and return the exit status."""
        self.send(signal.SIGTERM)
        return self.wait(seconds)


@dataclass
class Host:
    """One host: `name` is its host name, `address` its address on the network."""

    name: str
    address: str
    directory: Path
    network: Network
    first: subprocess.Popen[str] | None = None
    programs: list[Program] = field(default_factory=list)
    disks: dict[Path, str] = field(default_factory=dict)

    def boot(self) -> Host:
        """Start or restart it; its directory and its address stay the same."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "host.log").open("ab") as log:
            self.first = self._start_first_process(log)
        assert self.first.stdout is not None
        if self.first.stdout.readline() != "ready\n":
            raise RuntimeError(f"the host {self.name} did not start: {self.logs()}")
        self.network.plug_in(self)
        for folder, size in self.disks.items():
            self._mount(folder, size)
        return self

    def _start_first_process(self, log: IO[bytes]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--uts", "--pid", "--mount", "--mount-proc"),
                *("--fork", "--kill-child", "sh", "-c", _FIRST_PROCESS, "sh", self.name),
            ],
            stdout=subprocess.PIPE,
            stderr=log,
            stdin=subprocess.DEVNULL,
            text=True,
        )

    @property
    def first_process(self) -> psutil.Process:
        """The process whose end ends all others of the host."""
        assert self.first is not None
        return psutil.Process(self.first.pid).children()[0]

    def give_small_disk(self, folder: Path, size: str) -> None:
        """Mount a disk of this size, such as `8m`, on a folder. What is on it is lost when the host is killed."""
        folder.mkdir(parents=True, exist_ok=True)
        self.disks[folder] = size
        self._mount(folder, size)

    def _mount(self, folder: Path, size: str) -> None:
        _run(*self.enter("mount", "-t", "tmpfs", "-o", f"size={size},mode=0777", "disk", str(folder)))

    def enter(self, *command: str) -> list[str]:
        """Return the command line that runs `command` in this host."""
        inside = ("nsenter", "--target", str(self.first_process.pid), "--net", "--uts", "--pid", "--mount")
        return [*inside, f"--wd={self.directory}", "--", *command]

    def start(
        self, *command: str, environment: Mapping[str, str] | None = None, log: str = "program.log", user: str | None = None
    ) -> Program:
        """Start a program; its output is appended to the file `log` in the host's directory."""
        drop = () if user is None else ("setpriv", "--reuid", user, "--regid", "nogroup", "--clear-groups", "--")
        path = self.directory / log
        with path.open("ab") as stream:
            entering = subprocess.Popen(
                self.enter(*drop, *command),
                env=environment,
                stdout=stream,
                stderr=stream,
                stdin=subprocess.DEVNULL,
                text=True,
            )
        return self._keep(Program(entering, path))

    def fork(self, *words: str, environment: Mapping[str, str], log: str) -> Program:
        """Start `imagefarm` with these words like `start`, but as a forked process; see tests.servers.forks."""
        path = self.directory / log
        inside = (str(self.first_process.pid), str(self.directory), *words)
        with path.open("ab") as stream, Path(os.devnull).open() as nothing:
            fds = {0: nothing.fileno(), 1: stream.fileno(), 2: stream.fileno()}
            entering = part_server().start(
                "tests.servers.network.entering", *inside, imports=PART_IMPORTS, environment=environment, fds=fds
            )
        return self._keep(Program(entering, path))

    def _keep(self, program: Program) -> Program:
        self.programs.append(program)
        return program

    def run(self, *command: str, environment: Mapping[str, str] | None = None, seconds: float = 120.0) -> str:
        """Run a program to its end and return its output. Raises RuntimeError with its errors when it fails."""
        done = subprocess.run(
            self.enter(*command), env=environment, capture_output=True, text=True, timeout=seconds, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} on {self.name}: {done.stdout}{done.stderr}")
        return done.stdout

    @staticmethod
    def farm_command(*words: str) -> list[str]:
        """Return `imagefarm` with these words as a command line."""
        return [sys.executable, "-m", "cli", *words]

    @staticmethod
    def python(module: str, *words: str) -> list[str]:
        """Return a Python program as a command line."""
        return [sys.executable, "-m", module, *words]

    def kill(self) -> None:
        """Kill the host with all its processes at once, as a power cut does: its peers hear nothing of it."""
        if self.first is None:
            return
        self.network.unplug(self)
        with suppress(psutil.NoSuchProcess, IndexError):
            self.first_process.kill()
        for program in self.programs:
            program.resume_entering()
        self.first.wait(END_SECONDS)
        if self.first.stdout is not None:
            self.first.stdout.close()
        for program in self.programs:
            program.wait(END_SECONDS)
        self.first, self.programs = None, []

    def logs(self, characters: int = 3000) -> str:
        """Return the ends of its programs' logs."""
        texts = {path.name: path.read_text(errors="replace")[-characters:] for path in self.directory.glob("*.log")}
        return "\n".join(f"--- {self.name}: {name}\n{text}" for name, text in texts.items())


_DEVICES = itertools.count(1)
"""Numbers of this process: a test may have a network of its own beside that of its file."""


class Network:
    """Hosts on one switch. This process is on it too, with the number OUTSIDE, and reaches all of them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._subnet = _free_subnet()
        self.hosts: dict[str, Host] = {}
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.switch = subprocess.Popen(
            [sys.executable, "-S", "-m", "tests.servers.network.switch", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
        )
        theirs.close()
        device, fd = self._new_device()
        self._configure((), device, OUTSIDE)
        self._attach(self.address(OUTSIDE), fd)

    def address(self, number: int) -> str:
        return f"{self._subnet}.{number}"

    def add(self, name: str) -> Host:
        """Add and boot a host."""
        host = Host(name, self.address(len(self.hosts) + 1), self._directory / name, self)
        self.hosts[name] = host
        return host.boot()

    def plug_in(self, host: Host) -> None:
        """Give a host that boots a device on the switch."""
        device, fd = self._new_device()
        _run("ip", "link", "set", device, "netns", str(host.first_process.pid))
        self._configure(host.enter(), device, int(host.address.rpartition(".")[2]))
        self._attach(host.address, fd)

    def unplug(self, host: Host) -> None:
        """Take its device off the switch."""
        self._call({"detach": host.address})

    def set_direction(self, source: Host, target: Host, *, delay: float = 0.0, loss: float = 0.0) -> None:
        """Delay (seconds) or lose (share) packets from one host to another; with neither, heal that direction."""
        self._call({"from": source.address, "to": target.address, "delay": delay, "loss": loss})

    def set_both(self, one: Host, other: Host, *, delay: float = 0.0, loss: float = 0.0) -> None:
        """Do the same in both directions."""
        self.set_direction(one, other, delay=delay, loss=loss)
        self.set_direction(other, one, delay=delay, loss=loss)

    def close(self) -> None:
        """Kill all hosts and end the switch; nothing of the network is left."""
        for host in self.hosts.values():
            host.kill()
        self._control.close()
        self.switch.wait(60)

    def _new_device(self) -> tuple[str, int]:
        name = f"ifh{os.getpid() % 100000}n{next(_DEVICES)}"
        return name, _open_tun(name)

    def _configure(self, inside: Sequence[str], device: str, number: int) -> None:
        _run(*inside, "ip", "address", "add", f"{self.address(number)}/24", "dev", device)
        _run(*inside, "ip", "link", "set", device, "mtu", str(MTU), "up")

    def _attach(self, address: str, fd: int) -> None:
        try:
            self._call({"attach": address}, fd)
        finally:
            os.close(fd)

    def _call(self, message: Mapping[str, object], *fds: int) -> None:
        socket.send_fds(self._control, [json.dumps(message).encode()], list(fds))
        if not self._control.recv(16):
            raise RuntimeError(f"the switch has ended with status {self.switch.poll()}")


@contextmanager
def running_network(directory: Path) -> Iterator[Network]:
    """Yield a network without hosts; end everything on it afterwards. Raises HostsNotPermitted."""
    check_permitted()
    network = Network(directory)
    try:
        yield network
    finally:
        network.close()


def _free_subnet() -> str:
    """Return the first three numbers of a network for benchmarks (RFC 2544) to which this machine has no route."""
    routes = subprocess.run(["ip", "-4", "route"], capture_output=True, text=True, check=True).stdout
    candidates = [f"198.{18 + number // 256}.{number % 256}" for number in range(512)]
    random.Random(time.time_ns() ^ os.getpid()).shuffle(candidates)
    return next(each for each in candidates if f"{each}." not in routes)
