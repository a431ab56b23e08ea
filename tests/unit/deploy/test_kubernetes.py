"""The Kubernetes manifests are valid by the schemas of Kubernetes and match the farm's commands, ports and settings.

Schemas come with the package kubernetes-validate. KEDA's own kinds have none there: their form is checked field by field.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from typer.main import get_command

from api.app import create_app
from cli.main import app
from core.settings import Settings
from tests.servers.farm import ROOT

SOURCE = ROOT / "deploy" / "kubernetes"
KEDA_KINDS = {"ScaledObject", "TriggerAuthentication"}
Manifest = dict[str, Any]


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    """Return what `kubectl kustomize` makes of the farm with KEDA; without kubectl, the files that it would read."""
    folder = tmp_path_factory.mktemp("kubernetes") / "kubernetes"
    shutil.copytree(SOURCE, folder)
    (folder / "base" / "secrets.example.env").rename(folder / "base" / "secrets.env")
    (folder / "keda" / "keda.example.env").rename(folder / "keda" / "keda.env")
    if shutil.which("kubectl") is None:
        return raw(folder)
    command = ["kubectl", "kustomize", str(folder / "keda")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


def raw(folder: Path) -> list[Manifest]:
    """Return the resources of the files that the kustomizations list."""
    names = [
        folder / part / name
        for part in ("base", "keda")
        for name in yaml.safe_load((folder / part / "kustomization.yaml").read_text())["resources"]
        if name.endswith(".yaml")
    ]
    return [manifest for name in names for manifest in yaml.safe_load_all(name.read_text()) if manifest]


def of_kind(manifests: list[Manifest], *kinds: str) -> dict[str, Manifest]:
    return {manifest["metadata"]["name"]: manifest for manifest in manifests if manifest["kind"] in kinds}


def pod(manifest: Manifest) -> Manifest:
    spec: Manifest = manifest["spec"]["template"]["spec"]
    return spec


def farm_containers(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Return the containers that run a command of this project, by name."""
    return {
        container["name"]: container
        for manifest in of_kind(manifests, "Deployment").values()
        for container in [*pod(manifest)["containers"], *pod(manifest).get("initContainers", [])]
    }


def test_every_manifest_is_valid_by_its_schema(manifests: list[Manifest]) -> None:
    checked = [manifest for manifest in manifests if manifest["kind"] not in KEDA_KINDS]
    assert len(checked) > 20
    for manifest in checked:
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def test_every_command_of_a_pod_exists(manifests: list[Manifest]) -> None:
    containers = farm_containers(manifests)
    assert set(containers) >= {"api", "migrate", "reaper", "worker", "upscaler", "model-manager", "flower"}
    for container in containers.values():
        command = get_command(app)
        for word in container["args"]:
            if word.startswith("-"):
                break
            command = command.commands[word]  # type: ignore[attr-defined]


def test_every_variable_is_a_setting() -> None:
    known = {f"IMAGEFARM_{name.upper()}" for name in Settings.model_fields}
    base = yaml.safe_load((SOURCE / "base" / "kustomization.yaml").read_text())
    named = {literal.partition("=")[0] for literal in base["configMapGenerator"][0]["literals"]}
    secret = (SOURCE / "base" / "secrets.example.env").read_text().splitlines()
    named |= {line.partition("=")[0] for line in secret if line.startswith("IMAGEFARM_")}
    for path in (SOURCE / "base").glob("*.yaml"):
        for manifest in yaml.safe_load_all(path.read_text()):
            if manifest["kind"] == "Deployment":
                named |= {each["name"] for each in pod(manifest)["containers"][0].get("env", [])}
    assert "IMAGEFARM_DATABASE_URL" in named
    assert named <= known


