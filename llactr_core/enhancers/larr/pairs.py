"""The three kinds of pairs of stage 2 of LARR (arXiv 2408.11523), built from the clicks."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from llactr_core.enhancers.larr.corpus import CLICKED, Corpus
from llactr_core.enhancers.larr.texts import KINDS, LONGEST, Kind, Pair, mark, plain

SHOWN = 5  # clicked items that a user's text names
TRIES = 20  # clicks that are looked at for a pair that is wanted


def draw_pairs(corpus: Corpus, most: int, seed: int) -> dict[Kind, list[Pair]]:
    """At most `most` different pairs of each kind, drawn at random; a kind that the clicks do not have is empty.

    Users who clicked the same item are a pair, so are items that one user clicked, and a user with each item that he
    clicked. The text of a user names what else he clicked, never what makes the pair. A user or item of whom there is
    nothing to say makes no pair, and neither do two who read the same.
    """
    random = np.random.default_rng([seed, 4])
    by_item, by_user = _grouped(corpus)
    found: dict[Kind, dict[frozenset[str], Pair]] = {kind: {} for kind in KINDS}
    order = random.permutation(len(corpus.clicks))[: TRIES * most]
    for user, item in (corpus.clicks[i] for i in order):
        if all(len(pairs) >= most for pairs in found.values()):
            break
        alike = [one for one in by_item[item] if one != user]
        others = [one for one in by_user[user] if one != item]
        text, here = _user_text(corpus, user, by_user, item), corpus.items[item].text()
        _add(found["user_item"], most, Pair(text, here, user, item))
        if alike:
            other = alike[int(random.integers(len(alike)))]
            _add(found["user_user"], most, Pair(text, _user_text(corpus, other, by_user, item), user, other))
        if others:
            other = others[int(random.integers(len(others)))]
            _add(found["item_item"], most, Pair(here, corpus.items[other].text(), item, other))
    return {kind: list(pairs.values()) for kind, pairs in found.items()}


def _add(pairs: dict[frozenset[str], Pair], most: int, pair: Pair) -> None:
    texts = frozenset((pair.left, pair.right))
    if len(pairs) < most and len(texts - {""}) == 2:
        pairs.setdefault(texts, pair)


def _grouped(corpus: Corpus) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """The users of each item, and the items of each user."""
    by_item: dict[str, list[str]] = defaultdict(list)
    by_user: dict[str, list[str]] = defaultdict(list)
    for user, item in corpus.clicks:
        by_item[item].append(user)
        by_user[user].append(item)
    return by_item, by_user


def _user_text(corpus: Corpus, user: str, by_user: Mapping[str, Sequence[str]], without: str) -> str:
    """The user's attributes and the last items that were clicked, but for one, each by its attributes in short.

    Empty where there are neither.
    """
    shown = [_short(corpus, one) for one in by_user[user] if one != without][-SHOWN:]
    clicked = " | ".join(item for item in shown if item)
    return f"{corpus.users[user].text()} {f'{mark(CLICKED)} {clicked}' if clicked else ''}".strip()


def _short(corpus: Corpus, item: str) -> str:
    """An item without its description and without marks."""
    its = corpus.items[item].attributes
    return ", ".join(plain(value[:LONGEST]) for name, value in its if name != corpus.described)
