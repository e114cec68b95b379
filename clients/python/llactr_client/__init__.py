"""Python client of the LLaCTR services. Knows only HTTP: no torch, no numpy, no llactr_core.

with Client(key="...") as client:
    print(client.score([{"job": "student", "age": 22}]).scores)
"""

from llactr_client.async_client import AsyncClient
from llactr_client.client import Client
from llactr_client.errors import ApiError, ClientError, ConnectionFailed, JobFailed, JobTimeout
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
    ModelInfo,
    ModelVersion,
    Refresh,
    SchemaInfo,
    Scores,
    Similarity,
    TableVersion,
)

__all__ = [
    "Alias",
    "ApiError",
    "ApiKey",
    "AsyncClient",
    "AuditEntry",
    "Client",
    "ClientError",
    "Comparison",
    "ConnectionFailed",
    "Embeddings",
    "FieldTable",
    "Health",
    "Job",
    "JobFailed",
    "JobTimeout",
    "ModelInfo",
    "ModelVersion",
    "Refresh",
    "Retry",
    "SchemaInfo",
    "Scores",
    "Similarity",
    "TableVersion",
]
