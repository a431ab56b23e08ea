"""How many threads compute: physical cores, within what the process and its container may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.device.cores import numa_nodes, usable_cores


def machine(folder: Path, siblings: dict[int, str], quota: str = "max 100000") -> tuple[Path, Path]:
    """Write the kernel's files for processors and their siblings; return the two folders."""
    for number, names in siblings.items():
        topology = folder / "sys" / "cpu" / f"cpu{number}" / "topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(f"{names}\n")
    (folder / "cgroup").mkdir()
    (folder / "cgroup" / "cpu.max").write_text(f"{quota}\n")
    return folder / "sys", folder / "cgroup"


TWO_THREADS_A_CORE = {0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3"}


@pytest.mark.parametrize(
    ("allowed", "quota", "cores"),
    [
        ({0, 1, 2, 3}, "max 100000", 2),
        ({0, 2}, "max 100000", 1),
        ({0, 1, 2, 3}, "150000 100000", 2),
        ({0, 1, 2, 3}, "50000 100000", 1),
        ({7, 8}, "max 100000", 2),
        ({0, 1}, "unreadable", 2),
    ],
)
def test_threads_follow_cores_affinity_and_quota(tmp_path: Path, allowed: set[int], quota: str, cores: int) -> None:
    sysfs, cgroup = machine(tmp_path, TWO_THREADS_A_CORE, quota)
    assert usable_cores(sysfs, cgroup, allowed) == cores


def test_a_machine_without_these_files_counts_processors(tmp_path: Path) -> None:
    assert usable_cores(tmp_path, tmp_path, {0, 1, 2}) == 3
    assert usable_cores() >= 1


def test_numa_nodes_are_counted(tmp_path: Path) -> None:
    assert numa_nodes(tmp_path) == 1
    for name in ("node0", "node1", "possible"):
        (tmp_path / "node" / name).mkdir(parents=True)
    assert numa_nodes(tmp_path) == 2
