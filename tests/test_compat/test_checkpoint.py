"""mmengine's checkpoints load weights-only; checkpoints that would run code are refused."""

import os
import pickle
import subprocess
import sys
import zipfile
from collections import OrderedDict, defaultdict

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import Runner, load_checkpoint

from mmhoga.compat import allow_mmengine_checkpoints
from mmhoga.compat.checkpoint import _history_method

pytestmark = pytest.mark.skipif(torch.__version__ < (2, 6), reason='before torch 2.6 torch.load is not weights-only')


@pytest.fixture(autouse=True)
def allowed():
    """Allow only the globals of the package, without those that other tests added."""
    before = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    allow_mmengine_checkpoints()
    yield
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(before)


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

    def forward(self, x, sample_idx, mode='tensor'):
        error = (self.layer(x.float()[:, None]) - 1) ** 2
        return dict(loss=error.mean()) if mode == 'loss' else list(error)


class Error(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results += [float(sample) for sample in data_samples]

    def compute_metrics(self, results):
        return dict(error=np.mean(results))  # a numpy scalar, as most metrics return


def make_runner(work_dir, epochs, **options):
    dataset = Points(metainfo=dict(nested=dict(weights=[1.0, 2.0])))
    loader = dict(
        batch_size=2,
        dataset=dataset,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate'),
    )
    return Runner(
        Line(),
        str(work_dir),
        train_dataloader=loader,
        val_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        val_cfg=dict(),
        val_evaluator=Evaluator(Error()),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.1)),
        param_scheduler=[dict(type='LinearLR', start_factor=0.1, end=1), dict(type='CosineAnnealingLR', T_max=4)],
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1, save_best='error', rule='less')),
        custom_hooks=[dict(type='EMAHook')],
        experiment_name=f'{work_dir.name}_{epochs}',
        **options,
    )


def test_a_checkpoint_of_a_runner_loads_and_resumes(tmp_path):
    first = make_runner(tmp_path, 1)
    first.train()
    path = tmp_path / 'epoch_1.pth'

    torch.serialization.clear_safe_globals()
    with pytest.raises(pickle.UnpicklingError):  # otherwise there would be nothing to repair
        torch.load(path)
    allow_mmengine_checkpoints()

    checkpoint = torch.load(path)
    losses = checkpoint['message_hub']['log_scalars']['train/loss']
    assert type(losses) is HistoryBuffer
    assert losses.mean() == first.message_hub.get_scalar('train/loss').mean()
    meta = checkpoint['meta']['dataset_meta']
    np.testing.assert_array_equal(meta['sigmas'], Points.METAINFO['sigmas'])
    assert meta['colors'].dtype == np.uint8
    assert meta['links'].shape == (0, 2)
    assert meta['nested'] == dict(weights=[1.0, 2.0])

    second = make_runner(tmp_path, 3, resume=True)
    second.train()
    assert second.epoch == 3
    history, _ = second.message_hub.get_scalar('train/loss').data
    np.testing.assert_array_equal(history[:2], losses.data[0])  # it goes on from the first run's two steps
    assert len(history) == 6

    model = Line()
    loaded = load_checkpoint(model, str(tmp_path / 'epoch_3.pth'))
    assert torch.equal(model.layer.weight, loaded['state_dict']['layer.weight'])


def round_trip(value, path):
    torch.save(value, path)
    return torch.load(path)


@pytest.mark.parametrize('kind', ['?', 'b', 'B', 'h', 'i', 'l', 'q', 'Q', 'e', 'f', 'd', 'F', 'D', 'g', 'U4', 'S4'])
def test_arrays_and_scalars_of_every_kind_return_unchanged(kind, tmp_path):
    array = np.array([0, 1, 3]).astype(kind)
    loaded = round_trip(dict(array=array, scalar=array[1], fortran=np.asfortranarray(array[:, None])), tmp_path / 'a')
    assert loaded['array'].dtype == array.dtype
    np.testing.assert_array_equal(loaded['array'], array)
    np.testing.assert_array_equal(loaded['fortran'], array[:, None])
    assert loaded['scalar'] == array[1] and loaded['scalar'].dtype == array[1].dtype


def test_containers(tmp_path):
    counts = defaultdict(list, a=[1])
    loaded = round_trip(OrderedDict(counts=counts, nested=defaultdict(int)), tmp_path / 'a')
    assert type(loaded) is OrderedDict
    assert loaded == dict(counts=dict(a=[1]), nested={})


@pytest.mark.parametrize('module', [b'numpy.core.multiarray', b'numpy._core.multiarray'])
def test_checkpoints_written_with_numpy_1_and_2_both_load(module, tmp_path):
    torch.save(np.arange(3), tmp_path / 'mine')
    with zipfile.ZipFile(tmp_path / 'mine') as source, zipfile.ZipFile(tmp_path / 'theirs', 'w') as target:
        for name in source.namelist():
            content = source.read(name)
            for spelling in (b'cnumpy.core.multiarray\n', b'cnumpy._core.multiarray\n'):
                content = content.replace(spelling, b'c' + module + b'\n')
            target.writestr(name, content)
    assert torch.load(tmp_path / 'theirs').tolist() == [0, 1, 2]


