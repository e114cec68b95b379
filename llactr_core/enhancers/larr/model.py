"""Whether a language model can do stage 1 of LARR, told by its small files; imports no torch."""

from llactr_core.enhancers.larr.options import LarrOptions
from llactr_core.errors import OptionError
from llactr_core.semantics.template import has_lm_head
from llactr_core.semantics.tokens import load_tokenizer
from llactr_core.semantics.weights import read_config, resolve_model


def check_model(model: str, options: LarrOptions) -> None:
    """Refuse a model that cannot be pre-trained, before its weights are loaded.

    Raises:
        NotFoundError, ArtifactError: the model is not here, or damaged.
        OptionError: it is an encoder without a mask token.
    """
    path = resolve_model(model)
    if not options.pretrain_epochs or has_lm_head(read_config(path)):
        return
    if load_tokenizer(path).mask_token_id is None:
        raise OptionError(
            "stage 1 of 'larr' needs a causal model or an encoder with a mask token; set larr.pretrain_epochs to 0",
            field="pretrain_epochs",
        )
