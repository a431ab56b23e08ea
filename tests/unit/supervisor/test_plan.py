"""The processes of a farm, their commands and environments."""

from __future__ import annotations

import subprocess
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


WHOLE = """GPU 0: NVIDIA GeForce RTX 3060 (UUID: GPU-11111111-aaaa-bbbb-cccc-000000000001)
GPU 1: NVIDIA GeForce RTX 4090 (UUID: GPU-22222222-aaaa-bbbb-cccc-000000000002)
"""
DIVIDED = """GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-33333333-aaaa-bbbb-cccc-000000000003)
  MIG 3g.20gb     Device  0: (UUID: MIG-44444444-aaaa-bbbb-cccc-000000000004)
  MIG 3g.20gb     Device  1: (UUID: MIG-GPU-33333333-aaaa-bbbb-cccc-000000000003/2/0)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-55555555-aaaa-bbbb-cccc-000000000005)
"""


@pytest.mark.parametrize(
    ("listed", "cards"),
    [
        (WHOLE, ["GPU-11111111-aaaa-bbbb-cccc-000000000001", "GPU-22222222-aaaa-bbbb-cccc-000000000002"]),
        (
            DIVIDED,
            [
                "MIG-44444444-aaaa-bbbb-cccc-000000000004",
                "MIG-GPU-33333333-aaaa-bbbb-cccc-000000000003/2/0",
                "GPU-55555555-aaaa-bbbb-cccc-000000000005",
            ],
        ),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", []),
        ("GPU 0: Orin (nvgpu) (UUID: 1833c8b5-aa7d-5fa9-97d5-47f5a0ff1b02)\n", ["0"]),
        (
            WHOLE.replace("NVIDIA", "\\0377"),
            ["GPU-11111111-aaaa-bbbb-cccc-000000000001", "GPU-22222222-aaaa-bbbb-cccc-000000000002"],
        ),
    ],
)
def test_cards_are_named_by_uuid_as_nvidia_smi_orders_them(
    listed: str, cards: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\nprintf '%b' \"$(cat <<'END'\n{listed}END\n)\"\n")
    tool.chmod(0o755)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert plan.visible_cards() == cards


def test_a_driver_that_hangs_leaves_the_choice_to_the_workers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def hang(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("nvidia-smi -L", 30)

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(subprocess, "run", hang)
    assert plan.visible_cards() == []
    assert "nvidia-smi does not list the GPUs" in caplog.text


@pytest.mark.parametrize(
    ("value", "cards"),
    [("", []), ("-1", []), ("NoDevFiles", []), ("1,-1,2", ["1"]), (" 3, GPU-1a2b ,MIG-3c4d", ["3", "GPU-1a2b", "MIG-3c4d"])],
)
def test_cards_end_at_the_first_value_that_is_none(value: str, cards: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert plan.visible_cards() == cards


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
