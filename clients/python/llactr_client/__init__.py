"""Python client of the LLaCTR services. Knows only HTTP: no torch, no numpy, no llactr_core.

with Client(key="...") as client:
    print(client.score([{"job": "student", "age": 22}]).scores)
"""

from llactr_client.async_client import AsyncClient
from llactr_client.client import Client
from llactr_client.ctr_results import (
    AddedValues,
    Drift,
    FieldValues,
    LaterValue,
    LaterValues,
    ModelInfo,
    ModelVersion,
    Move,
    Numbers,
    Outcome,
    Quality,
    Schedule,
    Shadow,
    ShadowPair,
    TrafficPlan,
    VersionQuality,
)
from llactr_client.errors import ApiError, ClientError, ConnectionFailed, DeadlineExceeded, JobFailed, JobTimeout
from llactr_client.exchange import Retry
from llactr_client.results import (
    Alias,
    ApiKey,
    AuditEntry,
    Comparison,
    Embeddings,
    FieldTable,
    Health,
    Job,
    Refresh,
    SchemaInfo,
    Similarity,
    TableVersion,
)
from llactr_client.scores import ExplainedRow, Explanation, FieldPart, PairPart, Part, Scores

__all__ = [
    "AddedValues",
    "Alias",
    "ApiError",
    "ApiKey",
    "AsyncClient",
    "AuditEntry",
    "Client",
    "ClientError",
    "Comparison",
    "ConnectionFailed",
    "DeadlineExceeded",
    "Drift",
    "Embeddings",
    "ExplainedRow",
    "Explanation",
    "FieldPart",
    "FieldTable",
    "FieldValues",
    "Health",
    "Job",
    "JobFailed",
    "JobTimeout",
    "LaterValue",
    "LaterValues",
    "ModelInfo",
    "ModelVersion",
    "Move",
    "Numbers",
    "Outcome",
    "PairPart",
    "Part",
    "Quality",
    "Refresh",
    "Retry",
    "Schedule",
    "SchemaInfo",
    "Scores",
    "Shadow",
    "ShadowPair",
    "Similarity",
    "TableVersion",
    "TrafficPlan",
    "VersionQuality",
]
