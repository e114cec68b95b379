"""What holds a model back: a falling learning rate, the L2 of embeddings, and one row for all rare values."""

from pathlib import Path

import pytest
import torch
from shop import QUICK, SHOP

from llactr_core.data.splits import Splits
from llactr_core.data.vocabulary import UNSEEN
from llactr_core.semantics.semantics import Semantics
from llactr_core.training.adam import TableAdam
from llactr_core.training.build import build_model
from llactr_core.training.checkpoint import Checkpoint
from llactr_core.training.data import Batch
from llactr_core.training.loop import History, loss_of, train_step
from llactr_core.training.prepared import Prepared
from llactr_core.training.run import train_model

PLAIN = QUICK.model_copy(update={"enhancer": "none"})
OFTEN = 50  # about half of the users were seen fewer times


@pytest.fixture(scope="module")
def data(shop: Splits) -> Prepared:
    return Prepared.read(shop, SHOP)


def test_a_miss_is_an_evaluation_that_is_no_better_than_the_best_before_it() -> None:
    values = [0.6, 0.7, 0.65, 0.69, 0.7, 0.71, 0.5]
    assert [History(evaluations=[{"auc": v} for v in values[:n]]).misses for n in range(8)] == [0, 0, 0, 1, 2, 3, 3, 4]


def test_the_rate_falls_only_after_a_miss(data: Prepared) -> None:
    options = PLAIN.model_copy(update={"evaluations": 4, "epochs": 5, "patience": 20, "learning_rate": 0.05})
    constant = train_model(data, Semantics(), options).history.evaluations
    falling = train_model(data, Semantics(), options.model_copy(update={"rate_decay": 0.01})).history.evaluations
    first = next(n for n in range(len(constant)) if History(evaluations=constant[: n + 1]).misses)
    assert first < len(constant) - 2
    assert falling[: first + 1] == constant[: first + 1]
    assert falling[first + 1] != constant[first + 1]
    ends = [abs(run[-1]["logloss"] - run[-2]["logloss"]) for run in (falling, constant)]
    assert ends[0] < ends[1] / 10, "a model whose rate has fallen hardly moves"


def test_a_killed_run_with_a_falling_rate_and_shared_rows_goes_on_to_the_same_model(
    data: Prepared, tmp_path: Path
) -> None:
    class Cut(Exception):
        pass

    def cut(history: History) -> None:
        if history.misses:
            raise Cut

    given = {"rate_decay": 0.5, "rare": OFTEN, "l2_by": "row", "learning_rate": 0.05, "evaluations": 4, "patience": 20}
    options = PLAIN.model_copy(update=given)
    whole = train_model(data, Semantics(), options)
    with pytest.raises(Cut):
        train_model(data, Semantics(), options, Checkpoint(tmp_path, "key"), on_evaluation=cut)
    resumed = train_model(data, Semantics(), options, Checkpoint(tmp_path, "key"))
    assert resumed.history.evaluations == whole.history.evaluations
    assert torch.equal(resumed.model.folded(), whole.model.folded())


def test_rare_values_train_the_row_of_the_unseen_one(data: Prepared) -> None:
    options = PLAIN.model_copy(update={"rare": OFTEN})
    model = build_model(data.encoder, Semantics(), options)
    before = model.embedding.table.detach().clone()
    optimizer = TableAdam(model, 0.01)
    assert data.train.weights is not None
    train_step(model, optimizer, Batch(data.train.ids, data.train.weights, data.train.labels), options)
    moved = (model.embedding.table.detach() != before).any(dim=1)
    rare = torch.from_numpy(data.encoder.rarer_than(OFTEN) & (data.encoder.counts > 0))
    assert rare.sum() > 10
    assert not moved[rare].any()
    assert moved[UNSEEN]
    folded, unseen = model.folded(), torch.from_numpy(data.encoder.unseen_ids).long()
    assert torch.equal(folded[rare], model.embedding.table.detach()[unseen[rare]])


def test_by_row_a_value_weighs_once_however_often_the_batch_has_it(data: Prepared) -> None:
    rows = torch.arange(data.encoder.size)
    ids = data.train.ids[:1].repeat(8, 1)
    slopes = {}
    for by in ("occurrence", "row"):
        options = PLAIN.model_copy(update={"l2_by": by, "embedding_l2": 1e6})
        model = build_model(data.encoder, Semantics(), options)
        own = model.embedding.table.detach().clone().requires_grad_()
        loss_of(model, Batch(ids, torch.ones(ids.shape), torch.ones(8)), rows, own, options)[0].backward()
        assert own.grad is not None
        slopes[by] = own.grad[ids[0, 0]]
    ratio = slopes["occurrence"][:4] / slopes["row"][:4]
    torch.testing.assert_close(ratio, torch.full((4,), 8.0), rtol=1e-3, atol=0)
