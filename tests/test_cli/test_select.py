"""``mmhoga select`` on a finished search."""

import json
from pathlib import Path

import pytest
import torch

from mmhoga.cli.select import select_main
from mmhoga.cli.train import train_main
from mmhoga.genotype import Genotype

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def searched(tmp_path_factory):
    """The work_dir of a small search on digits, two epochs of two steps."""
    work_dir = tmp_path_factory.mktemp('select') / 'search'
    small = [
        'train_cfg.max_epochs=2',
        'train_dataloader.batch_size=8',
        'train_dataloader.dataset.indices=32',
        'val_dataloader.dataset.indices=40',
        'model.architecture.backbone.base_channels=4',
        'model.architecture.head.in_channels=16',
    ]
    config = ROOT / 'configs/search/hoga-search_resnet8_1xb64-8e_digits.py'
    assert train_main([str(config), '--work-dir', str(work_dir), '--cfg-options', *small]) == 0
    return work_dir


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in Path(folder).rglob('*') if path.is_file()}


def test_each_method_writes_a_folder_of_its_own(searched, tmp_path, capsys):
    before = files(searched)
    argmax = Genotype.load(searched / 'genotype.json')
    for method, options in (
        ('argmax', []),
        ('score', ['--candidates', '3', '--norm-batches', '1', '--data', 'val', '--metric', 'accuracy/top1']),
        ('perturbation', ['--batches', '1', '--tune-iterations', '0', '--seed', '3']),
    ):
        out = tmp_path / method
        assert select_main([str(searched), '--method', method, '--out', str(out), *options]) == 0
        genotype = Genotype.load(out / 'genotype.json')
        assert str(genotype) in capsys.readouterr().out
        assert genotype.meta['selection']['method'] == method
        assert {**genotype.meta, 'selection': 0} == {**argmax.meta, 'selection': 0}
        assert (out / 'plugins.py').is_file()
        weights = torch.load(out / 'derived.pth', weights_only=True)['state_dict']
        searched_weights = torch.load(searched / 'epoch_2.pth', weights_only=True)['state_dict']
        assert torch.equal(weights['head.fc.weight'], searched_weights['architecture.head.fc.weight'])
        assert (out / 'candidates.json').is_file() == (method != 'argmax')
    assert Genotype.load(tmp_path / 'argmax/genotype.json') == argmax
    candidates = json.loads((tmp_path / 'score/candidates.json').read_text())['candidates']
    scores = [candidate['metrics']['accuracy/top1'] for candidate in candidates]
    assert len(scores) == 3 and scores == sorted(scores, reverse=True)
    assert files(searched) == before


def test_what_the_search_selected_itself_comes_out_again(searched, tmp_path):
    """Also with the config that the search was started from, in the same folder."""
    selection = ['--method', 'score', '--candidates', '4', '--norm-batches', '1', '--batches', '2']
    assert select_main([str(searched), *selection, '--out', str(tmp_path / 'out')]) == 0
    options = [
        'train_cfg.selection.method=score',
        'train_cfg.selection.candidates=4',
        'train_cfg.selection.norm_batches=1',
        'train_cfg.selection.batches=2',
    ]
    config = next(path for path in searched.glob('*.py') if path.name != 'plugins.py')
    assert train_main([str(config), '--work-dir', str(searched), '--resume', '--cfg-options', *options]) == 0
    for name in ('genotype.json', 'candidates.json', 'derived.pth', 'plugins.py'):
        assert (searched / name).read_bytes() == (tmp_path / 'out' / name).read_bytes(), name


def test_bad_input(searched, tmp_path, capsys):
    for arguments, message in (
        ([str(tmp_path / 'nothing'), '--method', 'score'], 'there is no folder'),
        ([str(tmp_path), '--method', 'score'], 'has no checkpoint (no last_checkpoint)'),
        ([str(tmp_path), '--method', 'score', '--checkpoint', 'x.pth'], 'there is no checkpoint x.pth'),
        (
            [str(tmp_path), '--method', 'score', '--checkpoint', str(searched / 'epoch_2.pth')],
            'has no config of a search',
        ),
        ([str(searched), '--method', 'argmax', '--candidates', '3'], "'argmax' has no option candidates"),
        ([str(searched), '--method', 'score', '--data', 'val', '--metric', 'mAP'], "has no metric 'mAP'"),
    ):
        assert select_main(arguments) == 2
        assert message in capsys.readouterr().err
