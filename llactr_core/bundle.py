"""A trained model as one directory: everything that scoring needs, and the proof that it is whole.

manifest.json         format, schema, options, lineage, metrics, the precision of the graph's matrix products, and the
                      SHA-256 of every other file
weights.safetensors   all trained weights; `embedding.table` is what the scorer looks rows up in, `bias` is w_0, and
                      `serving.pairs` are the constant weights of <v_i, v_j>, with those of the enhancer;
                      `serving.scenes` is what the aggregation encoder reads of the scene's ids (with LARR)
graph.onnx            v (with LARR: v, scenes) -> what else is in the logit (absent where that is nothing, as in an FM)
vocabulary.arrow, encoding.json    values, counts and knots of the encoder
index.npy             the flat hash from a value's bytes to its place in the vocabulary
field_table.safetensors            the field vectors that the model was trained with (absent without an enhancer)
values.safetensors    how the row of a value that train never had follows from the vector of its text (absent without
                      value semantics)
scenes.safetensors    how the scene row of such a value follows from it (absent without LARR)
calibration.json      the map from logits to probabilities
explain.onnx          rows -> the terms of the logit, for explanations
gate.parquet          held-out rows, as they came, on which a promotion is judged (absent where none were held out)
reference.json        how values and scores were distributed on held-out rows: what live traffic is compared with
golden.json           a few rows with their scores, which every load verifies

Format 2 had no index, and its graph held all of the logit: rows [B, K, d (+ 1)] -> logit. Format 1, besides, had no
calibration, explanation, gate rows or reference, and scores by the plain sigmoid. Both are still read.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from llactr_core.errors import BundleError
from llactr_core.files import file_digest, flush
from llactr_core.schema import Schema

FORMAT = "llactr-bundle"
FORMAT_VERSION = 3
READABLE = (1, 2, 3)
MANIFEST = "manifest.json"
WEIGHTS = "weights.safetensors"
TABLE, BIAS, PAIRS, SCENES = "embedding.table", "bias", "serving.pairs", "serving.scenes"  # of the weights
GRAPH = "graph.onnx"
SCENE_GRAPH = "scenes.onnx"
FIELD_TABLE = "field_table.safetensors"
VALUES = "values.safetensors"
SCENE_VALUES = "scenes.safetensors"
GOLDEN = "golden.json"
CALIBRATION = "calibration.json"
EXPLANATION = "explain.onnx"
GATE_ROWS = "gate.parquet"
REFERENCE = "reference.json"

Json = dict[str, object]


@dataclass(frozen=True)
class Bundle:
    """A verified bundle directory and its manifest."""

    path: Path
    manifest: Json

    @property
    def version(self) -> str:
        """SHA-256 over the schema, options, lineage and files; equal training gives an equal version."""
        return str(self.manifest["version"])

    @property
    def schema(self) -> Schema:
        """The schema of the rows."""
        return Schema.parse(self.manifest["schema"])

    @property
    def format_version(self) -> int:
        """1, 2 or 3."""
        return int(str(self.manifest["format_version"]))

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        """Metrics by split: "valid", "held_out" where rows were held out, and "test" where it was read."""
        return self.manifest["metrics"]  # type: ignore[return-value]

    @classmethod
    def open(cls, path: Path) -> "Bundle":
        """Read the manifest and check every file against it.

        Raises:
            BundleError: the directory is no bundle, of another format version, or a file is absent or changed.
        """
        manifest = _read_manifest(path)
        files = manifest.get("files")
        if not isinstance(files, dict):
            raise BundleError(f"{path / MANIFEST} lists no files; the bundle is damaged, restore or retrain it")
        for name, digest in files.items():
            if not (path / name).is_file():
                raise BundleError(f"the bundle {path} lacks {name}; it is incomplete, restore or retrain it")
            if file_digest(path / name) != digest:
                raise BundleError(f"{name} in the bundle {path} is not as it was written; restore or retrain it")
        if _version(manifest) != manifest.get("version"):
            raise BundleError(
                f"the manifest of the bundle {path} was changed after it was written; restore or retrain it"
            )
        absent = [key for key in ("schema", "metrics") if not isinstance(manifest.get(key), dict)]
        if absent:
            raise BundleError(f"{path / MANIFEST} lacks {' and '.join(absent)}; restore or retrain the bundle")
        return cls(path, manifest)


def write_bundle(path: Path, manifest: Json, metrics: Json, write_files: Callable[[Path], None]) -> Bundle:
    """Create a bundle; `path` holds all of it or does not exist.

    Args:
        path: the new directory. One that exists is kept if it is the same version, and refused otherwise.
        manifest: schema, options, lineage: what the version covers beside the files.
        metrics: outside of the version.
        write_files: writes the other files into the directory that it is given.

    Raises:
        BundleError: another bundle, or something else, is at `path`.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        write_files(partial)
        files = {f.name: file_digest(f) for f in sorted(partial.iterdir())}
        whole: Json = {"format": FORMAT, "format_version": FORMAT_VERSION, **manifest, "files": files}
        whole |= {"version": _version(whole), "metrics": metrics}
        (partial / MANIFEST).write_text(json.dumps(whole, indent=1, ensure_ascii=False), encoding="utf-8")
        for file in partial.iterdir():
            flush(file)
        flush(partial)
        if path.exists():
            if Bundle.open(path).version == whole["version"]:
                return Bundle.open(path)
            raise BundleError(f"{path} exists and holds another bundle; choose another directory or delete it")
        partial.rename(path)
        flush(path.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Bundle(path, whole)


def _read_manifest(path: Path) -> Json:
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BundleError(f"{path} is no bundle: it has no {MANIFEST}") from error
    except (OSError, ValueError) as error:
        raise BundleError(f"cannot read {path / MANIFEST}: {error}; restore or retrain the bundle") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BundleError(f"{path / MANIFEST} is not that of a LLaCTR bundle")
    if manifest.get("format_version") not in READABLE:
        raise BundleError(
            f"the bundle {path} has format version {manifest.get('format_version')!r}; "
            f"this code reads {', '.join(map(str, READABLE))}: retrain the model or use the release that wrote it"
        )
    return manifest


def _version(manifest: Json) -> str:
    covered = {k: v for k, v in manifest.items() if k not in ("version", "metrics")}
    return hashlib.sha256(json.dumps(covered, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
