"""Controls take the meaning away and leave everything else."""

import numpy as np
import pytest

from llactr_core.proof.arms import BOTH, FIELDS, PLAIN, WIDENED, Read, arms_of, shipped
from llactr_core.proof.controls import CHANGES, changed_fields, changed_values
from llactr_core.semantics.semantics import Semantics
from llactr_core.semantics.table import FieldTable
from llactr_core.semantics.values.table import ValueTable


def read() -> Semantics:
    random = np.random.default_rng(0)
    fields = FieldTable(("a", "b", "c"), random.normal(size=(3, 8)).astype(np.float32), "m", "r")
    values = ValueTable(
        ("a", "b"), (("x", "y", "z"), ("u", "v")), random.normal(size=(5, 8)).astype(np.float32), "m", "r"
    )
    return Semantics(fields, values)


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_a_control_changes_one_side_and_keeps_the_other(change: str) -> None:
    given = read()
    fields, values = changed_fields(given, change, 1), changed_values(given, change, 1)
    assert fields.values == given.values
    assert fields.fields != given.fields
    assert values.fields == given.fields
    assert values.values != given.values
    assert changed_values(given, change, 1).values == values.values
    assert changed_fields(Semantics(), change, 1) == Semantics() == changed_values(Semantics(), change, 1)


def test_random_vectors_keep_their_lengths() -> None:
    given, changed = read().fields, changed_fields(read(), "random", 1).fields
    assert given is not None
    assert changed is not None
    assert np.linalg.norm(changed.vectors, axis=1) == pytest.approx(np.linalg.norm(given.vectors, axis=1), rel=1e-6)


def test_shuffled_values_stay_in_their_field_and_none_keeps_its_vector() -> None:
    given, changed = read().values, changed_values(read(), "shuffled", 1).values
    assert given is not None
    assert changed is not None
    for name in given.fields:
        mine, theirs = given.of(name)[1], changed.of(name)[1]
        assert sorted(map(tuple, mine)) == sorted(map(tuple, theirs))
        assert (mine != theirs).any(axis=1).all()


def test_equal_vectors_differ_in_nothing() -> None:
    values = changed_values(read(), "equal", 1).values
    assert values is not None
    assert all((values.of(name)[1] == values.of(name)[1][0]).all() for name in values.fields)


def test_every_arm_that_the_proof_needs_is_there() -> None:
    names = [arm.name for arm in arms_of(has_values=True, quick=False)]
    assert names[:7] == [PLAIN, WIDENED, FIELDS, "FRE", "FIE", "values", BOTH]
    kinds = ["random", "equal", "shuffled"]
    assert sorted(names[7:]) == sorted(
        [f"{kind} {side} vectors" for kind in kinds for side in ("field", "value")] + ["untuned language model"]
    )
    controls = {arm.name for arm in arms_of(has_values=True, quick=False) if arm.is_control}
    assert controls == set(names[7:])
    assert shipped(True) == BOTH
    assert shipped(False) == FIELDS
    assert not any("value" in arm.name for arm in arms_of(has_values=False, quick=False))


def test_a_control_has_the_options_and_the_search_of_what_it_controls() -> None:
    arms = {arm.name: arm for arm in arms_of(has_values=True, quick=False)}
    given = read()
    for arm in arms.values():
        if arm.is_control:
            assert (arm.llactr, arm.searched) == (arms[BOTH].llactr, arms[BOTH].searched)
            assert arm.semantics(Read(given, given)).fields is not None
    assert arms["untuned language model"].semantics(Read(given, Semantics())) == Semantics()