class Reduce:
    """Pickles as the call ``function(*arguments)``."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def with_statistics(value):
    buffer = HistoryBuffer([1.0], [1])
    buffer.__getstate__()
    buffer._statistics_methods = dict(mean=value)  # on the instance, so that the class stays as it is
    return buffer


RUNS_CODE = {
    'os.system': lambda touch: Reduce(os.system, touch),
    'subprocess': lambda touch: Reduce(subprocess.check_call, ['sh', '-c', touch]),
    'eval': lambda touch: Reduce(eval, f'__import__("os").system({touch!r})'),
    'in an object array': lambda touch: np.array([Reduce(os.system, touch)], dtype=object),
    'in a statistic': lambda touch: with_statistics(Reduce(os.system, touch)),
    'in a defaultdict': lambda touch: defaultdict(None, a=Reduce(os.system, touch)),
    'getattr on a module': lambda touch: Reduce(Reduce(getattr, os, 'system'), touch),
}
REACHES_OUT = {
    'getattr on the globals': lambda touch: Reduce(getattr, Reduce(getattr, HistoryBuffer, 'mean'), '__globals__'),
    'getattr on the subclasses': lambda touch: Reduce(getattr, HistoryBuffer, '__subclasses__'),
    'calling what getattr gave': lambda touch: Reduce(Reduce(getattr, HistoryBuffer, 'mean'), touch),
}
HARMFUL = {**RUNS_CODE, **REACHES_OUT}


class CallPickler(pickle._Pickler):
    """Writes a call in place of a function, and a module as an attribute of a module that imports it."""

    def save_reduce(self, func, args, *rest, obj=None, **more):
        if isinstance(func, Reduce):
            self.save(func)
            self.save(args)
            self.write(pickle.REDUCE)
            return
        super().save_reduce(func, args, *rest, obj=obj, **more)

    def save_module(self, module):
        self.write(pickle.GLOBAL + b'torch.serialization\n' + module.__name__.encode() + b'\n')

    dispatch = {**pickle._Pickler.dispatch, type(os): save_module}


class CallPickle:
    """A ``pickle_module`` for ``torch.save``."""

    Pickler = CallPickler


@pytest.mark.parametrize('attack', HARMFUL)
def test_a_checkpoint_that_would_run_code_is_refused(attack, tmp_path):
    touched, path = tmp_path / 'touched', tmp_path / 'a.pth'
    checkpoint = dict(meta=dict(x=HARMFUL[attack](f'touch {touched}')), state_dict=dict(w=torch.ones(1)))
    torch.save(checkpoint, path, pickle_module=CallPickle)
    methods = dict(HistoryBuffer._statistics_methods)

    with pytest.raises((pickle.UnpicklingError, ValueError)):
        torch.load(path)

    assert not touched.exists()
    assert HistoryBuffer._statistics_methods == methods


@pytest.mark.parametrize('attack', RUNS_CODE)
def test_the_attacks_are_real(attack, tmp_path, monkeypatch):
    """The same files run their code when they are read without protection."""
    monkeypatch.setattr(HistoryBuffer, '_statistics_methods', dict(HistoryBuffer._statistics_methods))
    touched, path = tmp_path / 'touched', tmp_path / 'a.pth'
    torch.save(HARMFUL[attack](f'touch {touched}'), path, pickle_module=CallPickle)
    torch.load(path, weights_only=False)
    assert touched.exists()


def test_getattr_is_limited_to_four_methods_of_history_buffer():
    assert _history_method(HistoryBuffer, 'mean') is HistoryBuffer.mean
    for owner, name in ((HistoryBuffer, '__init__'), (HistoryBuffer(), 'mean'), (os, 'system'), (dict, 'min')):
        with pytest.raises(ValueError, match=f"attribute '{name}'.*weights_only=False"):
            _history_method(owner, name)


def test_a_global_that_the_program_allowed_keeps_its_meaning():
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals([defaultdict])
    allow_mmengine_checkpoints()
    names = [entry[1] for entry in torch.serialization.get_safe_globals() if isinstance(entry, tuple)]
    assert 'collections.defaultdict' not in names
    assert 'builtins.getattr' in names


def test_no_effect_with_older_torch(monkeypatch):
    torch.serialization.clear_safe_globals()
    monkeypatch.setattr(torch, '__version__', type(torch.__version__)('2.5.1'))
    allow_mmengine_checkpoints()
    assert torch.serialization.get_safe_globals() == []


def test_naming_a_type_of_mmhoga_in_a_config_is_enough(tmp_path):
    path = tmp_path / 'a.pth'
    torch.save(dict(message_hub=HistoryBuffer([1.0], [1])), path)
    code = (
        'import sys, torch\n'
        'from mmengine.registry import MODELS\n'
        "assert MODELS.get('mmhoga.HOGA') is not None\n"
        f"print(torch.load({str(path)!r})['message_hub'].mean())"
    )
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
    assert result.stdout.strip() == '1.0', result.stderr


def test_bytes_returns_nothing_but_empty_bytes(tmp_path):
    """With the real one, ``bytes(10 ** 12)`` would fill the memory."""

    class Large:
        def __reduce__(self):
            return bytes, (10**12,)

    torch.save(Large(), tmp_path / 'large.pth')
    with pytest.raises(TypeError, match='_no_bytes'):
        torch.load(tmp_path / 'large.pth')
