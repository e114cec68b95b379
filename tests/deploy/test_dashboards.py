"""Grafana's dashboards and Prometheus' rules as data: every query names a metric that the services export."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import services.ctr.app
import services.llm.app  # noqa: F401 - both declare the metrics that a whole deployment exports
from services.shared.telemetry import metrics

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
FUNCTIONS = {
    *("sum", "max", "topk", "rate", "increase", "histogram_quantile", "time", "by", "or", "and", "le"),
}
OF_PROMETHEUS = {"up", "job", "service"}
KNOWN = {name: set(labels) for name, _, labels, _ in metrics.described()}
KINDS = {name: kind for name, kind, *_ in metrics.described()}
TARGET_LABELS = {"service", "job", "instance"}


def panels(file: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["panels"]
    return found


def rules() -> list[tuple[str, str]]:
    content = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text(encoding="utf-8"))
    return [(rule["alert"], rule["expr"]) for group in content["groups"] for rule in group["rules"]]


QUERIES = [
    *(
        (f"{file.stem}-{panel['id']}", target["expr"])
        for file in DASHBOARDS
        for panel in panels(file)
        for target in panel["targets"]
    ),
    *rules(),
]


def metric_of(name: str) -> str:
    """The metric of a series: a histogram has three."""
    base = re.sub(r"_(bucket|sum|count)$", "", name)
    return base if KINDS.get(base) == "histogram" else name


@pytest.mark.parametrize(
    ("name", "query"), QUERIES, ids=[f"{number}-{name}" for number, (name, _) in enumerate(QUERIES)]
)
def test_a_query_names_what_the_services_export(name: str, query: str) -> None:
    used = {metric_of(series) for series in re.findall(r"\bllactr_\w+", query)}
    assert used or "up{" in query
    assert used <= KNOWN.keys(), used - KNOWN.keys()
    labels = set().union(TARGET_LABELS, {"le"}, *(KNOWN[metric] for metric in used))
    assert set(re.findall(r'(\w+)(?:!=|=~|=)"', query)) <= labels
    assert {label.strip() for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(",")} <= labels
    words = set(re.findall(r"[a-z_]{2,}", re.sub(r'"[^"]*"|llactr_\w+|\bby \([^)]*\)|\{[^}]*\}|\[\w+\]', " ", query)))
    assert words <= FUNCTIONS | OF_PROMETHEUS, words - FUNCTIONS
    assert query.count("(") == query.count(")")
    if "rate(" in query or "increase(" in query:
        assert all(KINDS[metric] in ("counter", "histogram") for metric in used)


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_a_dashboard_can_be_provisioned(file: Path) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    assert content["uid"].startswith("llactr-")
    ids = [panel["id"] for panel in content["panels"]]
    assert len(ids) == len(set(ids)) > 0
    source = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text(encoding="utf-8"))
    assert {panel["datasource"]["uid"] for panel in content["panels"]} == {source["datasources"][0]["uid"]}
    assert all(panel["title"] and panel["targets"] for panel in content["panels"])


def test_prometheus_scrapes_every_process_of_ours() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    targets = {t for job in config["scrape_configs"] for one in job["static_configs"] for t in one["targets"]}
    assert targets == {"llm-api:8001", "ctr-api:8000", "llm-worker:9101", "ctr-worker:9101"}
    assert "credentials_file" in config["scrape_configs"][0]["authorization"]
    assert config["rule_files"] == ["alerts.yml"]
