"""Shares and padding of a team; what several processes add up is tested in test_launch.py."""

import torch

from llactr_core.semantics.tuning.team import ALONE, Team


def test_shares_cover_every_item_once_and_are_as_long_as_one_another():
    teams = [Team(index, 3) for index in range(3)]
    shares = [team.share(list("abcdefgh")) for team in teams]
    assert sorted("".join(map("".join, shares))) == list("abcdefgh")
    assert [len(share) for share in shares] == [3, 3, 2]
    assert [team.leads for team in teams] == [True, False, False]
    assert Team(2, 3).share([1, 2]) == []


def test_each_process_pads_its_own_share():
    assert ALONE.places([2, 3, 9]) == 27
    assert Team(0, 2).places([2, 3, 9]) == 2 * 9 + 3
    assert Team(0, 3).places([5]) == 5


def test_alone_the_sums_are_what_was_given():
    given = [torch.arange(4.0).reshape(2, 2), torch.tensor(3.0)]
    for before, after in zip(given, ALONE.add_up(given), strict=True):
        assert torch.equal(before, after)
