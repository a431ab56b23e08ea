"""Faults of hosts and of the network between them, for a farm of several hosts."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from tests.servers.network.farm import HostedFarm
from tests.servers.network.hosts import Host
from tests.servers.network.last_release_farm import LastReleaseFarm

Fault = Callable[[HostedFarm, float], AbstractContextManager[None]]
"""Breaks something; the body runs while it is broken. The number is the seconds that the body will take."""

UPGRADE = "everything rolled to a new version"
PAUSE_SECONDS = 3.0
"""Between the steps of an upgrade: old and new parts run side by side."""


def hit_host(farm: HostedFarm) -> Host:
    """Return the worker host that faults of one host hit."""
    return farm.workers[0]


@contextmanager
def cut(farm: HostedFarm, _seconds: float) -> Iterator[None]:
    """Let no packet pass between a worker host and the control host."""
    farm.network.set_both(farm.control, hit_host(farm), loss=1.0)
    yield
    farm.network.set_both(farm.control, hit_host(farm))


@contextmanager
def cut_outgoing(farm: HostedFarm, _seconds: float) -> Iterator[None]:
    """Lose what a worker host sends; it still receives."""
    farm.network.set_direction(hit_host(farm), farm.control, loss=1.0)
    yield
    farm.network.set_direction(hit_host(farm), farm.control)


@contextmanager
def cut_incoming(farm: HostedFarm, _seconds: float) -> Iterator[None]:
    """Lose what is sent to a worker host; what it sends arrives."""
    farm.network.set_direction(farm.control, hit_host(farm), loss=1.0)
    yield
    farm.network.set_direction(farm.control, hit_host(farm))


@contextmanager
def cut_all(farm: HostedFarm, _seconds: float) -> Iterator[None]:
    """Cut every worker host off."""
    for host in farm.workers:
        farm.network.set_both(farm.control, host, loss=1.0)
    yield
    for host in farm.workers:
        farm.network.set_both(farm.control, host)


@contextmanager
def slow_network(farm: HostedFarm, _seconds: float) -> Iterator[None]:
    """Make every round trip take 300 ms, and lose 5% of the packets."""
    for host in farm.workers:
        farm.network.set_both(farm.control, host, delay=0.15, loss=0.05)
    yield
    for host in farm.workers:
        farm.network.set_both(farm.control, host)


@contextmanager
def without_redis(farm: HostedFarm, _seconds: float) -> Iterator[None]:
    """Kill Redis, and start it again with its data."""
    farm.kill_server("redis")
    yield
    farm.start_redis()


@contextmanager
def redis_loses_data(farm: HostedFarm, _seconds: float) -> Iterator[None]:
    """Kill Redis, and start it again empty."""
    farm.kill_server("redis", lose_data=True)
    yield
    farm.start_redis()


@contextmanager
def without_postgres(farm: HostedFarm, _seconds: float) -> Iterator[None]:
    """Let Postgres crash, and start it again."""
    farm.kill_server("postgres")
    yield
    farm.start_postgres()


@contextmanager
def full_worker_disk(farm: HostedFarm, _seconds: float) -> Iterator[None]:
    """Fill the disk with a worker host's data directory. The host must have a small one."""
    file = next(iter(hit_host(farm).disks)) / "filler"
    _fill(hit_host(farm), str(file))
    yield
    hit_host(farm).run("rm", str(file))


@contextmanager
def full_control_disk(farm: HostedFarm, _seconds: float) -> Iterator[None]:
    """Fill the disk of Postgres and Redis, and free it again; start what ended meanwhile, as a supervisor does."""
    assert farm.disk is not None
    file = farm.disk / "filler"
    _fill(farm.control, str(file))
    yield
    file.unlink()
    for name, start in (("postgres", farm.start_postgres), ("redis", farm.start_redis)):
        if farm.programs[name].poll() is not None:
            start()


