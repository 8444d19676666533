import numpy as np
import pytest
import torch
from small_networks import Net, hoga_net
from torch import nn

from mmhoga.figures.look_figures import attention_figure
from mmhoga.genotype import PRIMITIVES, edge_list, edge_name
from mmhoga.look.attention_maps import attention_maps, hoga_cells
from mmhoga.models import HOGA
from mmhoga.models.operations import EdgeInput

GENOTYPES = {
    'autola': 'autola',
    'all kinds': [
        ['none'],
        ['se', 'cbam'],
        ['norm_3x3_d2', 'spatial_3x3_d2', 'se_avgmax'],
        ['skip_connect', 'norm_3x3', 'spatial_3x3', 'none'],
    ],
    'one group': [['se']],
}


CELLS = [*((genotype, 'random') for genotype in GENOTYPES.values()), ('autola', 'identity')]


@pytest.fixture(params=CELLS, ids=[*GENOTYPES, 'identity'])
def cell(request):
    genotype, start = request.param
    cell = HOGA(16, genotype=genotype, start=start).eval()
    for parameter in cell.parameters():
        nn.init.normal_(parameter, std=0.5)
    return cell


def test_gates_and_nodes_reproduce_the_cell(cell):
    """Eq. (2) with the recorded gates: U_k = g_kk F_k + sum_j g_jk U_j."""
    x = torch.randn(2, 16, 6, 5)
    maps = attention_maps(nn.Sequential(cell), x, '0', cell)
    groups = x.unflatten(1, (cell.num_groups, -1))
    for k in range(cell.num_groups):
        node = maps.gates[k, k] * groups[:, k] + sum(maps.gates[j, k] * maps.nodes[:, j] for j in range(k))
        torch.testing.assert_close(maps.nodes[:, k], node)
    summary = maps.summary_gate[:, :, None, None] * maps.nodes.sum(1)
    mapped = cell.phi(torch.cat((maps.nodes.flatten(1, 2), summary), 1)) + x
    torch.testing.assert_close(maps.output_gate[:, :, None, None] * mapped, cell(x))


def test_gates_are_those_of_the_operations(cell):
    x = torch.randn(2, 16, 6, 5)
    maps = attention_maps(nn.Sequential(cell), x, '0', cell)
    assert list(maps.gates) == edge_list(cell.num_groups)
    for (j, k), gate in maps.gates.items():
        name = cell.genotype.operation(j, k)
        assert name in PRIMITIVES
        assert gate.shape == (2, cell.group_channels, 6, 5)
        assert ((gate >= 0) & (gate <= 1)).all()
        source = x.unflatten(1, (cell.num_groups, -1))[:, k] if j == k else maps.nodes[:, j]
        expected = cell.edges[edge_name(j, k)](EdgeInput(source.unsqueeze(1))).squeeze(1)
        torch.testing.assert_close(gate * source, expected)
        if name in ('none', 'skip_connect'):
            assert (gate == (name == 'skip_connect')).all()


def test_node_maps_are_relative_to_the_strongest_node(cell):
    maps = attention_maps(nn.Sequential(cell), torch.randn(3, 16, 4, 4), '0', cell)
    shares = torch.stack([maps.node_map(k) for k in range(cell.num_groups)], 1)
    torch.testing.assert_close(shares.amax((1, 2, 3)), torch.ones(3))
    torch.testing.assert_close(shares[0] * maps.nodes[0].abs().mean(1).max(), maps.nodes[0].abs().mean(1))


def test_the_figure(cell):
    maps = attention_maps(nn.Sequential(cell), torch.randn(2, 16, 4, 4), '0', cell)
    figure = attention_figure(maps, [np.zeros((8, 8)), np.zeros((8, 8, 3))], ['a', 'b'], 'cell', (8, 8))
    figure.canvas.draw()
    titles = [axes.get_title() for part in figure.subfigs for axes in part.axes]
    edges, nodes = len(maps.gates), cell.num_groups
    assert sum('→' in title for title in titles) == 2 * edges
    assert sum('magnitude' in title for title in titles) == 2 * nodes


def test_bad_input():
    model, x = hoga_net(), torch.randn(1, 3, 8, 8)
    assert hoga_cells(model) == ['attention']
    with pytest.raises(ValueError, match=r"'stage1' is a Conv2d, not a HOGA\. HOGA cells: attention"):
        attention_maps(model, x, 'stage1', model)
    with pytest.raises(ValueError, match='Similar names: attention'):
        attention_maps(model, x, 'atention', model)
    with pytest.raises(ValueError, match='did not run'):
        attention_maps(model, x, 'attention', model.stage1)
    with pytest.raises(ValueError, match='Net has no HOGA cell'):
        hoga_cells(Net())
