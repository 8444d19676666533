"""Files that mmengine writes are plain, and a run that resumes from one continues exactly."""

import copy
import pickle
import subprocess
import sys
import sysconfig
from collections import Counter, OrderedDict, defaultdict

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import Runner, checkpoint
from mmengine.runner.checkpoint import save_checkpoint

from mmhoga.compat.checkpoint import CheckpointError, plain_checkpoint, read_checkpoint
from mmhoga.compat.checkpoint.objects import Unknown
from mmhoga.compat.checkpoint.plain import TYPES, with_types


class Points(BaseDataset):
    METAINFO = dict(
        classes=('a', 'b'),
        sigmas=np.array([0.5, 0.25], np.float32),
        colors=np.zeros((2, 3), np.uint8),
        links=np.zeros((0, 2)),  # as of mmpose's datasets without a skeleton
    )

    def load_data_list(self):
        return [dict(x=float(i)) for i in range(4)]


class Line(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        torch.nn.init.ones_(self.layer.weight)
        torch.nn.init.zeros_(self.layer.bias)

    def forward(self, x, sample_idx, mode='tensor'):
        error = (self.layer(x.float()[:, None]) - 1) ** 2
        return dict(loss=error.mean()) if mode == 'loss' else list(error)


class Error(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results += [float(sample) for sample in data_samples]

    def compute_metrics(self, results):
        return dict(error=np.mean(results))  # a numpy scalar, as most metrics return


def run(work_dir, epochs, **options):
    loader = dict(
        batch_size=2,
        dataset=Points(metainfo=dict(nested=ConfigDict(weights=[1.0, ConfigDict(a=(np.arange(2),))]))),
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate'),
    )
    runner = Runner(
        Line(),
        str(work_dir),
        train_dataloader=loader,
        val_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        val_cfg=dict(),
        val_evaluator=Evaluator(Error()),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.1)),
        param_scheduler=[
            dict(type='LinearLR', start_factor=0.1, end=1),
            dict(type='MultiStepLR', milestones=[2, 2, 3], gamma=0.5),
        ],
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1, save_best='error', rule='less')),
        custom_hooks=[dict(type='EMAHook')],
        experiment_name=f'{work_dir.name}_{epochs}',
        **options,
    )
    runner.train()
    return runner


def same_run(left, right):
    state = right.model.state_dict()
    for key, value in left.model.state_dict().items():
        assert torch.equal(state[key], value)
    for key, buffer in left.message_hub.log_scalars.items():
        if 'time' not in key:
            for ours, theirs in zip(buffer.data, right.message_hub.get_scalar(key).data):
                assert ours.dtype == theirs.dtype and ours.tolist() == theirs.tolist()
    states = [[scheduler.state_dict() for scheduler in runner.param_schedulers] for runner in (left, right)]
    assert states[0] == states[1] and type(states[0][1]['milestones']) is Counter


def test_a_training_writes_plain_files_and_resumes_as_from_files_of_mmengine(tmp_path, monkeypatch):
    run(tmp_path / 'ours', 2)
    files = sorted((tmp_path / 'ours').glob('*.pth'))
    assert len(files) == 3  # two epochs and the best
    for file in files:
        if torch.__version__ >= '2.1':  # 2.0 knows no Counter, in which a scheduler keeps its milestones
            torch.load(file, weights_only=True)
    resumed = run(tmp_path / 'ours', 4, resume=True)
    assert resumed.iter == 8 and len(resumed.message_hub.get_scalar('train/loss').data[0]) == 8

    class Unprotected:
        """torch as mmengine used it before torch 2.6."""

        def __getattr__(self, name):
            return getattr(torch, name)

        def load(self, file, map_location=None, **_):
            return torch.load(file, map_location, weights_only=False)

    monkeypatch.setattr(checkpoint, 'torch', Unprotected())
    run(tmp_path / 'theirs', 2)
    with pytest.raises(pickle.UnpicklingError):  # otherwise there would be nothing to repair
        torch.load(tmp_path / 'theirs' / 'epoch_2.pth', weights_only=True)
    same_run(run(tmp_path / 'theirs', 4, resume=True), resumed)


def test_a_checkpoint_of_a_training_has_its_types(tmp_path):
    runner = run(tmp_path, 1)
    loaded = read_checkpoint(tmp_path / 'epoch_1.pth')
    assert TYPES not in loaded
    losses = loaded['message_hub']['log_scalars']['train/loss']
    assert type(losses) is HistoryBuffer and losses.mean() == runner.message_hub.get_scalar('train/loss').mean()
    meta = loaded['meta']['dataset_meta']
    assert type(meta['sigmas']) is np.ndarray and meta['sigmas'].tolist() == [0.5, 0.25]
    assert (meta['sigmas'].dtype, meta['colors'].dtype, meta['links'].shape) == (np.float32, np.uint8, (0, 2))
    assert type(meta['nested']) is type(meta['nested']['weights'][1]) is ConfigDict
    assert meta['nested'].weights[1].a[0].tolist() == [0, 1]


