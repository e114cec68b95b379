"""Every call of the Python client against the running LLM service."""

from collections.abc import Iterator
from typing import Any

import pytest
from llactr_client import ApiError, Client


@pytest.fixture
def client(house: Any) -> Iterator[Client]:
    with Client(llm_url=f"http://127.0.0.1:{house.port}", key=house.key) as running:
        yield running


def test_schemas_refresh_and_jobs(client: Client) -> None:
    fields = [{"name": "colour", "description": "colour of the car"}, {"name": "city", "description": "where it is"}]
    assert client.register_schema("called", fields).created
    assert not client.register_schema("called", fields).created
    assert client.schema("called").name == "called"
    assert "called" in {schema.name for schema in client.schemas()}
    samples = {"colour": ["red", "blue"], "city": ["Delft", "Gent"]}
    refresh = client.refresh_fields("called", samples=samples, ssft={"skip": True, "seed": 1})
    assert refresh.job is not None
    done = client.wait_for_job(refresh.job, timeout=60)
    assert [job.state for job in client.job_events(done.id, "llm")] == ["succeeded"]
    assert client.job(done.id, "llm").ended
    assert done.id in {job.id for job in client.jobs("llm")}
    assert client.health("llm").ok
    assert client.ready("llm").ok


def test_tables_and_their_aliases(client: Client, house: Any) -> None:
    old, new = (house.published("aliased", ssft={"skip": True, "seed": seed}) for seed in (1, 2))
    assert client.fields("aliased").version == new
    assert client.fields_file("aliased", old)
    assert {table.version for table in client.field_versions("aliased")} == {old, new}
    assert client.similarity("aliased").version == new
    assert (client.compare_fields("aliased").a, client.compare_fields("aliased").b) == (old, new)
    assert client.set_field_alias("aliased", "night", old).version == old
    assert client.fields("aliased", "night").version == old
    assert client.delete_field_alias("aliased", "night") == old
    with pytest.raises(ApiError) as caught:
        client.delete_field_alias("aliased", "night")
    assert caught.value.status == 404
    with pytest.raises(ApiError) as kept:
        client.delete_field_alias("aliased", "current")
    assert kept.value.status == 409
    assert client.prune_fields("aliased", dry_run=True) == ()
    with pytest.raises(ApiError):
        client.delete_fields("aliased", new)


def test_embeddings_and_keys(client: Client) -> None:
    assert len(client.embeddings(["one", "two"]).vectors) == 2
    made = client.create_key("caller", "reader", service="llm")
    assert made.id in {key.id for key in client.keys("llm")}
    assert client.revoke_key(made.id, "llm").revoked_at
    assert client.audit("llm", limit=1)[0].path.endswith(made.id)
