"""/v1/fields/{schema}/compare: what a refresh has changed."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from services.llm.routes.schemas import SchemaPath
from services.llm.tables.answers import Answers
from services.llm.tables.comparison import compare
from services.llm.tables.contents import TableContents
from services.llm.tables.store import CURRENT, PREVIOUS
from services.shared.access.auth import Guard, Role
from services.shared.http.problems import documented


class ComparedTable(BaseModel):
    """One of the two tables."""

    version: str
    model: str
    width: int = Field(description="D")


class ComparedField(BaseModel):
    """A field that both tables have."""

    field: str
    cosine: float | None = Field(
        description="Of its two vectors; null where the tables have other models or widths, and so no common axes."
    )


class SimilarityChange(BaseModel):
    """Cosines between the S shared fields in b less those in a; independent of a rotation of the axes."""

    largest: float = Field(description="The largest absolute change.")
    mean: float = Field(description="The mean absolute change over all pairs of different fields.")
    matrix: list[list[float]] = Field(description="[S][S], in the order of `shared`.")


class ComparisonView(BaseModel):
    """How table b differs from table a."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "schema": "movies",
                    "a": {"version": "07ab" * 16, "model": "all-MiniLM-L6-v2", "width": 384},
                    "b": {"version": "9f2c" * 16, "model": "all-MiniLM-L6-v2", "width": 384},
                    "shared": [{"field": "user_gender", "cosine": 0.93}, {"field": "movie_genre", "cosine": 0.88}],
                    "only_a": [],
                    "only_b": ["zip"],
                    "similarity_change": {"largest": 0.25, "mean": 0.25, "matrix": [[0.0, -0.25], [-0.25, 0.0]]},
                }
            ]
        }
    )

    schema_name: str = Field(serialization_alias="schema")
    a: ComparedTable
    b: ComparedTable
    shared: list[ComparedField]
    only_a: list[str]
    only_b: list[str]
    similarity_change: SimilarityChange


def comparison_router(answers: Answers, contents: TableContents, guard: Guard) -> APIRouter:
    """The route."""
    router = APIRouter(prefix="/v1/fields", tags=["fields"])

    @router.get(
        "/{schema}/compare",
        summary="How two field tables differ",
        dependencies=[Depends(guard.require(Role.READER, "schema"))],
        responses=documented(401, 403, 404),
    )
    def compare_tables(
        name: SchemaPath,
        a: Annotated[str, Query(description="A version or an alias.")] = PREVIOUS,
        b: Annotated[str, Query(description="A version or an alias.")] = CURRENT,
    ) -> ComparisonView:
        pointers = [answers.pointer(name, given) for given in (a, b)]
        one, other = (contents.read(pointer.version, pointer.file_digest).table for pointer in pointers)
        found = compare(one, other)
        cosines = [None] * len(found.shared) if found.cosines is None else found.cosines.tolist()
        return ComparisonView(
            schema_name=name,
            a=ComparedTable(version=one.version, model=one.model, width=one.vectors.shape[1]),
            b=ComparedTable(version=other.version, model=other.model, width=other.vectors.shape[1]),
            shared=[
                ComparedField(field=field, cosine=cosine) for field, cosine in zip(found.shared, cosines, strict=True)
            ],
            only_a=list(found.only_a),
            only_b=list(found.only_b),
            similarity_change=SimilarityChange(
                largest=found.largest_change, mean=found.mean_change, matrix=found.change.tolist()
            ),
        )

    return router
