"""What is refused before a job is queued, and what a warm start takes from its version."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from llactr_core.errors import ConflictError, NotFoundError, OptionError, PermissionDenied, SchemaError
from llactr_core.schema import Schema
from services.ctr.jobs.checks import check_refresh, check_train
from services.ctr.payloads import RefreshPlan, TrainRequest
from services.ctr.registry.store import Registry
from services.ctr.settings import CtrSettings


@pytest.fixture
def start(registry: Registry, tiny: Any) -> str:
    """A version to start from: fm, width 4, no enhancer; the champion."""
    lineage = tiny.lineage_of(options={**tiny.options, "backbone": "fm", "enhancer": "none"})
    registry.register("tiny", "v1", lineage, {})
    registry.set_alias("tiny", "champion", "v1")
    return "v1"


@pytest.mark.usefixtures("start")
@pytest.mark.parametrize(
    ("change", "kind", "word"),
    [
        ({"warm_start": "nothing"}, NotFoundError, "nothing"),
        (
            {"warm_start": "champion", "backbone": "deepfm"},
            OptionError,
            "'champion' was trained with 'fm'",
        ),
        ({"warm_start": "v1", "options": {"width": 8}}, OptionError, "width is 8"),
        ({"warm_start": "v1", "options": {"epochz": 8}}, OptionError, "epochz"),
        ({"warm_start": "v1", "label": "other"}, SchemaError, "give one"),
        (
            {"warm_start": "v1", "schema": {"name": "x", "label": "click", "fields": [{"name": "job"}]}},
            SchemaError,
            "keeps the fields",
        ),
        ({}, SchemaError, "neither a schema nor a label"),
        ({"label": "click", "dataset": "/etc"}, PermissionDenied, "allowed folders"),
        ({"label": "click", "dataset": "nowhere"}, NotFoundError, "nowhere"),
    ],
)
def test_a_training_that_cannot_work_is_refused(
    registry: Registry, settings: CtrSettings, dataset: Path, change: dict[str, Any], kind: type[Exception], word: str
) -> None:
    request = TrainRequest.model_validate({"dataset": str(dataset)} | change)
    with pytest.raises(kind, match=word):
        check_train(request, "tiny", registry, settings)


@pytest.mark.usefixtures("start")
def test_a_warm_start_takes_what_is_not_given_from_its_version(
    registry: Registry, settings: CtrSettings, dataset: Path, tiny: Any
) -> None:
    request = TrainRequest.model_validate(
        {"dataset": str(dataset), "warm_start": "champion", "options": {"epochs": 9}, "enhancer": "llactr"}
    )
    checked = check_train(request, "tiny", registry, settings)
    assert checked == request.model_copy(update={"warm_start": "v1"}), "a job keeps to what the alias meant"
    lineage = registry.get("tiny", "champion").lineage
    options = request.options_over(lineage.options)
    assert (options.backbone, options.width, options.epochs, options.enhancer) == ("fm", 4, 9, "llactr")
    assert request.schema_over(Schema.parse(lineage.data_schema)) == tiny.schema


def test_without_a_warm_start_the_defaults_hold(dataset: Path) -> None:
    options = TrainRequest.model_validate({"dataset": str(dataset), "label": "click"}).options_over(None)
    assert (options.backbone, options.enhancer) == ("deepfm", "llactr")


@pytest.mark.parametrize(
    ("plan", "word"),
    [
        ({"mode": "anew"}, "retrain"),
        ({"table_version": "current", "ssft": {"epochs": 1}}, "nothing is tuned"),
        ({"table_version": "current", "llm": "small"}, "leave llm out"),
        ({"mode": "re-enhance", "options": {"width": 8}}, "keeps the champion's width"),
        ({"mode": "re-enhance", "options": {"backbone": "fm"}}, "keeps the champion's backbone"),
        ({"options": {"enhancer": "none"}}, "train call"),
        ({"options": {"backbone": ["fm"]}}, "no backbone"),
        ({"model": "a:b"}, "model"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_refresh_that_contradicts_itself_is_refused(plan: dict[str, Any], word: str) -> None:
    with pytest.raises(ValidationError, match=word):
        RefreshPlan.model_validate(plan)


def test_a_refresh_is_checked_against_the_champion(
    registry: Registry, settings: CtrSettings, tiny: Any, start: str, publish: Callable[..., str]
) -> None:
    with pytest.raises(ConflictError, match="without field semantics"):
        check_refresh(RefreshPlan(), "tiny", registry, settings)
    with pytest.raises(NotFoundError, match="nobody"):
        check_refresh(RefreshPlan(), "nobody", registry, settings)
    registry.register("tiny", "v2", tiny.lineage_of(enhancer="llactr"), {})
    registry.set_alias("tiny", "champion", "v2")
    check_refresh(RefreshPlan(), "tiny", registry, settings)
    for plan, kind in (
        (RefreshPlan(ssft={"speed": 1}), OptionError),
        (RefreshPlan(options={"epochs": "many"}), OptionError),
        (RefreshPlan(dataset="/etc"), PermissionDenied),
    ):
        with pytest.raises(kind):
            check_refresh(plan, "tiny", registry, settings)


NOT_TUNED = {"larr": {"pretrain_epochs": 0, "contrast_epochs": 0}}


def test_a_field_table_is_not_named_where_larr_tunes_a_model_of_its_own(
    registry: Registry, settings: CtrSettings, dataset: Path
) -> None:
    asked = {"dataset": str(dataset), "label": "click", "enhancer": "larr", "table_version": "v7"}
    with pytest.raises(OptionError, match=r"leave it out, or set larr\.pretrain_epochs") as refused:
        check_train(TrainRequest.model_validate(asked), "tiny", registry, settings)
    assert (refused.value.field, refused.value.status) == ("table_version", 422)
    for fits in ({"options": NOT_TUNED}, {"table_version": "current"}, {"enhancer": "llactr"}):
        check_train(TrainRequest.model_validate(asked | fits), "tiny", registry, settings)


def test_ssft_has_no_options_where_larr_tunes_the_model(registry: Registry, settings: CtrSettings, tiny: Any) -> None:
    lineage = tiny.lineage_of(enhancer="larr", table_version="v0", options={**tiny.options, "enhancer": "larr"})
    registry.register("tiny", "v1", lineage, {})
    registry.set_alias("tiny", "champion", "v1")
    with pytest.raises(OptionError, match="'ssft' has epochs, but the enhancer 'larr'") as refused:
        check_refresh(RefreshPlan(ssft={"epochs": 1}), "tiny", registry, settings)
    assert refused.value.field == "ssft"
    fitting: dict[str, Any]
    for fitting in ({"llm": "small"}, {"table_version": "v7"}, {"ssft": {"epochs": 1}, "options": NOT_TUNED}):
        check_refresh(RefreshPlan(**fitting), "tiny", registry, settings)


def test_re_enhance_takes_few_epochs_unless_told() -> None:
    champion = {"backbone": "fm", "epochs": 30, "enhancer": "llactr"}
    assert RefreshPlan().options_over(champion).epochs == 30
    assert RefreshPlan(mode="re-enhance").options_over(champion).epochs == 3
    assert RefreshPlan(mode="re-enhance", options={"epochs": 7}).options_over(champion).epochs == 7
