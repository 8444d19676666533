"""Against numbers recorded from the authors' code."""

import pytest
import torch

from mmhoga.genotype import BUILTIN
from mmhoga.interop import autola
from mmhoga.models import HOGA, SearchableHOGA


def recorded_loss(out: torch.Tensor) -> torch.Tensor:
    """What the recorded gradients are of."""
    return (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum()


def load(golden, name):
    return torch.load(golden / name, weights_only=True)


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)


def test_derived_cell(golden):
    record = load(golden, 'release_cell_c32.pt')
    cell = HOGA(32, genotype='autola_release', summary='inputs', summary_reduction=8, output_reduction=8)
    cell.load_state_dict(autola.convert_state_dict(record['state_dict'], kind='derived'))
    close(cell.eval()(record['x']), record['eval_out'])
    x = record['x'].clone().requires_grad_()
    out = cell.train()(x)
    close(out, record['train_out'])
    recorded_loss(out).backward()
    close(x.grad, record['grad_x'])


def test_supernet(golden):
    record = load(golden, 'search_cell_c32.pt')
    cell = SearchableHOGA(32, num_groups=4, summary='inputs', summary_reduction=4, output_reduction=16)
    state = {**record['state_dict'], 'alphas_normal': record['alpha']}
    cell.load_state_dict(autola.convert_state_dict(state, kind='supernet'))
    close(cell.eval()(record['x']), record['eval_out'])
    x = record['x'].clone().requires_grad_()
    out = cell.train()(x)
    close(out, record['train_out'])
    recorded_loss(out).backward()
    close(x.grad, record['grad_x'])
    close(cell.alpha.grad, autola.convert_alpha(record['grad_alpha']))


def test_a_supernet_without_alpha_gets_the_uniform_mixture(golden):
    record = load(golden, 'search_cell_c32.pt')
    assert not autola.convert_state_dict(record['state_dict'], kind='supernet')['alpha'].any()


def test_keys_that_do_not_fit_are_named(golden):
    state = load(golden, 'release_cell_c32.pt')['state_dict']
    with pytest.raises(ValueError, match=r"'unknown\.weight' is not a key of a released attention cell"):
        autola.convert_state_dict({**state, 'unknown.weight': torch.zeros(1)}, kind='derived')
    other = [('SE', 0), *autola.RELEASED_NORMAL[1:]]
    with pytest.raises(ValueError, match="o_0_0 is 'se' and has no weights"):
        autola.convert_state_dict(state, kind='derived', normal=other)


def test_released_genotype():
    assert autola.to_genotype(autola.RELEASED_NORMAL) == BUILTIN['autola_release']


def test_alpha_rows_are_permuted():
    alpha = torch.arange(6.0)[:, None]  # theirs: F0; F1, U0; F2, U0, U1
    assert autola.convert_alpha(alpha).flatten().tolist() == [0, 2, 1, 4, 5, 3]


@pytest.mark.parametrize(
    ('normal', 'message'),
    [
        ([('SE', 0), ('SE', 0)], '2 pairs: expected'),
        ([('SE', 1)], 'node 0 takes indices 0 to 0'),
        ([('SE', 0), ('SE', 1), ('SE', 1)], 'node 1 has index 1 twice'),
        ([('SEE', 0)], "Unknown operation 'SEE'"),
    ],
)
def test_bad_genotypes(normal, message):
    with pytest.raises(ValueError, match=message):
        autola.to_genotype(normal)


def test_bad_kinds():
    with pytest.raises(ValueError, match="kind must be 'derived' or 'supernet'"):
        autola.convert_state_dict({}, kind='other')
    with pytest.raises(ValueError, match='leave out `normal`'):
        autola.convert_state_dict({}, kind='supernet', normal=autola.RELEASED_NORMAL)
