"""Who reads the texts of a call: a language model as it is, or the tuned one behind a field table."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llactr_core.errors import ArtifactError
from llactr_core.semantics.template import default_template
from llactr_core.semantics.weights import model_digest, model_label, read_config, resolve_model
from services.llm.engines.engine import Voice
from services.llm.tables.maker import check_maker
from services.llm.tables.pointers import Pointers
from services.llm.tables.store import TableStore
from services.llm.tables.table_info import TableInfo
from services.llm.vectors.vector import Reading
from services.shared.lru import Lru

LOOK_S = 1.0  # how long a model's files count as unchanged
KNOWN_TABLES = 1000  # names of tables


@dataclass(frozen=True)
class Source:
    """A reader of texts: the name that is shown, what decides its vectors, and what the engine loads."""

    label: str
    reading: Reading
    voice: Callable[[], Voice]


@dataclass(frozen=True)
class _Look:
    reading: Reading
    at: float


class Sources:
    """Every reader that the service offers. It needs no torch, and no adapter before the engine does."""

    def __init__(self, tables: TableStore, pointers: Pointers) -> None:
        self._tables = tables
        self._pointers = pointers
        self._looks: dict[str, _Look] = {}
        self._known: Lru[tuple[str, frozenset[str] | None], TableInfo] = Lru(KNOWN_TABLES)

    def of_model(self, name: str) -> Source:
        """The model that is loaded by this name, as it is.

        Raises:
            NotFoundError, ArtifactError: it is not here, is damaged, or its files changed while the service runs.
        """
        reading = self._reading(name)
        return Source(model_label(name), reading, lambda: Voice(name, None, reading.model_digest))

    def table(self, name: str, scopes: frozenset[str] | None = None) -> TableInfo:
        """The table that a version, SCHEMA@VERSION or SCHEMA@ALIAS names; SQL is asked only for what is not known.

        Of several schemas with a table of that version, one among `scopes` is preferred.

        Raises:
            NotFoundError: there is none.
            UnavailableError: SQL does not answer, and the table is not known.
        """
        schema, separator, one = name.rpartition("@")
        known = self._known.get((name, scopes))
        if known is not None:
            pointer = self._pointers.find(schema or known.schema, one)
            if pointer is not None and (pointer.version, pointer.file_digest) == (known.version, known.file_digest):
                return known
        info = self._tables.info(schema, one) if separator else self._tables.any_of_version(name, scopes)
        self._known.put((name, scopes), info)
        return info

    def of_table(self, info: TableInfo) -> Source:
        """The model, the adapter and the template that a field table was made with.

        Raises:
            ArtifactError: the table's content is missing or damaged.
        """
        provenance = self._tables.read(info).table.provenance
        try:
            reading = Reading(provenance["model_digest"], info.adapter_digest, provenance["template"], info.width)
        except KeyError as missing:
            raise ArtifactError(
                f"field table {info.version[:12]} does not tell its {missing}; refresh the fields"
            ) from missing
        return Source(info.model, reading, lambda: self._voice(info, provenance))

    def _voice(self, info: TableInfo, provenance: Mapping[str, Any]) -> Voice:
        """What the engine loads for a table, once it is known to give the table's vectors."""
        present = self._reading(info.model_name)
        check_maker(info, provenance, present.model_digest, present.template)
        return Voice(info.model_name, self._tables.adapter(info), present.model_digest)

    def _reading(self, name: str) -> Reading:
        known = self._looks.get(name)
        if known is not None and time.monotonic() < known.at + LOOK_S:
            return known.reading
        path = resolve_model(name)
        digest = model_digest(path)
        if known is not None and known.reading.model_digest != digest:
            # The engine may hold the weights that were there before: their vectors under this digest would be wrong.
            raise ArtifactError(
                f"the files of the model {model_label(name)} changed while the service runs; restart the service"
            )
        reading = known.reading if known else _read(path, digest)
        self._looks[name] = _Look(reading, time.monotonic())
        return reading


def _read(path: Path, digest: str) -> Reading:
    width = read_config(path).get("hidden_size")
    return Reading(digest, None, default_template(path).to_json(), width if isinstance(width, int) else None)