def test_no_secret_is_in_the_repository() -> None:
    tracked = subprocess.run(["git", "ls-files", "deploy"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "secrets.env" not in tracked
    assert all("change-" in line for line in (SOURCE / "base" / "secrets.example.env").read_text().split())


def test_workers_have_a_gpu_and_more_time_to_stop_than_they_drain(manifests: list[Manifest]) -> None:
    base = yaml.safe_load((SOURCE / "base" / "kustomization.yaml").read_text())
    values = dict(literal.split("=", 1) for literal in base["configMapGenerator"][0]["literals"])
    for name in ("worker", "upscaler"):
        spec = pod(of_kind(manifests, "Deployment")[name])
        assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
        assert int(values["IMAGEFARM_DRAIN_SECONDS"]) + 5 <= spec["terminationGracePeriodSeconds"] <= 30
        probe = spec["containers"][0]["livenessProbe"]
        assert values["IMAGEFARM_HEARTBEAT_FILE"] in probe["exec"]["command"][-1]
        assert probe["periodSeconds"] * probe["failureThreshold"] > 10 * Settings.model_fields["heartbeat_seconds"].default


def test_probes_call_what_the_api_serves_on_a_name_that_it_answers(manifests: list[Manifest]) -> None:
    container = farm_containers(manifests)["api"]
    served = create_app(Settings(_env_file=None)).openapi()["paths"]
    paths = {name: container[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert paths == {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    assert set(paths.values()) <= set(served)
    for name in paths:
        assert container[name]["httpGet"]["httpHeaders"] == [{"name": "Host", "value": "localhost"}]
    assert container["ports"][0]["containerPort"] == Settings.model_fields["port"].default


def test_every_selector_finds_pods(manifests: list[Manifest]) -> None:
    workloads = of_kind(manifests, "Deployment", "StatefulSet").values()
    labels = [workload["spec"]["template"]["metadata"]["labels"] for workload in workloads]
    wanted = [service["spec"]["selector"] for service in of_kind(manifests, "Service").values()]
    wanted += [budget["spec"]["selector"]["matchLabels"] for budget in of_kind(manifests, "PodDisruptionBudget").values()]
    policies = of_kind(manifests, "NetworkPolicy").values()
    wanted += [manifest["spec"]["podSelector"].get("matchLabels", {}) for manifest in policies]
    for selector in wanted:
        assert any(selector.items() <= found.items() for found in labels), selector


def test_nothing_is_reachable_unless_a_policy_allows_it(manifests: list[Manifest]) -> None:
    policies = of_kind(manifests, "NetworkPolicy")
    assert policies["deny-all"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    open_ports = {
        port["port"] for policy in policies.values() for rule in policy["spec"].get("ingress", []) for port in rule["ports"]
    }
    assert open_ports == {7860, 5432, 6379}


def test_the_scaler_reads_a_field_that_the_api_answers_with(manifests: list[Manifest]) -> None:
    scaled, trigger = of_kind(manifests, "ScaledObject")["worker"]["spec"], "metrics-api"
    (found,) = scaled["triggers"]
    assert found["type"] == trigger
    values = found["metadata"]
    document = create_app(Settings(_env_file=None)).openapi()
    assert "/v1/scaling" in document["paths"]
    assert values["url"].partition("?")[0].endswith(":7860/v1/scaling")
    assert values["valueLocation"] in document["components"]["schemas"]["Scaling"]["properties"]
    assert all(isinstance(value, str) for value in values.values()), "KEDA takes text only"
    assert (scaled["minReplicaCount"], scaled["scaleTargetRef"]) == (0, {"name": "worker"})
    assert scaled["cooldownPeriod"] >= 300
    authentication = of_kind(manifests, "TriggerAuthentication")[found["authenticationRef"]["name"]]
    assert values["authMode"] == "bearer"
    assert [each["parameter"] for each in authentication["spec"]["secretTargetRef"]] == ["token"]


def test_keda_owns_the_number_of_workers_and_secrets_are_made(manifests: list[Manifest]) -> None:
    if shutil.which("kubectl") is None:
        # Not `missing_tool`: neither Debian nor PyPI has a kubectl that knows these fields.
        pytest.skip("kubectl is not installed: patches and secrets were not built")
    deployments = of_kind(manifests, "Deployment")
    assert "replicas" not in deployments["worker"]["spec"]
    assert deployments["api"]["spec"]["replicas"] == 2
    names = [name.rpartition("-")[0] for name in of_kind(manifests, "Secret")]
    assert sorted(names) == ["imagefarm", "imagefarm-keda"]
    (name,) = (name for name in of_kind(manifests, "Secret") if not name.startswith("imagefarm-keda"))
    assert farm_containers(manifests)["api"]["envFrom"][1]["secretRef"]["name"] == name