def test_a_process_without_mmhoga_reads_the_file(tmp_path):
    """Python's option -S leaves out the .pth file of the development environment, which imports mmhoga."""
    run(tmp_path, 1)
    code = (
        f'import sys; sys.path.append({sysconfig.get_path("purelib")!r}); import torch\n'
        'from mmengine.runner import load_checkpoint\n'
        'from mmengine.logging import MessageHub\n'
        f'saved = load_checkpoint(torch.nn.Module(), {str(tmp_path / "epoch_1.pth")!r})\n'
        "meta = saved['meta']['dataset_meta']\n"
        "assert 'mmhoga' not in sys.modules\n"
        "assert meta['classes'] == ('a', 'b') and meta['sigmas'].tolist() == [0.5, 0.25], meta\n"
        "hub = MessageHub.get_instance('mine')\n"
        "hub.load_state_dict(saved['message_hub'])\n"
        "assert hub.get_info('max_epochs') == 1, hub.runtime_info\n"
    )
    result = subprocess.run([sys.executable, '-S', '-c', code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def content():
    return {
        'state_dict': OrderedDict(w=torch.ones(2)),
        'arrays': [np.arange(6, dtype=np.int16).reshape(2, 3), (np.zeros(2, bool), {'a': np.float64([1.5])})],
        'scalars': {'a': np.float32(0.5), 'b': np.int64(3), 'c': np.bool_(True), 'd': np.str_('x')},
        'history': HistoryBuffer([1.0], [2], max_length=5),
        'config': ConfigDict(a=[ConfigDict(b=np.ones(1))]),
        'default': defaultdict(list, a=[np.int8(1)]),
    }


def test_plain_and_back(tmp_path):
    given = content()
    given['state_dict']._metadata = {'': {'version': 1}}
    before = copy.deepcopy(given)
    plain = plain_checkpoint(given)
    assert plain['state_dict'] is given['state_dict']  # not copied
    assert type(given['config']) is ConfigDict and type(given['arrays'][0]) is np.ndarray  # not changed
    torch.save(plain, tmp_path / 'a.pth')
    torch.load(tmp_path / 'a.pth', weights_only=True)
    loaded = read_checkpoint(tmp_path / 'a.pth')
    assert list(loaded) == list(before)
    assert loaded['state_dict']._metadata == {'': {'version': 1}}
    for left, right in ((loaded['arrays'][0], before['arrays'][0]), (loaded['arrays'][1][0], before['arrays'][1][0])):
        assert left.dtype == right.dtype and left.tolist() == right.tolist()
    assert loaded['arrays'][1][1]['a'].tolist() == [1.5]
    assert loaded['scalars'] == {'a': 0.5, 'b': 3, 'c': True, 'd': 'x'}
    assert [type(x) for x in loaded['scalars'].values()] == [float, int, bool, str]
    assert loaded['history'].mean() == 0.5 and loaded['history'].max_length == 5
    assert type(loaded['config'].a[0]) is ConfigDict and loaded['config'].a[0].b.tolist() == [1]
    assert loaded['default'] == {'a': [1]}


def test_what_has_no_plain_type_stays():
    strings, swapped, cycle = np.array(['a']), np.arange(2).astype('>i4'), {}
    cycle['self'] = cycle
    given = {'strings': strings, 'swapped': swapped, 'counter': Counter('a'), 'unknown': Unknown('x.y')}
    plain = plain_checkpoint(given)
    assert plain['strings'] is strings and plain['swapped'] is swapped and plain['counter'] is given['counter']
    assert plain['unknown'] == '<not loaded: x.y>'
    assert plain_checkpoint(cycle) is cycle
    assert plain_checkpoint([np.ones(1)]) == [np.ones(1)] and plain_checkpoint(torch.ones(1)).tolist() == [1]
    once = plain_checkpoint(content())
    assert plain_checkpoint(once) is once  # read by a process without mmhoga, and written again


@pytest.mark.parametrize(
    'types',
    [
        [(['state_dict', 'w'], 'HistoryBuffer')],
        [(['state_dict', 'w'], 'os.system')],
        [(['state_dict'], 'numpy.ndarray')],
        [([], 'ConfigDict')],
        [(['nowhere'], 'numpy.ndarray')],
        [(['arrays', 99], 'numpy.ndarray')],
        [(['a'] * 100_000, 'numpy.ndarray')],
        [(None, None)],
        [1],
        [([['a']], 'numpy.ndarray')],
    ],
)
def test_a_list_of_types_that_does_not_fit(types, tmp_path):
    given = {'state_dict': {'w': torch.ones(1)}, 'arrays': [], TYPES: types}
    torch.save(given, tmp_path / 'a.pth')
    try:
        loaded = read_checkpoint(tmp_path / 'a.pth')
    except CheckpointError:
        return
    assert {**loaded['state_dict']} == {'w': torch.ones(1)}
    assert type(loaded['state_dict']['w']) is torch.Tensor


def test_files_without_the_list_are_returned_as_they_are():
    for value in ([1], torch.ones(1), {'a': 1}, {TYPES: 'text'}):
        assert with_types(value) is value


def test_mmengine_writes_with_it(tmp_path):
    """Every file of mmengine passes through this function, also of a hook that publishes."""
    save_checkpoint(content(), str(tmp_path / 'a.pth'))
    torch.load(tmp_path / 'a.pth', weights_only=True)
