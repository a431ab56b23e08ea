"""compose.yaml and the Dockerfile match the command line and the settings; no container engine is needed."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from typer.main import get_command

from cli.main import app
from core.exposure import is_loopback
from core.settings import Settings
from tests.servers.farm import ROOT

FARM_SERVICES = {"migrate", "api", "worker", "upscaler", "model-manager", "reaper", "flower"}
SERVERS = {"postgres", "redis"}


class _Loader(yaml.SafeLoader):
    """A safe loader that accepts compose's tag `!reset`."""


_Loader.add_constructor("!reset", lambda loader, node: None)


def load(name: str) -> dict[str, Any]:
    with (ROOT / name).open() as file:
        loaded: dict[str, Any] = yaml.load(file, _Loader)  # noqa: S506 -- a safe loader with one more tag
    return loaded


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = load("compose.yaml")["services"]
    return found


def test_every_service_is_defined(services: dict[str, Any]) -> None:
    assert set(services) == FARM_SERVICES | SERVERS


@pytest.mark.parametrize("name", sorted(FARM_SERVICES))
def test_the_command_of_each_service_exists(services: dict[str, Any], name: str) -> None:
    command = get_command(app)
    for word in services[name]["command"]:
        command = command.commands[word]  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", sorted(FARM_SERVICES))
def test_the_variables_of_each_service_are_settings(services: dict[str, Any], name: str) -> None:
    known = {f"IMAGEFARM_{field.upper()}" for field in Settings.model_fields}
    assert set(services[name]["environment"]) <= known
    assert {"IMAGEFARM_DATABASE_URL", "IMAGEFARM_REDIS_URL"} <= set(services[name]["environment"])


def test_every_variable_in_the_files_is_a_setting() -> None:
    known = {f"IMAGEFARM_{field.upper()}" for field in Settings.model_fields}
    for name in ("compose.yaml", "deploy/compose.cpu.yaml", "deploy/Dockerfile"):
        assert set(re.findall(r"IMAGEFARM_[A-Z_]+", (ROOT / name).read_text())) <= known


@pytest.mark.parametrize("name", ["postgres", "redis", "api", "flower"])
def test_servers_have_health_checks(services: dict[str, Any], name: str) -> None:
    assert services[name]["healthcheck"]["test"]


@pytest.mark.parametrize(("name", "path"), [("api", "/healthz"), ("flower", "/healthcheck")])
def test_health_checks_use_the_served_port(services: dict[str, Any], name: str, path: str) -> None:
    published = services[name]["ports"][0]
    inside = published.rsplit(":", 1)[1]
    assert f"127.0.0.1:{inside}{path}" in " ".join(services[name]["healthcheck"]["test"])
    assert str(Settings.model_fields["port" if name == "api" else "flower_port"].default) == inside


def test_ports_are_published_on_loopback_only(services: dict[str, Any]) -> None:
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_the_api_answers_to_loopback_names_only_unless_others_are_listed(services: dict[str, Any]) -> None:
    value = services["api"]["environment"]["IMAGEFARM_ALLOWED_HOSTS"]
    default = re.fullmatch(r"\$\{IMAGEFARM_ALLOWED_HOSTS:-(.+)\}", value)
    assert default is not None
    settings = Settings(host="0.0.0.0", allowed_hosts=default[1])
    assert settings.allowed_hosts
    assert all(is_loopback(name) for name in settings.allowed_hosts)


def test_flower_cannot_start_without_a_password(services: dict[str, Any]) -> None:
    assert ":?" in services["flower"]["environment"]["IMAGEFARM_FLOWER_BASIC_AUTH"]


def test_the_worker_reserves_a_gpu_and_has_time_to_drain(services: dict[str, Any]) -> None:
    device = services["worker"]["deploy"]["resources"]["reservations"]["devices"][0]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    drain = Settings.model_fields["drain_seconds"].default
    assert int(services["worker"]["stop_grace_period"].removesuffix("s")) > drain


def test_redis_keeps_its_data_and_evicts_nothing(services: dict[str, Any]) -> None:
    command = " ".join(services["redis"]["command"])
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command


def test_every_volume_and_dependency_is_declared(services: dict[str, Any]) -> None:
    declared = set(load("compose.yaml")["volumes"])
    for service in services.values():
        assert {volume.split(":")[0] for volume in service.get("volumes", [])} <= declared
        assert set(service.get("depends_on", {})) <= set(services)


def test_data_is_kept_outside_the_containers(services: dict[str, Any]) -> None:
    for name in FARM_SERVICES:
        assert any(volume.endswith(":/data") for volume in services[name]["volumes"])
        assert services[name]["environment"]["IMAGEFARM_DATA_DIR"] == "/data"


def test_the_cpu_variant_changes_only_what_has_pytorch() -> None:
    variant = load("deploy/compose.cpu.yaml")["services"]
    assert set(variant) == {"worker", "upscaler", "model-manager"}
    assert all(variant[name]["deploy"] is None for name in ("worker", "upscaler"))


def test_the_dockerfile_has_the_targets_and_copies_existing_files(services: dict[str, Any]) -> None:
    text = (ROOT / "deploy" / "Dockerfile").read_text()
    targets = set(re.findall(r"^FROM \S+ AS (\w+)", text, re.MULTILINE))
    assert {services[name]["build"]["target"] for name in FARM_SERVICES} <= targets
    for line in re.findall(r"^COPY (.+)", text, re.MULTILINE):
        assert all((ROOT / source).exists() for source in line.split()[:-1])
    assert "USER imagefarm" in text


def stages() -> dict[str, str]:
    text = (ROOT / "deploy" / "Dockerfile").read_text()
    parts = re.split(r"^FROM \S+ AS (\w+)$", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_the_gpu_image_can_compile_a_models_blocks() -> None:
    found = stages()
    assert "apt-get install --yes --no-install-recommends gcc libc6-dev" in found["gpu"]
    assert "gcc" not in found["server"] + found["cpu"], "only kernels of a GPU need it"


def test_only_worker_images_contain_torch(services: dict[str, Any]) -> None:
    found = stages()
    assert "'.[server]'" in found["server"] and "torch" not in found["server"]
    assert all("'.[worker]'" in found[name] for name in ("cpu", "gpu"))
    targets = {name: services[name]["build"]["target"] for name in FARM_SERVICES}
    on_gpu = {"worker": "gpu", "upscaler": "gpu", "model-manager": "gpu"}
    assert targets == dict.fromkeys(FARM_SERVICES, "server") | on_gpu
    assert all(services[name]["image"] == f"imagefarm:{target}" for name, target in targets.items())
    for variant in load("deploy/compose.cpu.yaml")["services"].values():
        assert (variant["image"], variant["build"]["target"]) == ("imagefarm:cpu", "cpu")
