"""A bundle that was trained elsewhere becomes a version here: copied, verified on its golden rows, registered."""

import json
import re
import secrets
import shutil
from pathlib import Path

from llactr_core.bundle import MANIFEST, Bundle
from llactr_core.errors import BundleError, InputError
from llactr_core.remote import Location
from services.ctr.registry.bundles import publish
from services.ctr.registry.records import Lineage, ModelVersion
from services.ctr.registry.store import Registry
from services.ctr.registry.verifying import verify
from services.ctr.settings import CtrSettings
from services.shared.datasets import resolve_dataset
from services.shared.storage.blobs import writing

MOST_MANIFEST_BYTES = 16 * 2**20
COPIED_AT_ONCE = 2**20
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def import_bundle(registry: Registry, settings: CtrSettings, model: str, uri: str) -> ModelVersion:
    """Make a version of a bundle's folder, which stays as it is.

    Args:
        registry: where the version goes.
        settings: `data_roots` says which folders and URLs may be read, `memory_mb` how large a bundle can be.
        model: the model, which is made when it is new.
        uri: a local folder or a URL that fsspec reads.

    Raises:
        PermissionDenied: it lies outside of the allowed folders and URLs.
        NotFoundError: there is nothing.
        InputError: it is no bundle, or a damaged one, or belongs to another schema than it says.
        UnavailableError: a remote store does not answer, the disk is full, or the bundle is not verified in time.
    """
    source = resolve_dataset(uri, settings.data_roots)
    part = registry.bundles / f".{secrets.token_hex(8)}.import"
    try:
        with writing(registry.bundles):
            part.mkdir(parents=True)
            _copy(source, part, settings.memory_mb * 2**20)
        verify(part, settings.gate_timeout_s)
        bundle = Bundle.open(part)
        lineage = _lineage(bundle, str(source))
        with writing(registry.bundles):
            publish(part, registry.bundle_path(bundle.version))
        return registry.register(model, bundle.version, lineage, bundle.metrics)
    except BundleError as error:
        reason = error.detail.replace(str(part), uri)
        raise InputError(f"the bundle {uri!r} is refused: {reason}", field="bundle") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _copy(source: Location, part: Path, most: int) -> None:
    """The manifest and the files that it names, at most so many bytes: more could not be loaded."""
    try:
        with (source / MANIFEST).open("rb") as file:
            manifest = json.loads(file.read(MOST_MANIFEST_BYTES))
        names = list(manifest["files"])
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError, KeyError) as error:
        raise BundleError(f"it has no {MANIFEST} that names its files ({type(error).__name__})") from error
    for name in [MANIFEST, *names]:
        if not _FILE.fullmatch(str(name)):
            raise BundleError(f"{name!r} cannot be the name of its file")
        try:
            with (source / name).open("rb") as file, (part / name).open("wb") as copy:
                while content := file.read(COPIED_AT_ONCE):
                    most -= len(content)
                    if most < 0:
                        raise BundleError("it takes more bytes than `memory_mb` allows for all loaded models")
                    copy.write(content)
        except (FileNotFoundError, IsADirectoryError) as error:
            raise BundleError(f"it lacks {name}") from error


def _lineage(bundle: Bundle, dataset: str) -> Lineage:
    manifest = bundle.manifest
    try:
        options, lineage = dict(manifest["options"]), dict(manifest["lineage"])  # type: ignore[call-overload]
        schema, enhancer = bundle.schema, str(options["enhancer"])
        if lineage["schema_fingerprint"] != schema.fingerprint:
            raise BundleError("its schema is another one than it was trained with")
        return Lineage(
            dataset=dataset,
            data_digest=lineage["data"],
            data_schema=schema.model_dump(mode="json"),
            schema_fingerprint=schema.fingerprint,
            backbone=options["backbone"],
            enhancer=enhancer,
            field_schema=None if enhancer == "none" else schema.name,
            table_version=lineage["field_table"],
            options=options,
            code_version=str(lineage["code"]),
            start_from=lineage.get("start_from"),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"its manifest does not say how it was trained ({error!r})") from error
