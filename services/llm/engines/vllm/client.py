"""The calls to a vLLM server: token ids to vectors, adapters in and out, asleep or awake."""

import base64
import time
from collections.abc import Sequence

import httpx2
import numpy as np
from pydantic import BaseModel, ValidationError

from llactr_core.errors import ArtifactError, LlactrError, NotFoundError, UnavailableError
from llactr_core.semantics.table import Vectors
from llactr_core.semantics.tokens import Tokens

ROWS_PER_CALL = 256
PAUSES_S = (0.1, 0.4)
CONNECT_S = 2.0
ADMIN_S = 300.0
_BUSY = frozenset({429, 500, 502, 503, 504})


class _Row(BaseModel):
    index: int
    embedding: str


class _Embeddings(BaseModel):
    data: list[_Row]


class _Model(BaseModel):
    id: str
    root: str | None = None
    parent: str | None = None


class _Models(BaseModel):
    data: list[_Model]


class VllmClient:
    """One server. Calls that never arrived, or met a server that was busy, are sent again up to two times.

    Args:
        url: of the server, without /v1.
        key: the bearer token that it asks for, if it does.
        timeout_s: the longest that one batch of texts may take.
    """

    def __init__(self, url: str, key: str | None, timeout_s: float) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx2.Client(base_url=url, headers=headers, trust_env=False)
        self._timeout_s = timeout_s

    def check(self) -> None:
        """Whether the server is up.

        Raises:
            UnavailableError: it is not.
        """
        self._accepted(self._send("GET", "/health"))

    def embed(self, name: str, rows: Sequence[Tokens]) -> Vectors:
        """What the adapter of that name makes of B token rows: pooled, not normalised, float32 [B, D].

        Raises:
            NotFoundError: the server has no such adapter.
            UnavailableError: it does not answer.
            LlactrError: it refuses the texts, or answers something else than vectors.
        """
        parts = [self._embed(name, rows[at : at + ROWS_PER_CALL]) for at in range(0, len(rows), ROWS_PER_CALL)]
        return np.concatenate(parts)

    def _embed(self, name: str, rows: Sequence[Tokens]) -> Vectors:
        body = {"model": name, "input": list(rows), "encoding_format": "base64", "use_activation": False}
        answer = self._accepted(self._send("POST", "/v1/embeddings", body))
        try:
            data = sorted(_Embeddings.model_validate_json(answer.content).data, key=lambda row: row.index)
            vectors = [np.frombuffer(base64.b64decode(row.embedding), dtype="<f4") for row in data]
            found: Vectors = np.stack(vectors).astype(np.float32, copy=False)
        except ValueError as error:
            raise LlactrError(f"the vLLM server answers no vectors: {error}") from error
        if len(found) != len(rows):
            raise LlactrError(f"the vLLM server answers {len(found)} vectors for {len(rows)} texts")
        return found

    def adapters(self) -> dict[str, str]:
        """Name -> folder of the adapters that the server has, the one that was loaded first at the front.

        Raises:
            UnavailableError: it does not answer.
        """
        answer = self._accepted(self._send("GET", "/v1/models"))
        try:
            models = _Models.model_validate_json(answer.content).data
        except ValidationError as error:
            raise LlactrError(f"the vLLM server lists no models: {error}") from error
        return {model.id: model.root or "" for model in models if model.parent is not None}

    def load(self, name: str, folder: str) -> None:
        """Load an adapter from a folder that the server can read.

        Raises:
            ArtifactError: it cannot.
            UnavailableError: it does not answer.
        """
        answer = self._send("POST", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": folder}, ADMIN_S)
        if answer.status_code >= 400 and answer.status_code not in _BUSY - {500}:
            raise ArtifactError(f"the vLLM server cannot load the adapter {name[:20]!r}: {_reason(answer)}")
        self._accepted(answer)

    def unload(self, name: str) -> None:
        """Drop an adapter; it is fine if there is none of that name.

        Raises:
            UnavailableError: the server does not answer.
        """
        answer = self._send("POST", "/v1/unload_lora_adapter", {"lora_name": name}, ADMIN_S)
        if answer.status_code != 404:
            self._accepted(answer)

    def sleep(self) -> None:
        """Give the accelerator's memory back; needs a server with --enable-sleep-mode and VLLM_SERVER_DEV_MODE=1.

        Raises:
            UnavailableError: it does not answer.
            LlactrError: it cannot sleep.
        """
        self._accepted(self._send("POST", "/sleep?level=1", {}, ADMIN_S))

    def wake(self) -> None:
        """Take the memory again; raises as `sleep`."""
        self._accepted(self._send("POST", "/wake_up", {}, ADMIN_S))

    def is_asleep(self) -> bool:
        """Whether it sleeps; raises as `sleep`."""
        return bool(self._accepted(self._send("GET", "/is_sleeping")).json().get("is_sleeping"))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _send(self, method: str, path: str, body: object = None, timeout_s: float | None = None) -> httpx2.Response:
        timeout = httpx2.Timeout(timeout_s or self._timeout_s, connect=CONNECT_S)
        for pause in (*PAUSES_S, None):
            try:
                answer = self._http.request(method, path, json=body, timeout=timeout)
            except httpx2.TransportError as error:
                if pause is None or isinstance(error, httpx2.ReadTimeout):
                    raise UnavailableError(f"the vLLM server does not answer: {error}") from error
            else:
                if pause is None or answer.status_code not in _BUSY - {500}:
                    return answer
            time.sleep(pause)
        raise UnavailableError("the vLLM server does not answer")

    def _accepted(self, answer: httpx2.Response) -> httpx2.Response:
        if answer.status_code == 404:
            raise NotFoundError(f"the vLLM server knows no such thing: {_reason(answer)}")
        if answer.status_code in _BUSY:
            raise UnavailableError(f"the vLLM server cannot answer: {_reason(answer)}")
        if answer.status_code >= 400:
            raise LlactrError(f"the vLLM server refuses the call: {_reason(answer)}")
        return answer


def _reason(answer: httpx2.Response) -> str:
    try:
        content = answer.json()
        return str(content.get("error", content).get("message", content))[:500]
    except (ValueError, AttributeError):
        return f"status {answer.status_code}, {answer.text[:200]!r}"
