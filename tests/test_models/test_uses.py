"""The number of uses of inputs and nodes is that which a forward pass has."""

import random

import pytest
import torch

from mmhoga.genotype import PRIMITIVES
from mmhoga.models import HOGA
from mmhoga.models.fast import joint_cell
from mmhoga.models.fast.choice import PLAIN


@pytest.mark.parametrize('seed', range(12))
def test_all_are_used_and_no_more(seed, monkeypatch):
    choose = random.Random(seed).choices
    count = 2 + seed % 4
    weights = [4 if name in ('none', 'skip_connect') else 1 for name in PRIMITIVES]
    genotype = [choose(PRIMITIVES, weights, k=k + 1) for k in range(count)]
    lists = []

    def split(x, uses):
        whole, parts = PLAIN.split(x, uses)
        lists.extend(parts)
        return whole, parts

    def gated_sum(*args):
        lists.append(PLAIN.gated_sum(*args))
        return lists[-1]

    monkeypatch.setattr(joint_cell, 'chosen', lambda x, triton: PLAIN._replace(split=split, gated_sum=gated_sum))
    cell = HOGA(4 * count, genotype=genotype, summary='inputs' if seed % 2 else 'nodes')
    cell(torch.randn(1, 4 * count, 3, 3))
    counts = cell_uses(genotype, seed % 2 == 1)
    for k, own in enumerate(lists[:count]):
        assert len(own) == (0 if counts[k] else 1)  # an input that nothing uses is there for its shape
    assert not any(lists[count:])


def cell_uses(genotype, from_inputs):
    """Whether each input is used at all."""
    return [from_inputs or genotype[k][k] != 'none' for k in range(len(genotype))]
