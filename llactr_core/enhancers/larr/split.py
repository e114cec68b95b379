"""Which pairs stage 2 of LARR learns from and by which it is judged, and whether there are enough; imports no torch."""

from collections.abc import Sequence

from llactr_core.enhancers.larr.options import LarrOptions
from llactr_core.enhancers.larr.texts import KINDS, Kind, LarrTexts, Pair
from llactr_core.errors import DataError

HELD_OUT = 0.1
FEWEST_HELD_OUT = 2  # one alone has no negative
FEWEST = 4  # different pairs of a kind: two that train, and two that judge


def split(pairs: Sequence[Pair]) -> tuple[list[Pair], list[Pair]]:
    """The pairs of one kind that train, and those held out: the last tenth, two at least.

    Pairs of the same two texts, in either order, are one, so that none of those held out is trained too. Of fewer than
    `FEWEST` none could be held out and enough be left; `check_texts` refuses them.
    """
    by_texts: dict[frozenset[str], Pair] = {}
    for one in pairs:
        by_texts.setdefault(frozenset((one.left, one.right)), one)
    different = list(by_texts.values())
    held_out = max(FEWEST_HELD_OUT, int(HELD_OUT * len(different)))
    return different[:-held_out], different[-held_out:]


def check_texts(texts: LarrTexts, options: LarrOptions) -> None:
    """Refuse what stages 1 and 2 could not work with, before a language model is loaded.

    Raises:
        DataError: fewer than two items are described, or a kind with a weight has fewer than `FEWEST` different pairs.
    """
    if options.pretrain_epochs:
        described = {item for item in texts.items if dict(item.attributes).get(texts.described, "").strip()}
        if len(described) < 2:
            raise DataError(
                f"stage 1 of 'larr' reads the items' {texts.described!r}, but fewer than two items have one; "
                "set larr.pretrain_epochs to 0"
            )
    scarce = [kind for kind in kinds_of(options) if sum(map(len, split(texts.pairs.get(kind, ())))) < FEWEST]
    if options.contrast_epochs and scarce:
        raise DataError(
            f"the clicks have fewer than {FEWEST} different pairs of the kind {', '.join(scarce)}, which stage 2 of "
            f"'larr' needs; set larr.{scarce[0]}, the weight of that loss, to 0, or larr.contrast_epochs"
        )


def kinds_of(options: LarrOptions) -> list[Kind]:
    """The kinds of pairs whose losses have a weight."""
    return [kind for kind in KINDS if weight_of(options, kind) > 0]


def weight_of(options: LarrOptions, kind: Kind) -> float:
    """The weight of a kind's loss."""
    return {"user_user": options.user_user, "item_item": options.item_item, "user_item": options.user_item}[kind]
