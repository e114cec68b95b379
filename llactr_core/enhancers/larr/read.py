"""From a training source to what stages 1 and 2 of LARR read of it."""

import numpy as np

from llactr_core.data.encoding import Encoder
from llactr_core.data.read import Source
from llactr_core.enhancers.larr.corpus import Corpus, distinct
from llactr_core.enhancers.larr.options import LarrOptions
from llactr_core.enhancers.larr.pairs import draw_pairs
from llactr_core.enhancers.larr.split import check_texts
from llactr_core.enhancers.larr.texts import LarrTexts


def read_texts(encoder: Encoder, train: Source, options: LarrOptions) -> LarrTexts:
    """The texts of a training source.

    Args:
        encoder: fitted on train; its schema names the sides of the fields.
        train: the rows.
        options: how many, and the seed.

    Raises:
        DataError: the schema names no side "item" or "user", items have fewer than two attributes in words, too few
            are described, or there are too few pairs of a kind.
    """
    texts = texts_of(Corpus.read(encoder.schema, encoder, train), options)
    check_texts(texts, options)
    return texts


def texts_of(corpus: Corpus, options: LarrOptions) -> LarrTexts:
    """Items and pairs drawn from a corpus; none of those for a stage that is left out."""
    items = distinct(corpus.items.values())
    chosen = np.random.default_rng([options.seed, 1]).permutation(len(items))[: options.most_items]
    pairs = draw_pairs(corpus, options.most_pairs, options.seed)
    return LarrTexts(
        marks=corpus.marks,
        described=corpus.described,
        items=tuple(items[i] for i in chosen) if options.pretrain_epochs else (),
        pairs={kind: tuple(its) for kind, its in pairs.items()} if options.contrast_epochs else {},
    )
