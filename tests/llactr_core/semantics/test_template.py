import json
from pathlib import Path

import pytest

from llactr_core.errors import ArtifactError, OptionError
from llactr_core.schema import Field, Schema
from llactr_core.semantics.template import Template, candidates, cut, default_template, has_lm_head, is_causal
from llactr_core.semantics.weights import resolve_model


def _model(path: Path, **config: object) -> Path:
    (path / "config.json").write_text(json.dumps(config))
    return path


def test_a_prompt_holds_instruction_value_and_the_candidate_set():
    schema = Schema(name="s", fields=(Field(name="UserID"), Field(name="emp_var_rate", description="a long text")))
    prompt = Template().prompt("1.4", candidates(schema), 100)
    assert prompt == (
        "Which field does the feature belong to? The feature is: 1.4. The fields are: user id, emp var rate."
    )


def test_braces_in_values_are_just_text_and_long_values_are_cut():
    prompt = Template().prompt("{instruction} {0}" + "x" * 500, ("a",), 20)
    assert "The feature is: {instruction} {0}xxx. The" in prompt


def test_a_candidate_set_that_would_fill_the_context_is_left_out():
    many = tuple(f"field {i}" for i in range(65))
    assert Template().prompt("v", many, 10) == "Which field does the feature belong to? The feature is: v."


def test_cut_joins_whitespace():
    assert cut(" a \n\t b  ", 10) == "a b"
    assert cut("abcdef", 3) == "abc"


def test_fields_are_read_by_description_and_equal_descriptions_are_told_apart():
    fields = (Field(name="a", description="an amount"), Field(name="b", description="an amount"), Field(name="cD"))
    texts = Template().fields(Schema(name="s", fields=fields))
    assert texts[2] == "c d"
    assert len(set(texts)) == 3
    assert all("an amount" in text for text in texts[:2])


def test_minilm_pools_as_its_own_files_say():
    template = default_template(resolve_model("all-MiniLM-L6-v2"))
    assert (template.pooling, template.normalise, template.special_tokens) == ("mean", True, True)


def test_a_causal_model_pools_at_its_last_token(tiny_llama: Path):
    template = default_template(tiny_llama)
    assert template.pooling == "last"
    assert template.max_tokens == 254


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({"pooling_mode_cls_token": True}, "cls"), ({"pooling_mode_lasttoken": True}, "last"), ({}, "mean")],
)
def test_sentence_transformers_pooling(tmp_path: Path, settings: dict[str, bool], expected: str):
    _model(tmp_path, model_type="bert")
    (tmp_path / "modules.json").write_text('[{"type": "sentence_transformers.models.Transformer"}]')
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(settings))
    template = default_template(tmp_path)
    assert template.pooling == expected
    assert not template.normalise


def test_damaged_pooling_files_are_refused(tmp_path: Path):
    _model(tmp_path, model_type="bert")
    (tmp_path / "modules.json").write_text("[{}]")
    with pytest.raises(ArtifactError, match="cannot read the pooling"):
        default_template(tmp_path)


def test_encoder_decoders_are_refused(tmp_path: Path):
    with pytest.raises(OptionError, match="encoder-decoder"):
        default_template(_model(tmp_path, model_type="t5", is_encoder_decoder=True))


def test_which_models_have_a_head():
    assert has_lm_head({"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"})
    assert has_lm_head({"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"})
    assert not has_lm_head({"architectures": ["BertModel"], "model_type": "bert"})
    assert not has_lm_head({"architectures": ["LlamaModel"], "model_type": "llama"})
    assert is_causal({"architectures": ["LlamaModel"], "model_type": "llama"})
    assert not is_causal({"architectures": ["BertModel"], "model_type": "bert"})
