"""A farm of the last release on several hosts, which is upgraded to this version part by part."""

from __future__ import annotations

from db.migrate import upgrade
from tests.servers.last_release import SCHEMA, unpack_last_release
from tests.servers.network.farm import HostedFarm
from tests.servers.network.hosts import Host


class LastReleaseFarm(HostedFarm):
    """Starts with the last release's API, reaper and workers. Parts that are started later are of this version.

    The last release has no machines that join: its workers get the addresses as settings, and all hosts share one folder of
    images.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.data = self.control.directory / "data"
        self.storage_url = f"file://{self.data}"
        self._release = self.control.directory / "release"

    def start(self) -> HostedFarm:
        """Start the servers and all parts of the last release over its tables, and wait until they are ready."""
        self.start_servers()
        upgrade(self.database_url, SCHEMA)
        unpack_last_release(self._release)
        for name in ("api", "reaper"):
            self._start_old(self.control, name, name)
        self.wait_until(lambda: self.get("/healthz") is not None, "the last release's API answers")
        for host in self.workers:
            self._start_old(host, host.name, "worker")
        self.wait_workers_ready(len(self.workers))
        return self

    def upgrade_tables(self) -> None:
        """Bring the tables up to this version, under the running parts of the last release."""
        upgrade(self.database_url)

    def _start_old(self, host: Host, name: str, word: str) -> None:
        """Start `imagefarm` of the last release with this word."""
        environment = self.control_environment() | self.worker_environment(host)
        environment |= {"IMAGEFARM_DATA_DIR": str(self.data), "IMAGEFARM_WORKER_NAME": f"{host.name}-cpu"}
        environment["PYTHONPATH"] = str(self._release)
        self.programs[name] = host.start(*host.farm_command(word), environment=environment, log=f"{name}-old.log")
