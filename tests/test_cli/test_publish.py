"""``mmhoga publish``: weights and their description without the state of the training, written atomically."""

import hashlib
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer

from mmhoga import Genotype
from mmhoga.cli.export import publish_main
from mmhoga.hosts import build_model, load_config


@pytest.fixture
def checkpoint(tmp_path):
    """A checkpoint as mmengine saves it."""
    path = tmp_path / 'epoch_3.pth'
    weight = torch.arange(6.0).requires_grad_()
    torch.save(
        {
            'meta': dict(epoch=3, cfg='model = 1', dataset_meta=dict(classes=('a', 'b')), time='now', hostname='mine'),
            'state_dict': {'fc.weight': weight},
            'ema_state_dict': {'module.fc.weight': torch.zeros(6)},
            'message_hub': {'log_scalars': {'loss': HistoryBuffer()}},
            'optimizer': {'state': {0: torch.ones(1000)}},
            'param_schedulers': [],
        },
        path,
    )
    return path


def test_weights_without_the_training(checkpoint, tmp_path, capsys):
    assert publish_main([str(checkpoint), '--out', str(tmp_path / 'mine.pth')]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert path.name == f'mine-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth'
    assert path.stat().st_size < checkpoint.stat().st_size
    published = torch.load(path, weights_only=True)  # nothing but tensors and plain containers is left
    assert published.keys() == {'meta', 'state_dict'}
    assert published['meta'] == dict(epoch=3, cfg='model = 1', dataset_meta=dict(classes=('a', 'b')))
    assert torch.equal(published['state_dict']['fc.weight'], torch.arange(6.0))
    before = path.read_bytes()
    assert publish_main([str(checkpoint), '--out', str(tmp_path / 'mine.pth')]) == 0
    assert Path(capsys.readouterr().out.strip()) == path and path.read_bytes() == before, 'the same file again'


def test_mistakes(checkpoint, tmp_path, capsys):
    def error(*arguments):
        try:
            assert publish_main([str(argument) for argument in arguments]) == 2
        except SystemExit as error:  # argparse
            assert error.code == 2
        return capsys.readouterr().err

    assert f'Did you mean {checkpoint}?' in error(tmp_path / 'epoch_4.pth', '--out', tmp_path / 'x.pth')
    assert 'must end in .pth' in error(checkpoint, '--out', tmp_path / 'x.onnx')
    assert 'nowhere is not a folder that can be written to' in error(
        checkpoint, '--out', tmp_path / 'nowhere' / 'x.pth'
    )
    torch.save({'weights': 1}, tmp_path / 'other.pth')
    assert 'no "state_dict" in it' in error(tmp_path / 'other.pth', '--out', tmp_path / 'x.pth')
    (tmp_path / 'cut.pth').write_bytes(checkpoint.read_bytes()[:200])
    assert 'cannot be read as a checkpoint' in error(tmp_path / 'cut.pth', '--out', tmp_path / 'x.pth')
    (tmp_path / 'text.pth').write_text('no pickle')
    message = error(tmp_path / 'text.pth', '--out', tmp_path / 'x.pth')
    assert 'cannot be read as a checkpoint' in message and 'weights_only' not in message  # unsafe advice of torch
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(('x', '.'))]


def test_a_searched_genotype_goes_with_what_is_sent(tmp_path, monkeypatch):
    """The dumped config, the checkpoint and the published file build the network in an empty folder."""
    pytest.importorskip('mmpretrain')
    there, here = tmp_path / 'there', tmp_path / 'here'
    there.mkdir()
    here.mkdir()
    monkeypatch.chdir(there)
    Genotype.from_config('hog_cbam').save('genotype.json')
    cfg = load_config('hoga-resnet8_1xb96-8e_digits', {'model.backbone.plugins.0.cfg.genotype': 'genotype.json'})
    trained = build_model(cfg)
    cfg.dump('dumped.py')
    torch.save({'meta': {'cfg': cfg.pretty_text}, 'state_dict': trained.state_dict()}, 'epoch_1.pth')
    assert publish_main(['epoch_1.pth', '--out', 'published.pth']) == 0
    (published,) = there.glob('published-*.pth')
    for file in ('dumped.py', 'epoch_1.pth', published.name):
        (there / file).rename(here / file)
    for leftover in there.iterdir():
        leftover.unlink()
    monkeypatch.chdir(here)
    state = trained.state_dict()
    configs = [Config.fromfile('dumped.py')]
    for name in ('epoch_1.pth', published.name):
        file = torch.load(name, weights_only=True)
        assert file['state_dict'].keys() == state.keys()
        configs.append(Config.fromstring(file['meta']['cfg'], '.py'))
    for sent in configs:
        build_model(sent).load_state_dict(state)
