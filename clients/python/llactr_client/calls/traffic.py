"""The calls of a model's traffic: plans, shadows, outcomes, live quality."""

from collections.abc import Sequence
from dataclasses import asdict

from llactr_client import parsing
from llactr_client.call import JSON, Call, Reply, asked, encode, given, path
from llactr_client.ctr_results import (
    Drift,
    Numbers,
    Outcome,
    Quality,
    Shadow,
    ShadowPair,
    TrafficPlan,
    VersionQuality,
)
from llactr_client.parsing import Content


def traffic(model: str) -> Call[TrafficPlan]:
    """Who answers a model's requests, who is compared, and how much is logged."""
    return Call("ctr", "GET", path("v1", "models", model, "traffic"), _plan)


def set_traffic(model: str, plan: TrafficPlan) -> Call[TrafficPlan]:
    """Replace a model's traffic plan; the answer's weights sum to 1."""
    body = given(
        {
            "arms": [{"alias": alias, "weight": weight} for alias, weight in plan.arms.items()],
            "salt": plan.salt,
            "shadow": None if plan.shadow is None else asdict(plan.shadow),
            "log_share": plan.log_share,
        }
    )
    return Call("ctr", "PUT", path("v1", "admin", "models", model, "traffic"), _plan, encode(body), JSON)


def delete_traffic(model: str) -> Call[TrafficPlan]:
    """Let the champion answer all again; the plan that holds then."""
    return Call("ctr", "DELETE", path("v1", "admin", "models", model, "traffic"), _plan)


def shadow_report(model: str, *, window_hours: float = 24.0) -> Call[tuple[ShadowPair, ...]]:
    """How shadows scored what other versions answered, the largest pair first."""

    def parse(reply: Reply) -> tuple[ShadowPair, ...]:
        return tuple(_pair(entry) for entry in parsing.objects(reply.object(), "pairs"))

    return Call(
        "ctr", "GET", path("v1", "models", model, "shadow"), parse, params=asked({"window_hours": window_hours})
    )


def report_outcomes(outcomes: Sequence[Outcome]) -> Call[int]:
    """Tell what came of scored rows; how many labels were taken. A later label for the same row replaces it."""
    body = encode({"outcomes": [given(asdict(outcome)) for outcome in outcomes]})
    return Call("ctr", "POST", "/v1/outcomes", lambda reply: parsing.whole(reply.object(), "accepted"), body, JSON)


def quality(model: str, *, window_hours: float = 24.0, version: str | None = None) -> Call[Quality]:
    """How the scores of the last hours hold against their outcomes, and how far the rows have drifted."""
    params = asked({"window_hours": window_hours, "version": version})
    return Call("ctr", "GET", path("v1", "models", model, "quality"), _quality, params=params)


def _plan(reply: Reply) -> TrafficPlan:
    content = reply.object()
    shadow = parsing.mapping(content, "shadow")
    return TrafficPlan(
        arms={parsing.text(arm, "alias"): parsing.real(arm, "weight") for arm in parsing.objects(content, "arms")},
        salt=parsing.text(content, "salt"),
        shadow=Shadow(parsing.text(shadow, "alias"), parsing.real(shadow, "share")) if shadow else None,
        log_share=parsing.number(content, "log_share"),
    )


def _pair(content: Content) -> ShadowPair:
    return ShadowPair(
        version=parsing.text(content, "version"),
        shadow=parsing.text(content, "shadow"),
        rows=parsing.whole(content, "rows"),
        mean_difference=parsing.real(content, "mean_difference"),
        largest_difference=parsing.real(content, "largest_difference"),
        correlation=parsing.number(content, "correlation"),
        mean_score=parsing.real(content, "mean_score"),
        mean_shadow=parsing.real(content, "mean_shadow"),
    )


def _quality(reply: Reply) -> Quality:
    content = reply.object()
    labels = parsing.mapping(content, "outcomes")
    return Quality(
        model=parsing.text(content, "model"),
        window_hours=parsing.real(content, "window_hours"),
        capped=content.get("capped") is True,
        versions=tuple(_version(entry) for entry in parsing.objects(content, "versions")),
        drift=tuple(_drift(entry) for entry in parsing.objects(content, "drift")),
        labels_received=parsing.whole(labels, "received"),
        labels_unmatched=parsing.whole(labels, "unmatched"),
    )


def _version(content: Content) -> VersionQuality:
    arms = parsing.mapping(content, "arms")
    return VersionQuality(
        version=parsing.text(content, "version"),
        shadow=content.get("shadow") is True,
        numbers=_numbers(content),
        arms={alias: _numbers(parsing.mapping(arms, alias)) for alias in arms},
    )


def _numbers(content: Content) -> Numbers:
    return Numbers(
        rows=parsing.whole(content, "rows"),
        labelled=parsing.whole(content, "labelled"),
        clicks=parsing.whole(content, "clicks"),
        predicted=parsing.real(content, "predicted"),
        auc=parsing.number(content, "auc"),
        logloss=parsing.number(content, "logloss"),
        ece=parsing.number(content, "ece"),
        predicted_over_true=parsing.number(content, "predicted_over_true"),
    )


def _drift(content: Content) -> Drift:
    fields = parsing.mapping(content, "fields")
    return Drift(
        version=parsing.text(content, "version"),
        rows=parsing.whole(content, "rows"),
        scores=parsing.real(content, "scores"),
        fields={name: parsing.real(fields, name) for name in fields},
    )
