"""Dashboards and alert rules name metrics that `/metrics` has, and the rules fire when they should.

Prometheus' `promtool` checks the rules and runs their own tests. `scripts/test.sh` gets it from Debian.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from api.metrics import Metrics
from tests.conftest import find_tool, missing_tool
from tests.servers.farm import ROOT

PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARDS = sorted((ROOT / "deploy" / "grafana").glob("*.json"))
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
ELSEWHERE = {"up"}
"""Metrics that Prometheus itself writes for each target."""
WORDS = frozenset(
    (
        "histogram_quantile",
        "label_values",
        "sum",
        "max",
        "min",
        "count",
        "by",
        "without",
        "on",
        "ignoring",
        "and",
        "unless",
        "or",
        "rate",
        "increase",
    )
)
_STRING, _GROUPING = re.compile(r'"[^"]*"'), re.compile(r"\b(?:by|without|on|ignoring) \(([^)]*)\)")
_LABELS, _NAME = re.compile(r"\{[^}]*\}"), re.compile(r"\b[a-zA-Z_:][a-zA-Z0-9_:]*\b")


@pytest.fixture(scope="module")
def exposed() -> set[str]:
    """Return the names of all series that an API can report, also while no worker has sent a value."""
    families = text_string_to_metric_families(Metrics().text().decode())
    return {family.name + suffix for family in families for suffix in SUFFIXES[family.type]} | ELSEWHERE


def rules() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"][0]["rules"]
    return found


def expressions() -> Iterator[tuple[str, str]]:
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for path in DASHBOARDS:
        dashboard = json.loads(path.read_text())
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                yield f"{path.stem}: {panel['title']}", target["expr"]
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                yield f"{path.stem}: ${variable['name']}", variable["query"]["query"].partition(",")[0] + ")"


def names_in(expression: str) -> set[str]:
    """Return the metrics that an expression names: its words, without labels, durations, functions and operators."""
    bare = _LABELS.sub("", _STRING.sub('""', expression))
    bare = re.sub(r"\[\d+[smhd]\]", "", _GROUPING.sub("", bare))
    return {word for word in _NAME.findall(bare) if word not in WORDS and not word.isdigit()} - {"e6"}


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_every_metric_that_is_named_exists(where: str, expression: str, exposed: set[str]) -> None:
    named = names_in(expression)
    assert named, where
    assert named <= exposed
    for opening, closing in ("()", "{}", "[]"):
        assert expression.count(opening) == expression.count(closing)


def test_names_are_found_in_an_expression() -> None:
    found = names_in('sum by (model) (rate(a_total{model=~"$model", b="c"}[5m])) / on (worker) max without (d) (e) / 1e6')
    assert found == {"a_total", "e"}


def test_each_metric_of_the_farm_is_on_a_dashboard_or_in_a_rule(exposed: set[str]) -> None:
    """Gauges and totals; a histogram counts with any of its series."""
    named = set().union(*(names_in(expression) for _, expression in expressions()))
    stems = {re.sub(r"_(bucket|sum|count)$", "", name) for name in named}
    shown = {name for name in exposed if name in named or re.sub(r"_(bucket|sum|count)$", "", name) in stems}
    assert exposed - shown == set()


def test_every_panel_has_a_place_of_its_own() -> None:
    for path in DASHBOARDS:
        taken: set[tuple[int, int]] = set()
        for panel in json.loads(path.read_text())["panels"]:
            at = panel["gridPos"]
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            assert at["x"] + at["w"] <= 24
            assert not cells & taken, panel["title"]
            taken |= cells


def test_every_rule_is_tested_both_ways() -> None:
    healthy, troubled = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())["tests"]
    names = [rule["alert"] for rule in rules()]
    assert [case["alertname"] for case in healthy["alert_rule_test"]] == names
    assert [case["alertname"] for case in troubled["alert_rule_test"]] == names
    assert not any(case["exp_alerts"] for case in healthy["alert_rule_test"])
    assert all(case["exp_alerts"] for case in troubled["alert_rule_test"])


def test_every_rule_says_what_to_do() -> None:
    for rule in rules():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert {"summary", "action"} == set(rule["annotations"])


@pytest.fixture(scope="module")
def promtool() -> str:
    """Return the path of Prometheus' tool."""
    found = find_tool("promtool")
    if found is None:
        missing_tool("promtool (Debian: prometheus) is not installed: the rules were not run")
    return str(found)


@pytest.mark.parametrize("command", [("test", "rules", "alerts_test.yml"), ("check", "rules", "alerts.yml")])
def test_promtool_accepts_the_rules_and_their_tests_pass(promtool: str, command: tuple[str, ...]) -> None:
    done = subprocess.run([promtool, *command], cwd=PROMETHEUS, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_can_parse_every_panel(promtool: str, tmp_path: Path) -> None:
    known = re.compile(r"\$(model|worker)")
    panels = [known.sub("x", expression) for where, expression in expressions() if "label_values" not in expression]
    written = [{"record": f"panel{number}", "expr": expression} for number, expression in enumerate(panels)]
    (tmp_path / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": written}]}))
    command = [promtool, "check", "rules", "panels.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
