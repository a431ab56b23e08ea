"""The processes of a farm, their commands and environments."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.settings import Settings
from supervisor import plan
from supervisor.child import ChildSpec
from supervisor.plan import Addresses

ADDRESSES = Addresses("127.0.0.1", 7860, "127.0.0.1", 5555, "redis://127.0.0.1:1/0")


def workers(settings: Settings) -> list[ChildSpec]:
    return [spec for spec in plan.children(settings, ADDRESSES) if spec.name.startswith("worker")]


def test_worker_names_are_unique_and_stable(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, workers=3)
    names = [spec.environment["IMAGEFARM_WORKER_NAME"] for spec in workers(settings)]
    assert len(set(names)) == 3
    assert names == [spec.environment["IMAGEFARM_WORKER_NAME"] for spec in workers(settings)]


def test_farms_on_one_host_have_different_worker_names(tmp_path: Path) -> None:
    found = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        found.add(workers(Settings(data_dir=tmp_path / name))[0].environment["IMAGEFARM_WORKER_NAME"])
    assert len(found) == 2


def test_each_worker_gets_one_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    cards = [spec.environment["CUDA_VISIBLE_DEVICES"] for spec in workers(Settings(data_dir=tmp_path, workers=3))]
    assert cards == ["2", "5", "2"]


def test_workers_on_a_cpu_share_its_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert all(int(s.environment["OMP_NUM_THREADS"]) >= 1 for s in workers(Settings(data_dir=tmp_path, workers=2)))
    assert "OMP_NUM_THREADS" not in workers(Settings(data_dir=tmp_path))[0].environment


def test_children_get_the_chosen_addresses(tmp_path: Path) -> None:
    for spec in plan.children(Settings(data_dir=tmp_path), ADDRESSES):
        assert spec.environment["IMAGEFARM_REDIS_URL"] == ADDRESSES.redis_url
        assert Path(spec.environment["IMAGEFARM_DATA_DIR"]) == tmp_path
        assert spec.environment["IMAGEFARM_DATABASE_URL"].startswith("sqlite:///")


def test_upscaling_workers_have_names_and_the_queue_of_their_own(tmp_path: Path) -> None:
    for count in (0, 1, 2):
        settings = Settings(data_dir=tmp_path, upscale_workers=count, model="demo")
        specs = [spec for spec in plan.children(settings, ADDRESSES) if spec.name.startswith("upscaler")]
        assert len({spec.environment["IMAGEFARM_WORKER_NAME"] for spec in specs}) == count
        assert {spec.environment["IMAGEFARM_MODEL"] for spec in specs} <= {"upscale"}
        assert all("upscaler" in spec.command and spec.on_demand for spec in specs)
        assert workers(settings)[0].environment["IMAGEFARM_MODEL"] == "demo"


def test_upscaling_workers_may_stay_from_the_start(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, upscaler_idle_minutes=0)
    (spec,) = [spec for spec in plan.children(settings, ADDRESSES) if spec.name == "upscaler"]
    assert not spec.on_demand
    assert spec.command[-1] == "worker"


def test_what_no_first_image_needs_starts_after_the_api(tmp_path: Path) -> None:
    specs = plan.children(Settings(data_dir=tmp_path), ADDRESSES)
    assert [spec.name for spec in specs if not (spec.waits_for_api or spec.on_demand)] == ["worker", "api"]
    assert [spec.name for spec in specs if spec.waits_for_api] == ["reaper", "flower"]


def test_no_workers_is_a_farm_too(tmp_path: Path) -> None:
    names = [spec.name for spec in plan.children(Settings(data_dir=tmp_path, workers=0), ADDRESSES)]
    assert names == ["api", "reaper", "flower"]


@pytest.mark.parametrize(("host", "shown"), [("0.0.0.0", "127.0.0.1"), ("::1", "[::1]"), ("farm.example", "farm.example")])
def test_printed_addresses_can_be_opened(host: str, shown: str) -> None:
    assert Addresses(host, 80, host, 81, "").api == f"http://{shown}:80"
