"""What makes two field tables equal before either is computed. No torch: the API process asks it."""

import hashlib
import json
from collections.abc import Mapping, Sequence

from llactr_core import __version__
from llactr_core.errors import OptionError
from llactr_core.schema import Schema
from llactr_core.semantics.options import EXECUTION, SsftOptions
from llactr_core.semantics.sampling import clean_samples
from llactr_core.semantics.template import default_template, has_lm_head
from llactr_core.semantics.weights import model_digest, read_config, resolve_model


def recipe_of(schema: Schema, samples: Mapping[str, Sequence[str]], model: str, options: SsftOptions) -> str:
    """SHA-256, as hex, over all that a field table follows from.

    That is: the schema as the language model reads it, the samples (in any order), the model's files, the template,
    the options with the seed (without how the work is done), and the version of this code.

    Raises:
        NotFoundError, ArtifactError: the model is not here, or damaged.
        OptionError: the model cannot do what the options ask.
        SchemaError: samples for a field that the schema does not have.
    """
    path = resolve_model(model)
    check_objective(model, options)
    content = {
        "schema": schema.semantic_fingerprint,
        "samples": clean_samples(schema, samples, options.sam_num, options.seed),
        "model": model_digest(path),
        "template": default_template(path).to_json(),
        "options": options.model_dump(mode="json", exclude=set(EXECUTION)),
        "code": __version__,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def check_objective(model: str, options: SsftOptions) -> None:
    """Refuse a generative objective for a model without a language-model head, before any work.

    Raises:
        OptionError: as said.
    """
    if options.objective != "contrastive" and not options.skip and not has_lm_head(read_config(resolve_model(model))):
        raise OptionError(
            f"the objective {options.objective!r} needs a causal language-model head, which {model!r} does not have; "
            "use objective 'contrastive', or a causal model",
            field="objective",
        )
