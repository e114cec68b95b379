"""A language model that is small enough for every test."""

import json
import string
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors


def save_tiny_model(folder: Path) -> Path:
    """A BERT of 2 layers and width 32 with random weights, that reads single characters. Written without torch."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = string.ascii_lowercase + string.digits + string.punctuation
    words += [*letters, *(f"##{letter}" for letter in letters)]
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    config = {
        "model_type": "bert",
        "architectures": ["BertModel"],
        "vocab_size": len(words),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 256,
        "type_vocab_size": 2,
    }
    named = {f"{kind}_token": f"[{kind.upper()}]" for kind in ("pad", "unk", "cls", "sep", "mask")}
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **named}))
    (folder / "config.json").write_text(json.dumps(config))
    save_file(_tiny_weights(len(words)), folder / "model.safetensors", {"format": "pt"})
    return folder


def _tiny_weights(vocabulary: int) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    shapes = {
        "embeddings.word_embeddings.weight": (vocabulary, 32),
        "embeddings.position_embeddings.weight": (256, 32),
        "embeddings.token_type_embeddings.weight": (2, 32),
        "embeddings.LayerNorm": (32,),
        "pooler.dense": (32, 32),
    }
    for layer in ("encoder.layer.0", "encoder.layer.1"):
        shapes |= {f"{layer}.attention.self.{part}": (32, 32) for part in ("query", "key", "value")}
        shapes |= {f"{layer}.{part}.LayerNorm": (32,) for part in ("attention.output", "output")}
        shapes |= {f"{layer}.attention.output.dense": (32, 32), f"{layer}.intermediate.dense": (64, 32)}
        shapes |= {f"{layer}.output.dense": (32, 64)}
    random, weights = np.random.default_rng(0), {}
    for name, shape in shapes.items():
        if name.endswith(".weight"):
            weights[name] = random.normal(0, 0.1, shape).astype(np.float32)
            continue
        is_norm = name.endswith("LayerNorm")
        weights[f"{name}.weight"] = (np.ones(shape) if is_norm else random.normal(0, 0.1, shape)).astype(np.float32)
        weights[f"{name}.bias"] = np.zeros(shape[0], dtype=np.float32)
    return weights
