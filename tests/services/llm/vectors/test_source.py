"""Who reads the texts: what decides the vectors of a model and of a field table, and when that can no longer be had."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import delete

from llactr_core.errors import ArtifactError, NotFoundError, UnavailableError
from llactr_core.semantics.table import FieldTable
from llactr_core.semantics.template import default_template
from llactr_core.semantics.weights import model_digest
from services.llm.rows import FieldTableRow, TableAliasRow
from services.llm.settings import LlmSettings
from services.llm.tables.pointers import Pointers
from services.llm.tables.store import Origin, TableStore
from services.llm.tables.table_info import TableInfo
from services.llm.vectors import source
from services.llm.vectors.source import Sources
from services.shared.storage.cache import Cache
from services.shared.storage.storage import Storage, migrate


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


@pytest.fixture
def tables(tmp_path: Path, model: Path) -> TableStore:
    settings = LlmSettings(home=tmp_path, model=str(model))
    storage = Storage(settings.storage_url)
    migrate(storage, "services.llm")
    return TableStore(storage, settings)


def pointers_of(tables: TableStore) -> Pointers:
    pointers = Pointers(tables.storage, Cache(None), 60)
    tables.watch(pointers.follow)
    pointers.follow()
    return pointers


def sources_of(tables: TableStore) -> Sources:
    return Sources(tables, pointers_of(tables))


def published(
    tables: TableStore, model: Path, adapter: Path | None = None, recipe: str = "0" * 64, **provenance: Any
) -> TableInfo:
    facts = {"model_digest": model_digest(model), "template": default_template(model).to_json(), **provenance}
    table = FieldTable(("a",), np.ones((1, 32), np.float32), "model", recipe, facts, {})
    return tables.publish(table, Origin("s", "f" * 64, str(model), None), adapter)


def test_an_untuned_table_reads_as_its_model_does(tables: TableStore, model: Path) -> None:
    sources = sources_of(tables)
    of_model, of_table = sources.of_model(str(model)), sources.of_table(published(tables, model))
    assert of_table.reading.key("x") == of_model.reading.key("x")
    assert of_table.voice() == of_model.voice()
    assert (of_table.label, of_model.label) == ("model", "model")


def test_a_tuned_table_reads_with_its_adapter(tables: TableStore, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    info = published(tables, model, folder)
    sources = sources_of(tables)
    tuned = sources.of_table(info)
    assert tuned.reading.key("x") != sources.of_model(str(model)).reading.key("x")
    voice = tuned.voice()
    assert voice.adapter is not None
    assert (voice.adapter / "adapter_config.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("changed", "said"), [({"model_digest": "0" * 64}, "other files"), ({"template": {"pooling": "last"}}, "template")]
)
def test_a_table_whose_model_is_no_longer_there_answers_only_what_is_known(
    tables: TableStore, model: Path, changed: dict[str, Any], said: str
) -> None:
    old = sources_of(tables).of_table(published(tables, model, **changed))
    assert old.reading.key("x") != sources_of(tables).of_model(str(model)).reading.key("x")
    with pytest.raises(ArtifactError, match=said):
        old.voice()


def test_a_model_that_changes_under_the_service_is_refused(
    tables: TableStore, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = sources_of(tables)
    sources.of_model(str(model))
    monkeypatch.setattr(source, "LOOK_S", 0.0)
    assert sources.of_model(str(model)).voice().model == str(model)
    config = model / "config.json"
    config.write_text(config.read_text().replace('"num_attention_heads": 2', '"num_attention_heads": 4'))
    with pytest.raises(ArtifactError, match="restart"):
        sources.of_model(str(model))


def test_tables_are_known_by_name_also_while_sql_is_away(tables: TableStore, model: Path, tmp_path: Path) -> None:
    info = published(tables, model)
    sources = sources_of(tables)
    names = [info.version, "s@current", f"s@{info.version}"]
    assert {sources.table(name).version for name in names} == {info.version}
    for unknown in ("s@none", "t@current", "current", ""):
        with pytest.raises(NotFoundError):
            sources.table(unknown)
    tables.storage.close()
    (tmp_path / "llm.db").rename(tmp_path / "away.db")
    (tmp_path / "llm.db").mkdir()
    assert {sources.table(name).version for name in names} == {info.version}
    with pytest.raises(UnavailableError):
        sources.table("s@previous")


def test_a_version_that_schemas_share_is_the_callers_own(tables: TableStore, model: Path) -> None:
    info = published(tables, model)
    tables.publish(tables.read(info).table, Origin("t", "f" * 64, str(model), None))
    sources = sources_of(tables)
    for scopes, schema in ((None, "s"), (frozenset({"t"}), "t"), (frozenset({"s"}), "s"), (frozenset({"u"}), "s")):
        assert sources.table(info.version, scopes).schema == schema


def test_a_moved_alias_is_followed_and_a_deleted_table_forgotten(tables: TableStore, model: Path) -> None:
    pointers = pointers_of(tables)
    sources = Sources(tables, pointers)
    first = published(tables, model)
    assert sources.table("s@current").version == first.version
    second = published(tables, model, code_version="2", recipe="1" * 64)
    assert sources.table("s@current").version == second.version != first.version
    assert sources.table(first.version).version == first.version
    with tables.alone() as session:
        session.execute(delete(TableAliasRow))
        session.execute(delete(FieldTableRow).where(FieldTableRow.version == first.version))
    pointers.follow()
    for gone in (first.version, f"s@{first.version}", "s@current"):
        with pytest.raises(NotFoundError):
            sources.table(gone)
