"""The examples of docs/without_openmmlab.md, with the oldest supported timm and, where it is installed, a newer one."""

import re
from pathlib import Path

import pytest
import torch

from mmhoga.insertion import cells_of

PAGE = Path(__file__).resolve().parent.parent / 'docs' / 'without_openmmlab.md'
SECTIONS = re.split(r'^## ', PAGE.read_text(encoding='utf-8'), flags=re.MULTILINE)[1:]


def run(title: str, folder: Path, monkeypatch, old: str = '', new: str = '') -> dict:
    """Execute all Python blocks of a section, with ``new`` for ``old``, in their order, and return their names."""
    (section,) = (text for text in SECTIONS if text.startswith(title))
    monkeypatch.chdir(folder)
    assert old in section
    section = section.replace(old, new) if old else section
    namespace: dict = {}
    for block in re.findall(r'```python\n(.*?)```', section, re.DOTALL):
        exec(compile(block, f'{PAGE.name}: {title}', 'exec'), namespace)
    return namespace


def test_a_network_of_your_own(tmp_path, monkeypatch):
    names = run('In a network of your own', tmp_path, monkeypatch)
    x = torch.rand(3, 3, 64, 64)
    torch.testing.assert_close(names['fused'](x), names['network'](x), rtol=1e-4, atol=1e-5)


def test_a_trained_network(tmp_path, monkeypatch):
    pytest.importorskip('timm')
    names = run('In a network that is already trained', tmp_path, monkeypatch)
    assert len(cells_of(names['network'])) == 16


def test_timm(tmp_path, monkeypatch):
    timm = pytest.importorskip('timm')
    (section,) = (text for text in SECTIONS if text.startswith('In a timm model'))
    first, second = re.findall(r'```python\n(.*?)```', section, re.DOTALL)
    names: dict = {'nn': torch.nn}
    counts = []
    for block in (first, second):
        exec(block, names)
        network = names['network']
        counts.append(sum(parameter.numel() for parameter in network.parameters()) / 1e6)
        network(torch.rand(2, 3, 32, 32)).sum().backward()
        cells = [module for module in network.modules() if type(module).__name__ == 'HOGA']
        assert len(cells) == 16
        assert all(parameter.grad.isfinite().all() for cell in cells for parameter in cell.parameters())
    # The figures of the page.
    assert [f'{count:.1f} M' in section for count in counts] == [True, True], counts
    plain = timm.create_model('resnet50').state_dict()
    assert plain.keys() <= network.state_dict().keys()


def test_a_cell_behind_a_zeroed_norm_gets_no_gradient():
    """Why the page says zero_init_last=False."""
    timm = pytest.importorskip('timm')
    from mmhoga import HOGA

    network = timm.create_model('resnet18', block_args=dict(attn_layer=lambda channels, **_: HOGA(channels)))
    network(torch.rand(2, 3, 32, 32)).sum().backward()
    assert not network.layer1[0].conv2.weight.grad.any()


def test_a_search(tmp_path, monkeypatch, capsys):
    names = run('A search in plain torch', tmp_path, monkeypatch, 'range(3)', 'range(2)')
    losses = re.findall(r'trainA ([\d.]+)', capsys.readouterr().out)
    assert float(losses[-1]) < float(losses[0])
    from mmhoga import HOGA

    assert HOGA(16, genotype='genotype.json').genotype == names['genotype']
    assert (tmp_path / 'genotype.json').is_file()
