"""Perturbation-based selection, against the algorithm written out on a table of known values."""

import itertools
import math

import pytest
import torch
from mmengine.optim import OptimWrapper
from torch import nn

from mmhoga.models import SearchableHOGA
from mmhoga.search import SearchModel
from mmhoga.search.selection.perturbation import PerturbationSelection, Tuning
from mmhoga.search.selection.score import loss_on

PRIMITIVES = ('none', 'skip_connect', 'se', 'norm_3x3')


def two_edges(toy, primitives=PRIMITIVES):
    """Two cells with K = 1 and an alpha each: two edges."""
    architecture = toy()
    architecture.cells = nn.Sequential(*(SearchableHOGA(8, num_groups=1, primitives=primitives) for _ in range(2)))
    return SearchModel(architecture, alpha_per='stage', stage_pattern=r'cells\.\d')


def value(first, second):
    """An accuracy with an interaction: ``se`` is worth much on one edge only if the other has no ``se``."""
    worth = {'none': 0.3, 'skip_connect': 0.0, 'se': 1.0, 'norm_3x3': 0.9}
    both = 0.8 if first == second == 'se' else 0.0
    return worth[first] + 0.7 * worth[second] - both


def expected_value(mixes):
    return sum(mixes[0][a] * mixes[1][b] * value(a, b) for a, b in itertools.product(PRIMITIVES, PRIMITIVES))


def enumerated(logits, order):
    """The algorithm on dicts of logits."""
    logits = [dict(each) for each in logits]

    def mix(each):
        total = sum(math.exp(x) for x in each.values())
        return {name: math.exp(each[name]) / total if name in each else 0.0 for name in PRIMITIVES}

    for edge in order:
        without = {}
        for name in PRIMITIVES[1:]:
            rest = [{k: x for k, x in each.items() if (i, k) != (edge, name)} for i, each in enumerate(logits)]
            without[name] = expected_value([mix(each) for each in rest])
        logits[edge] = {min(without, key=without.get): 0.0}
    return [next(iter(each)) for each in logits]


@pytest.mark.parametrize('sign', [1, -1])
def test_two_edges_whose_answer_is_known_by_enumeration(toy, sign):
    torch.manual_seed(0)
    model = two_edges(toy)
    logits = [torch.tensor([0.0, 0.1, 0.2, 0.0]), torch.tensor([0.3, 0.0, 0.4, 0.1])]
    for alpha, values in zip(model.alphas, logits):
        alpha.data[0] = values
    tables = [dict(zip(PRIMITIVES, values.tolist())) for values in logits]
    answers = {order: enumerated(tables, order) for order in ((0, 1), (1, 0))}
    assert answers == {(0, 1): ['norm_3x3', 'se'], (1, 0): ['se', 'norm_3x3']}, 'the order matters in this example'

    seen = set()
    for seed in range(8):
        selection = PerturbationSelection(model, lambda architecture: {}, seed=seed)

        def evaluate(architecture, selection=selection):
            mixes = [
                dict(zip(PRIMITIVES, torch.cat(cell.edge_weights())[0].tolist())) for cell in selection.model.cells()
            ]
            # Lower is better for a loss, higher for an accuracy.
            return {'accuracy': expected_value(mixes)} if sign == 1 else {'loss': -expected_value(mixes)}

        selection.evaluate = evaluate
        genotypes = selection.run()
        order = tuple([*model.named_alphas()].index(record['stage']) for record in selection.removals)
        seen.add(order)
        assert [genotype.edges[0][0] for genotype in genotypes.values()] == answers[order]
        assert [record['edge'] for record in selection.removals] == ['o_0_0', 'o_0_0']
        assert all(record['without'].keys() == set(PRIMITIVES[1:]) for record in selection.removals)
        assert selection.score() == pytest.approx(sign * value(*answers[order]))
    assert seen == {(0, 1), (1, 0)}
    for alpha, values in zip(model.alphas, logits):
        assert torch.equal(alpha.data[0], values), 'the model itself keeps its alpha'


def test_the_supernet_is_evaluated_by_batch_statistics_and_keeps_its_own(toy):
    torch.manual_seed(0)
    model = SearchModel(toy(dropout=0.5))
    batch = {'inputs': torch.rand(6, 1, 8, 8), 'gt_label': torch.randint(10, (6,))}
    model.loss(batch)
    selection = PerturbationSelection(model, loss_on([batch]))
    score = selection.score()
    for buffer, expected in zip(selection.model.buffers(), model.buffers()):
        assert torch.equal(buffer, expected)
    model.train()
    model.architecture.dropout.eval()
    assert score == pytest.approx(model.loss(batch)[0].item(), rel=1e-5)


def test_a_sampled_supernet_is_evaluated_by_its_softmax(toy):
    model = SearchModel(toy())
    model.mixings[0].enable_sampling(model.alpha)
    selection = PerturbationSelection(model, lambda architecture: {'loss': 0.0})
    weights = torch.cat(selection.model.cells()[0].edge_weights())
    torch.testing.assert_close(weights.sort(0).values, model.alpha.softmax(-1).sort(0).values)
    assert model.mixings[0].noise is not None


def test_all_edges_of_a_cell_and_the_tuning_between_them(toy):
    """Weights move on trainA after each edge, alpha does not, and the original stays."""
    torch.manual_seed(0)
    model = SearchModel(toy())
    batch = {'inputs': torch.rand(6, 1, 8, 8), 'gt_label': torch.randint(10, (6,))}
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    selection = PerturbationSelection(model, loss_on([batch]), seed=1)
    copied = selection.model
    weights = [p for p in copied.parameters() if p.requires_grad]
    steps = []

    def batches():
        while True:
            steps.append(copied.alpha.isfinite().sum().item())
            yield batch

    selection.tune = Tuning(OptimWrapper(torch.optim.SGD(weights, lr=0.1)), batches(), iterations=2)
    (genotype,) = selection.run().values()
    assert steps == [19, 19, 11, 11, 3, 3], 'two steps after each edge, with one operation on the decided ones'
    kept = {record['edge']: record['kept'] for record in selection.removals}
    assert genotype.edges == ((kept['o_0_0'],), (kept['o_0_1'], kept['o_1_1']))
    for record in selection.removals:
        assert record['kept'] == max(record['without'], key=record['without'].get)
    assert not torch.equal(copied.architecture.fc.weight, model.architecture.fc.weight)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_what_cannot_be_compared(toy):
    with pytest.raises(ValueError, match=r"single candidate se there is nothing to select.*method='argmax'"):
        PerturbationSelection(two_edges(toy, ('se',)), lambda architecture: {'loss': 0.0})
    selection = PerturbationSelection(SearchModel(toy()), lambda architecture: {'loss': 0.0}, metric='accuracy')
    with pytest.raises(ValueError, match=r"no metric 'accuracy'\. It has loss"):
        selection.run()
