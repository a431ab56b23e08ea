"""What GitHub runs is what a contributor runs, on a checkout that has what the tests need."""

from __future__ import annotations

import os

import yaml

from tests.servers.farm import ROOT


def test_the_workflow_runs_the_script_on_a_checkout_with_history() -> None:
    """Without the history, the tests of an upgrade from the last release are skipped."""
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    (job,) = workflow["jobs"].values()
    checkout = next(step for step in job["steps"] if step.get("uses", "").startswith("actions/checkout@"))
    assert checkout.get("with", {}).get("fetch-depth") == 0
    assert job["steps"][-1]["run"] == ".ci/run"
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
