"""The compose files of a control box and a worker box match `compose.yaml`, the command line and the settings."""

from __future__ import annotations

import re
from typing import Any

from core.settings import Settings
from tests.servers.farm import ROOT
from tests.unit.deploy.test_compose import FARM_SERVICES, SERVERS, load

CONTROL, WORKER = "deploy/compose.control.yaml", "deploy/compose.worker.yaml"
OF_COMPOSE = {"IMAGEFARM_PRIVATE_ADDRESS", "IMAGEFARM_CONTROL_ADDRESS", "IMAGEFARM_SHARED_DIR", "IMAGEFARM_BOX"}
"""Variables of the files themselves."""


def services(name: str) -> dict[str, Any]:
    found: dict[str, Any] = load(name)["services"]
    return found


def test_every_variable_is_a_setting() -> None:
    known = {f"IMAGEFARM_{field.upper()}" for field in Settings.model_fields} | OF_COMPOSE
    for name in (CONTROL, WORKER):
        assert set(re.findall(r"IMAGEFARM_[A-Z_]+", (ROOT / name).read_text())) <= known


def test_the_control_box_has_every_part_but_workers() -> None:
    control = services(CONTROL)
    assert set(control) == FARM_SERVICES | SERVERS
    assert {name for name in control if control[name].get("profiles") == ["gpu"]} == {"worker", "upscaler"}
    for name in FARM_SERVICES:
        assert ":${REDIS_PASSWORD:?" in control[name]["environment"]["IMAGEFARM_REDIS_URL"]


def test_servers_listen_on_the_private_address_with_a_password() -> None:
    control = services(CONTROL)
    for name in SERVERS:
        (port,) = control[name]["ports"]
        assert port.startswith("${IMAGEFARM_PRIVATE_ADDRESS:?")
    command = control["redis"]["command"]
    assert command[:-2] == services("compose.yaml")["redis"]["command"]
    assert command[-2:] == ["--requirepass", control["redis"]["environment"]["REDISCLI_AUTH"]]


def test_a_worker_box_reaches_the_control_box_and_has_time_to_drain() -> None:
    for name, service in services(WORKER).items():
        environment = service["environment"]
        for url in ("IMAGEFARM_DATABASE_URL", "IMAGEFARM_REDIS_URL"):
            assert "@${IMAGEFARM_CONTROL_ADDRESS:?" in environment[url], name
        assert int(service["stop_grace_period"].removesuffix("s")) > Settings.model_fields["drain_seconds"].default
        assert service["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]
        assert (ROOT / "deploy" / service["build"]["context"] / service["build"]["dockerfile"]).exists()
    assert services(WORKER)["upscaler"]["environment"]["IMAGEFARM_MODEL"] == "upscale"