@contextmanager
def full_storage(farm: HostedFarm, _seconds: float) -> Iterator[None]:
    """Let the bucket refuse every file."""
    farm.full_storage.touch()
    yield
    farm.full_storage.unlink()


@contextmanager
def hanging_storage(farm: HostedFarm, _seconds: float) -> Iterator[None]:
    """Freeze the S3 server: it accepts connections and never answers."""
    farm.programs["s3"].send(signal.SIGSTOP)
    yield
    farm.programs["s3"].send(signal.SIGCONT)


@contextmanager
def killed_host(farm: HostedFarm, _seconds: float) -> Iterator[None]:
    """Cut the power of a worker host; boot it again at the end."""
    hit_host(farm).kill()
    yield
    farm.restart_host(hit_host(farm))


@contextmanager
def killed_hosts(farm: HostedFarm, seconds: float) -> Iterator[None]:
    """Cut the power of random worker hosts, one after the other, and boot each again after a few seconds."""
    chance, until = random.Random(17), time.monotonic() + seconds
    while time.monotonic() < until:
        host = chance.choice(farm.workers)
        host.kill()
        time.sleep(chance.uniform(0.5, 4.0))
        farm.restart_host(host)
        time.sleep(chance.uniform(1.0, 8.0))
    yield


@contextmanager
def killed_control(farm: HostedFarm, _seconds: float) -> Iterator[None]:
    """Cut the power of the control host: API, reaper, Redis, Postgres and S3 end at once. Boot it again at the end."""
    farm.control.kill()
    yield
    farm.restart_control()


@contextmanager
def rolling_restart(farm: HostedFarm, _seconds: float) -> Iterator[None]:
    """Stop and start every part in turn, workers first, as an upgrade does."""
    for host in farm.workers:
        farm.replace_worker(host)
    farm.replace_programs("reaper", "api")
    yield


@contextmanager
def upgrade(farm: HostedFarm, _seconds: float) -> Iterator[None]:
    """Replace every part of a farm of the last release by this version, in the order of docs/guides/many-boxes.md."""
    assert isinstance(farm, LastReleaseFarm)
    farm.upgrade_tables()
    time.sleep(PAUSE_SECONDS)
    farm.replace_programs("api", "reaper")
    for host in farm.workers:
        time.sleep(PAUSE_SECONDS)
        farm.replace_worker(host)
    yield


def _fill(host: Host, file: str) -> None:
    """Write zeros until nothing more fits; dd reports that as an error."""
    subprocess.run(host.enter("dd", "if=/dev/zero", f"of={file}", "bs=4k"), capture_output=True, check=False)


FAULTS: Mapping[str, tuple[Fault, float]] = {
    "cut off a worker host": (cut, 25.0),
    "cut what it sends": (cut_outgoing, 25.0),
    "cut what it receives": (cut_incoming, 25.0),
    "cut off all worker hosts": (cut_all, 25.0),
    "300 ms and 5% loss": (slow_network, 30.0),
    "Redis killed": (without_redis, 10.0),
    "Redis killed, data lost": (redis_loses_data, 10.0),
    "Postgres crashed": (without_postgres, 10.0),
    "worker's disk full": (full_worker_disk, 15.0),
    "disk of Postgres and Redis full": (full_control_disk, 15.0),
    "bucket full": (full_storage, 15.0),
    "bucket hangs": (hanging_storage, 15.0),
    "a host loses power": (killed_host, 20.0),
    "random hosts lose power": (killed_hosts, 60.0),
    "the control host loses power": (killed_control, 20.0),
    "rolling restart": (rolling_restart, 45.0),
    UPGRADE: (upgrade, 75.0),
}
"""Faults and the seconds that they last. Leases have their default of 15 s."""
IDLE_BY_FAULT = frozenset(
    {
        "cut off all worker hosts",
        "Postgres crashed",
        "disk of Postgres and Redis full",
        "bucket full",
        "the control host loses power",
    }
)
"""Faults that let no worker claim."""
