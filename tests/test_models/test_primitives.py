"""Registered primitives work everywhere, and a broken contract is an error when a cell is built."""

import importlib

import pytest
import torch
from cells import randomize
from torch import nn

import mmhoga.genotype
from mmhoga.genotype import PRIMITIVES, Genotype, GenotypeError
from mmhoga.models import HOGA, OPERATIONS, AttentionOperation, EdgeInput, SearchableHOGA, register_primitive


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    """Forget the primitives of a test afterwards."""
    monkeypatch.setattr(mmhoga.genotype, '_OWN', {})
    before = dict(OPERATIONS)
    yield
    OPERATIONS.clear()
    OPERATIONS.update(before)


def register_scaled(name='scaled'):
    @register_primitive(name)
    class Scaled(AttentionOperation):
        """One learned factor per channel."""

        def __init__(self, channels, edges=1, *, reduction, affine):
            super().__init__(channels, edges)
            self.factor = nn.Parameter(torch.randn(edges * channels))

        def gate(self, edge_input):
            return self.factor.view(1, self.edges, self.channels, 1, 1).sigmoid()

    return Scaled


def test_a_registered_primitive_is_searched_derived_and_written(tmp_path):
    register_scaled()
    names = ('skip_connect', 'scaled', 'norm_3x3')
    supernet = randomize(SearchableHOGA(8, num_groups=4, primitives=names).double().eval())
    supernet.alpha.data[:, 1] = 1e9  # one-hot
    x = torch.randn(2, 8, 5, 5, dtype=torch.float64)
    genotype = Genotype([['scaled'] * (k + 1) for k in range(4)])
    genotype.save(tmp_path / 'genotype.json')
    derived = supernet.derive(str(tmp_path / 'genotype.json'))
    assert derived.genotype == genotype
    torch.testing.assert_close(derived(x), supernet(x))


def test_all_candidates_get_gradients_beside_a_registered_one():
    """With all built-in candidates their gates are batched, and the registered one is added."""
    register_scaled()
    supernet = SearchableHOGA(8, num_groups=2, primitives=(*PRIMITIVES, 'scaled'))
    supernet(torch.randn(2, 8, 4, 4)).sum().backward()
    assert (supernet.alpha.grad != 0).all()
    assert all(p.grad is not None for name, p in supernet.named_parameters() if 'scaled' in name)


def test_checking_leaves_random_numbers_alone():
    register_scaled()
    states = []
    for _ in range(2):  # the second time without a check
        torch.manual_seed(3)
        HOGA(8, genotype=[['scaled']])
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


def test_shapes_without_numbers():
    register_scaled()
    with torch.device('meta'):
        assert SearchableHOGA(8, primitives=['scaled', 'none']).alpha.is_meta


def test_a_primitive_that_was_not_imported():
    with pytest.raises(GenotypeError, match=r"unknown operation 'scaled'.*import the module that registers it first"):
        Genotype([['scaled']])
    with pytest.raises(GenotypeError, match=r'unknown operation .*custom_imports'):
        SearchableHOGA(8, primitives=['scaled', 'se'])


@pytest.mark.parametrize('module', ['mmhoga.models', 'mmhoga.models.operations'])
def test_the_old_name_of_edge_input_still_works(module):
    module = importlib.import_module(module)
    with pytest.warns(DeprecationWarning, match='Source is now called EdgeInput'):
        assert module.Source is EdgeInput
    with pytest.raises(AttributeError):
        module.Sauce  # noqa: B018


def test_bad_registrations():
    with pytest.raises(TypeError, match=r'must derive from mmhoga\.models\.AttentionOperation'):
        register_primitive('plain')(nn.Linear)
    with pytest.raises(ValueError, match="'se' is a primitive of mmhoga"):
        register_primitive('se')(AttentionOperation)
    with pytest.raises(ValueError, match='letters, digits and underscores'):
        register_primitive('my op')(AttentionOperation)
    with pytest.raises(TypeError, match='the argument is a name'):
        register_primitive(AttentionOperation)


class WrongSignature(AttentionOperation):
    def __init__(self, width):
        super().__init__(width)


class WrongShape(AttentionOperation):
    def gate(self, edge_input):
        return edge_input.x.mean((-2, -1))


class NoTensor(AttentionOperation):
    def gate(self, edge_input):
        return 1.0


class NotStacked(AttentionOperation):
    def __init__(self, channels, edges=1, *, reduction, affine):
        super().__init__(channels, edges)
        self.factor = nn.Parameter(torch.ones(channels, edges))

    def gate(self, edge_input):
        return self.factor.mT[..., None, None]


@pytest.mark.parametrize(
    ('operation', 'error', 'message'),
    [
        (WrongSignature, TypeError, r"'bad' \(.*WrongSignature\) has the signature \(width\), but a cell calls it as"),
        (WrongShape, ValueError, r'does not broadcast to the shape of its input, \(3, 1, 4, 6, 5\)'),
        (NoTensor, TypeError, 'must return a tensor, not float'),
        (NotStacked, ValueError, r'does not stack the weights .*factor of one edge is \(2, 2\), but .* \(4, 1\)'),
    ],
)
def test_a_broken_contract_is_an_error_when_built(operation, error, message):
    register_primitive('bad')(operation)
    with pytest.raises(error, match=message):
        SearchableHOGA(16, primitives=['skip_connect', 'bad'])
    with pytest.raises(error, match=message):
        HOGA(16, genotype=[['bad'] * (k + 1) for k in range(4)])
