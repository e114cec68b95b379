"""Field tables as they are sent: written once per format, then answered from memory."""

from services.llm.schema_store import SchemaStore
from services.llm.tables.contents import TableContents
from services.llm.tables.formats import WRITERS
from services.llm.tables.pointer import Pointer
from services.llm.tables.pointers import Pointers
from services.llm.tables.table_info import no_table
from services.shared.lru import Lru
from services.shared.telemetry.metrics import TABLE_READS


class Answers:
    """What a name of a schema stands for, and the bytes that answer for it.

    `held_*` look into memory alone and never wait; the others may ask the database, Redis or the artifacts.

    Args:
        schemas: tell whether it is the schema that is missing.
        pointers: where the names point.
        contents: the tables.
        size: answers kept in memory.
    """

    def __init__(self, schemas: SchemaStore, pointers: Pointers, contents: TableContents, size: int) -> None:
        self._schemas = schemas
        self._pointers = pointers
        self._contents = contents
        self._memory: Lru[tuple[str, str, str], bytes] = Lru(size)

    def held_pointer(self, schema: str, name: str) -> Pointer | None:
        """Where an alias or a version points, if that is known here."""
        return self._pointers.find(schema, name)

    def pointer(self, schema: str, name: str) -> Pointer:
        """Where an alias or a version points.

        Raises:
            NotFoundError: there is no such schema, or it has no such table.
        """
        found = self._pointers.find(schema, name)
        if found is None:
            self._pointers.look()
            found = self._pointers.find(schema, name)
        if found is None:
            self._schemas.get(schema)  # says so where it is the schema that is missing
            raise no_table(schema, name)
        return found

    def held_content(self, schema: str, pointer: Pointer, media: str) -> bytes | None:
        """The table as this media type, if it is at hand."""
        content = self._memory.get((schema, pointer.file_digest, media))
        if content is not None:
            TABLE_READS.labels("memory").inc()
        return content

    def content(self, schema: str, pointer: Pointer, media: str) -> bytes:
        """The table as this media type.

        Raises:
            ArtifactError: its file is missing or damaged.
            UnavailableError: the store of the artifacts does not answer.
        """
        content = WRITERS[media](self._contents.read(pointer.version, pointer.file_digest), schema)
        self._memory.put((schema, pointer.file_digest, media), content)
        return content
